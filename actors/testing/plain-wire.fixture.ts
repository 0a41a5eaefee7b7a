/**
 * What the plain server and its adapter say to each other: one JSON document a line.
 *
 * They exist to judge the suite for remote brokers: an adapter that is sound on a server that is,
 * and each of the flaws below, which a case of the suite must find. No part of the shop.
 */

import type {
  Burial,
  DeadLetter,
  Delivery,
  DeliveryRef,
  Postponement,
  SubscribeOptions,
} from "../brokers/broker.ts";

/** What is wrong on purpose: with the adapter, or with the server. */
export type Flaw =
  | "none"
  // The adapter
  | "close settles what is in hand"
  | "each piece of the network is a line"
  | "never asks whether the server is there"
  | "publishes without a deadline"
  | "sends lost frames again on its own"
  | "stays away once it lost the connection"
  | "takes a lost connection for a yes"
  // The server
  | "delivers backwards"
  | "forgets its last frames when it is killed"
  | "garbles what it reads back"
  | "gives every partition to every member"
  | "hands over without waiting"
  | "settles for anybody"
  | "settles what it delivers";

export type Encoded<Value> = Omit<Value, "bytes"> & { readonly bytes: string };

export type Request =
  | { readonly do: "ping" }
  | { readonly do: "publish"; readonly frames: readonly { topic: string; frame: string }[] }
  | { readonly do: "join"; readonly member: string; readonly options: JoinOptions }
  | { readonly do: "leave"; readonly member: string }
  | { readonly do: "pause"; readonly member: string; readonly on: boolean }
  | { readonly do: "ack"; readonly member: string; readonly refs: readonly DeliveryRef[] }
  | {
      readonly do: "postpone";
      readonly member: string;
      readonly ref: DeliveryRef;
      readonly postponement: Postponement;
    }
  | {
      readonly do: "bury";
      readonly member: string;
      readonly ref: DeliveryRef;
      readonly burial: Burial;
    }
  | {
      readonly do: "letters";
      readonly topic: string;
      readonly afterId: number;
      readonly limit: number;
    }
  | { readonly do: "released"; readonly member: string };

export type JoinOptions = Pick<
  SubscribeOptions,
  "group" | "topics" | "from" | "creditFrames" | "creditBytes" | "leaseMs" | "partitions" | "types"
>;

/** `n` is the request's; a push has none. */
export type Answer =
  | { readonly n: number; readonly value: unknown }
  | { readonly n: number; readonly code: string; readonly message: string; readonly retry: string };

export type Push =
  | {
      readonly to: string;
      readonly what: "deliveries";
      readonly list: readonly Encoded<Delivery>[];
    }
  | {
      readonly to: string;
      readonly what: "assigned" | "revoking" | "revoked";
      readonly topic: string;
      readonly partitions: readonly number[];
    };

export type Letters = readonly Encoded<DeadLetter>[];

export function encode<Value extends { readonly bytes: Uint8Array }>(value: Value): Encoded<Value> {
  return { ...value, bytes: value.bytes.toBase64() };
}

export function decode<Value extends { readonly bytes: Uint8Array }>(value: Encoded<Value>) {
  return { ...value, bytes: Uint8Array.fromBase64(value.bytes) };
}
