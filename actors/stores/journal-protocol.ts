/**
 * What travels in the rings between a shard and the journal thread, as bytes.
 *
 * Requests and results are msgpack arrays behind a request number; a delivery is a fixed header
 * and the frame as it is, so that the hottest record is never packed or unpacked. Both ends are
 * ours and of one build: there is no version here, and nothing of it is ever stored.
 */

import type { ErrorCode, Retry } from "../../runtime/errors.ts";
import type {
  Burial,
  Delivery,
  DeliveryRef,
  PartitionStanding,
  Postponement,
} from "../brokers/broker.ts";
import type { WireRef } from "./unit-wire.ts";

import { Packr, Unpackr } from "msgpackr";

import { ShopError } from "../../runtime/errors.ts";
import {
  readF64,
  readU16,
  readU32,
  writeF64,
  writeU16,
  writeU32,
} from "../../runtime/frames/little-endian.ts";

/** Kinds of records towards the journal. */
export const COMMIT = 1;
export const SETTLE = 2;
export const SUBSCRIBE = 3;
export const UNSUBSCRIBE = 4;
export const PAUSE = 5;
export const DEAD_LETTERS = 6;
export const STANDING = 7;
export const RELEASE_FEED = 8;
export const FEED_STANDING = 9;

/** Kinds of records from the journal. */
export const RESULT = 17;
export const FAILURE = 18;
export const DELIVERY = 19;
export const REVOKED = 20;
/** Part of the answer to `STANDING`; the one that is last answers the request. */
export const STANDINGS = 21;

/** Everything but a commit that settles deliveries. */
export type SettleRequest =
  | { readonly kind: "ack"; readonly refs: readonly WireRef[] }
  | { readonly kind: "postpone"; readonly ref: DeliveryRef; readonly postponement: Postponement }
  | { readonly kind: "bury"; readonly ref: DeliveryRef; readonly burial: Burial };

export interface SubscribeRequest {
  readonly subscription: number;
  readonly group: string;
  readonly topics: readonly string[];
  readonly from: "earliest" | "latest";
  readonly creditFrames: number;
  readonly creditBytes: number;
  readonly leaseMs: number;
  readonly partitions?: readonly number[];
  readonly types?: readonly number[];
}

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false });

/** `body` behind the number that its answer will carry. */
export function encodeRequest(request: number, body: unknown): Uint8Array {
  const packed = packr.pack(body);
  const bytes = new Uint8Array(4 + packed.byteLength);
  writeU32(bytes, 0, request);
  bytes.set(packed, 4);
  return bytes;
}

export function requestNumber(bytes: Uint8Array): number {
  return readU32(bytes, 0);
}

/** Decodes a copy, never the ring's own memory, which is overwritten once released. */
export function decodeBody<Body>(bytes: Uint8Array): Body {
  // Both ends are compiled together; `Body` is what the other one packed.
  return unpackr.unpack(bytes.slice(4)) as Body;
}

export interface EncodedFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retry: Retry;
}

export function encodeFailure(request: number, error: ShopError): Uint8Array {
  const failure: EncodedFailure = {
    code: error.code,
    message: error.message,
    retry: error.retry,
  };
  return encodeRequest(request, failure);
}

export function decodeFailure(bytes: Uint8Array): ShopError {
  const { code, message, retry } = decodeBody<EncodedFailure>(bytes);
  return new ShopError(code, message, retry);
}

/*
 * A delivery's header, little-endian:
 *     0 subscription u32 | 4 topic u16 | 6 partition u16 | 8 sequence f64 | 16 epoch f64
 *     24 not before ms f64 | 32 attempt u32 | 36 zero | 40 the frame
 */
export const DELIVERY_HEADER_BYTES = 40;

/** `topic` is its index in the subscription's list. */
export function encodeDeliveryHeader(
  subscription: number,
  topic: number,
  delivery: Delivery,
): Uint8Array {
  const bytes = new Uint8Array(DELIVERY_HEADER_BYTES);
  writeU32(bytes, 0, subscription);
  writeU16(bytes, 4, topic);
  writeU16(bytes, 6, delivery.partition);
  writeF64(bytes, 8, delivery.sequence);
  writeF64(bytes, 16, delivery.epoch);
  writeF64(bytes, 24, delivery.notBeforeMs);
  writeU32(bytes, 32, delivery.attempt);
  return bytes;
}

export interface DeliveryRecord {
  readonly subscription: number;
  readonly topic: number;
  readonly delivery: Omit<Delivery, "group" | "topic">;
}

/** The frame is copied out: it outlives the record. */
export function decodeDelivery(bytes: Uint8Array): DeliveryRecord {
  return {
    subscription: readU32(bytes, 0),
    topic: readU16(bytes, 4),
    delivery: {
      partition: readU16(bytes, 6),
      sequence: readF64(bytes, 8),
      epoch: readF64(bytes, 16),
      notBeforeMs: readF64(bytes, 24),
      attempt: readU32(bytes, 32),
      bytes: bytes.slice(DELIVERY_HEADER_BYTES),
    },
  };
}

/** `token`: names the question in the answer. */
export interface StandingRequest {
  readonly subscription: number;
  readonly token: number;
}

/** By position, for the reason that units are: see `unit-wire.ts`. `topic` is its index. */
type WireStanding = readonly [
  topic: number,
  partition: number,
  epoch: number,
  published: number,
  passedBy: number,
  acked: number,
  dead: number,
  inHand: number,
  waiting: number,
  unread: number,
  sent: number,
  settled: number,
];

export interface WireBooks extends StandingRequest {
  readonly isLast: boolean;
  readonly rows: readonly WireStanding[];
}

export function encodeBooks(
  of: StandingRequest,
  topics: readonly string[],
  standings: readonly PartitionStanding[],
  isLast: boolean,
): WireBooks {
  const rows = standings.map((one): WireStanding => {
    const topic = topics.indexOf(one.topic);
    const { partition, epoch, published, passedBy, acked, dead } = one;
    const { inHand, waiting, unread, sent, settled } = one;
    return [
      topic,
      partition,
      epoch,
      published,
      passedBy,
      acked,
      dead,
      inHand,
      waiting,
      unread,
      sent,
      settled,
    ];
  });
  return { ...of, isLast, rows };
}

export function decodeBooks(
  { rows }: WireBooks,
  topics: readonly string[],
): readonly PartitionStanding[] {
  return rows.map(([topic, partition, epoch, published, passedBy, acked, dead, ...rest]) => {
    const [inHand, waiting, unread, sent, settled] = rest;
    const name = topics[topic] ?? "";
    const counts = { published, passedBy, acked, dead, inHand, waiting, unread, sent, settled };
    return { topic: name, partition, epoch, ...counts };
  });
}
