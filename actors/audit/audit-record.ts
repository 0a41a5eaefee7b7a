/**
 * One record of the audit, and the hash that chains it to the one before.
 *
 * The hash is SHA-256 over the hash before and every column, in this order and nothing between:
 *
 *     previous hash (32 bytes) · seq · partition · sequence · type · at · stored at · identity ·
 *     topic · order id · customer id · fault · frame
 *
 * A number is an f64, little-endian; a text (UTF-8) or bytes are their length as u32,
 * little-endian, and then themselves; an absent text is the length 0xffffffff alone. So no two
 * records have one encoding. The frame is the one that is kept, without its hidden fields: the
 * chain says nothing about those. It refuses nothing: what is chained has been bounded by the feed.
 */

import { writeF64, writeU32 } from "../../runtime/frames/little-endian.ts";

export const HASH_BYTES = 32;
/** What the first record follows. */
export const GENESIS_HASH = new Uint8Array(HASH_BYTES);
/** `type` of a record whose frame or payload could not be read. */
export const UNREADABLE_TYPE = 0;

/** What is recorded of one frame. Everything else (key, ids, headers) is read from the frame. */
export interface AuditRecord {
  /** Starts at 1, without gaps. */
  readonly seq: number;
  /** 16 bytes; see `audit-entry.ts`. */
  readonly identity: Uint8Array;
  readonly topic: string;
  readonly partition: number;
  /** Position in the feed's partition. */
  readonly sequence: number;
  /** Number of the event's contract, or `UNREADABLE_TYPE`. */
  readonly type: number;
  readonly orderId: string | null;
  readonly customerId: string | null;
  /** When the event happened by its own account; when it was stored, if it cannot say. */
  readonly atMs: number;
  readonly storedAtMs: number;
  /** Why it cannot be taken at its word. */
  readonly fault: string | null;
  /** As it was published, without its hidden fields; see `audit-redaction.ts`. */
  readonly frame: Uint8Array;
}

/** A record as it is stored. */
export interface ChainedRecord extends AuditRecord {
  /** Hash of the record before. */
  readonly prev: Uint8Array;
  readonly hash: Uint8Array;
}

const NUMBERS = 6;
const VARIABLE = 6;
const LENGTH_BYTES = 4;
const ABSENT = 0xffff_ffff;
/** A larger record is encoded in a buffer of its own. */
const SCRATCH_BYTES = 64 * 1024;

const scratch = Buffer.alloc(SCRATCH_BYTES);

/** The hash of `record` after `prev`, in a new array of `HASH_BYTES`. */
export function recordHash(prev: Uint8Array, record: AuditRecord): Uint8Array {
  const boundBytes = encodedBytesMax(prev, record);
  const target = boundBytes <= SCRATCH_BYTES ? scratch : Buffer.alloc(boundBytes);
  const hash = new Uint8Array(HASH_BYTES);
  Bun.SHA256.hash(target.subarray(0, encodeRecord(prev, record, target)), hash);
  return hash;
}

function encodedBytesMax(prev: Uint8Array, record: AuditRecord): number {
  const { identity, topic, orderId, customerId, fault, frame } = record;
  const textChars =
    topic.length + (orderId?.length ?? 0) + (customerId?.length ?? 0) + (fault?.length ?? 0);
  const fixedBytes = prev.length + NUMBERS * 8 + VARIABLE * LENGTH_BYTES;
  return fixedBytes + identity.length + textChars * 3 + frame.length;
}

function encodeRecord(prev: Uint8Array, record: AuditRecord, target: Buffer): number {
  target.set(prev, 0);
  let at = prev.length;
  at = putNumber(record.seq, target, at);
  at = putNumber(record.partition, target, at);
  at = putNumber(record.sequence, target, at);
  at = putNumber(record.type, target, at);
  at = putNumber(record.atMs, target, at);
  at = putNumber(record.storedAtMs, target, at);
  at = putBytes(record.identity, target, at);
  at = putText(record.topic, target, at);
  at = putText(record.orderId, target, at);
  at = putText(record.customerId, target, at);
  at = putText(record.fault, target, at);
  return putBytes(record.frame, target, at);
}

function putNumber(value: number, target: Buffer, at: number): number {
  writeF64(target, at, value);
  return at + 8;
}

function putBytes(bytes: Uint8Array, target: Buffer, at: number): number {
  writeU32(target, at, bytes.length);
  target.set(bytes, at + LENGTH_BYTES);
  return at + LENGTH_BYTES + bytes.length;
}

function putText(text: string | null, target: Buffer, at: number): number {
  if (text === null) {
    writeU32(target, at, ABSENT);
    return at + LENGTH_BYTES;
  }
  const textBytes = target.write(text, at + LENGTH_BYTES, "utf8");
  writeU32(target, at, textBytes);
  return at + LENGTH_BYTES + textBytes;
}
