/**
 * From a record of the feed to what the audit keeps of it.
 *
 * Nothing is refused. An event is kept without the fields that must stay hidden
 * (`audit-redaction.ts`); bytes that are no frame and payloads that do not decode are kept as they
 * are, with their fault, whatever is in them. The identity says what counts as the same message:
 * the message id of a frame, the digest of bytes that are none; under one topic it is recorded
 * once, so a redelivery, a redrive or a replay of a whole day adds nothing.
 */

import type { Frame, FrameFault } from "../../runtime/frames/frame-header.ts";
import type { FeedRecord } from "../brokers/feed.ts";
import type { ShopEvent } from "../contracts/messages.ts";
import type { AuditRecord } from "./audit-record.ts";

import {
  checkFrame,
  frameId,
  frameIdBytes,
  frameKey,
  framePayload,
  frameType,
} from "../../runtime/frames/frame.ts";
import { FeedReading, readingOf } from "../brokers/feed-reading.ts";
import { UNREADABLE_TYPE } from "./audit-record.ts";
import { redactedFrame } from "./audit-redaction.ts";
import { textsOf } from "./audit-text.ts";

/**
 * `ID_REUSED`: another content under a message id that was recorded before. The others are about
 * the frame or its payload.
 */
export type AuditFault = FrameFault | "UNKNOWN_TYPE" | "BAD_PAYLOAD" | "ID_REUSED";

/** A record that has no place in the chain yet, and the texts it can be found by. */
export interface AuditEntry extends Omit<AuditRecord, "seq"> {
  readonly texts: readonly string[];
}

/** Frame and event, or why there is none. */
export type Reading =
  { readonly event: ShopEvent; readonly frame: Frame } | { readonly fault: AuditFault };

export const IDENTITY_BYTES = 16;
/** The last instant that a `Date` can name. */
const TIME_MS_MAX = 8_640_000_000_000_000;
const NO_TEXTS: readonly string[] = [];

export function readEntry(record: FeedRecord): AuditEntry {
  const { topic, partition, sequence, bytes } = record;
  const reading = readingOf(record);
  const frame = reading.frame();
  const isFrame = typeof frame !== "string";
  const event = isFrame ? reading.event(frame) : frame;
  const storedAtMs = instant(record.storedAtMs);
  const isRead = isFrame && typeof event !== "string";
  return {
    topic,
    partition,
    sequence,
    storedAtMs,
    frame: isRead ? redactedFrame(bytes, frame, event) : bytes,
    identity: isFrame ? frameIdBytes(bytes) : digest(bytes),
    atMs: isFrame ? instant(frame.timeMs) : storedAtMs,
    type: isRead ? frame.type : UNREADABLE_TYPE,
    orderId: isRead ? textField(event, "orderId") : null,
    customerId: isRead ? textField(event, "customerId") : null,
    fault: typeof event === "string" ? event : null,
    texts: isRead ? textsOf(event) : NO_TEXTS,
  };
}

/** What `bytes` say, as far as they can be read. */
export function readFrame(bytes: Uint8Array): Reading {
  const reading = new FeedReading(bytes);
  const frame = reading.frame();
  if (typeof frame === "string") return { fault: frame };
  const event = reading.event(frame);
  return typeof event === "string" ? { fault: event } : { event, frame };
}

/** True when the frame around it was whole, so that its header can be believed. */
export function isPayloadFault(fault: string | null): boolean {
  return fault === null || ["UNKNOWN_TYPE", "BAD_PAYLOAD", "ID_REUSED"].includes(fault);
}

/**
 * True when two frames of one identity say the same, as far as it is kept: frames that differ in
 * hidden fields alone are one message. Attempts and headers may differ: a redrive changes them.
 */
export function isSameMessage(one: Uint8Array, other: Uint8Array): boolean {
  if (checkFrame(one) !== undefined || checkFrame(other) !== undefined) {
    return Buffer.compare(one, other) === 0;
  }
  return (
    frameType(one) === frameType(other) &&
    frameKey(one) === frameKey(other) &&
    Buffer.compare(keptPayload(one), keptPayload(other)) === 0
  );
}

/** Of a frame that was recorded before its secrets were dropped, too. */
function keptPayload(bytes: Uint8Array): Uint8Array {
  const reading = readFrame(bytes);
  return framePayload(
    "fault" in reading ? bytes : redactedFrame(bytes, reading.frame, reading.event),
  );
}

/** `entry` as another message under an id that was taken: by its content, so that it stays once. */
export function asReused(entry: AuditEntry): AuditEntry {
  const { frame } = entry;
  const parts = [`${frameId(frame)} ${frameType(frame)} ${frameKey(frame)}\n`, framePayload(frame)];
  const content = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return { ...entry, identity: digest(content), fault: "ID_REUSED" };
}

function digest(bytes: Uint8Array): Uint8Array {
  const hash = new Uint8Array(32);
  Bun.SHA256.hash(bytes, hash);
  return hash.slice(0, IDENTITY_BYTES);
}

function textField(event: ShopEvent, name: string): string | null {
  const value: unknown = Reflect.get(event, name);
  // JSON can spell lone surrogates, which no database keeps.
  return typeof value === "string" ? value.toWellFormed() : null;
}

function instant(timeMs: number): number {
  return Math.min(Math.floor(timeMs), TIME_MS_MAX);
}
