/**
 * What travels in the rings between a shard and the journal thread, as bytes.
 *
 * Requests and results are msgpack arrays behind a request number; a delivery is a fixed header
 * and the frame as it is, so that the hottest record is never packed or unpacked. Both ends are
 * ours and of one build: there is no version here, and nothing of it is ever stored.
 */

import type { ErrorCode, Retry } from "../../runtime/errors.ts";
import type { Burial, Delivery, DeliveryRef, Postponement } from "../brokers/broker.ts";
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

/** Kinds of records from the journal. */
export const RESULT = 17;
export const FAILURE = 18;
export const DELIVERY = 19;
export const REVOKED = 20;

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
