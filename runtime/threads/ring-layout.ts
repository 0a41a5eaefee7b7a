/**
 * The memory of a ring between two threads: one writer, one reader, records of bytes.
 *
 *     byte 0          64             128            192           256             320
 *     ┌───────────────┬──────────────┬──────────────┬─────────────┬───────────────┬───────────┐
 *     │ magic         │ published    │ released     │ reader      │ writer parked │ data:     │
 *     │ capacity      │ (the writer  │ (the reader  │ parked      │ wanted        │ capacity  │
 *     │ epoch         │  stores it)  │  stores it)  │             │               │ bytes     │
 *     └───────────────┴──────────────┴──────────────┴─────────────┴───────────────┴───────────┘
 *
 *     data:   ░░░░░░░░▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▒▒▒▒▒▒▒▒▒▒▒░░░░░░░░░░
 *                     released       cursor        published  staged
 *                     └─ taken, not settled ┴─ unread ─┴─ torn if the writer dies now
 *
 *     record: ┌────────────┬──────────┬───────────────────────┬────────────────┐
 *             │ length u32 │ kind u32 │ length bytes          │ to 8 bytes     │
 *             └────────────┴──────────┴───────────────────────┴────────────────┘
 *
 * Words that different threads store lie on different cache lines. A position counts the bytes
 * ever written, modulo 2^32; an offset is a position modulo the capacity, which divides 2^32, so
 * wrapping needs no care. Two positions are at most one capacity apart, hence their distance is
 * the signed 32-bit difference. A record never wraps: what is left of the data before its end is
 * covered by a pad record. A record of at most half the capacity therefore fits an empty ring at
 * every offset, and a larger one is refused.
 */

import { assert } from "../errors.ts";
import { RING_BYTES_MAX, RING_BYTES_MIN } from "../limits.ts";

/** Index of each word in the header, as an `Int32Array`. */
export const MAGIC = 0;
export const CAPACITY = 1;
export const EPOCH = 2;
export const PUBLISHED = 16;
export const RELEASED = 32;
export const READER_PARKED = 48;
export const WRITER_PARKED = 64;
export const WANTED = 65;

export const RING_HEADER_BYTES = 320;
export const RECORD_HEADER_BYTES = 8;
/** The kind of a record that only fills the end of the data. */
export const KIND_PAD = 0xffff_ffff;

const RING_MAGIC = 0x52_49_4e_47;

export interface RingParts {
  /** The header's words. */
  readonly words: Int32Array;
  /** The data, in bytes and in words. */
  readonly data: Uint8Array;
  readonly dataWords: Uint32Array;
  readonly capacityBytes: number;
}

/** Memory for an empty ring; `capacityBytes` is a power of two within the limits. */
export function createRing(capacityBytes: number): SharedArrayBuffer {
  assert(isCapacity(capacityBytes), `a ring cannot have a capacity of ${capacityBytes} bytes`);
  const memory = new SharedArrayBuffer(RING_HEADER_BYTES + capacityBytes);
  const words = new Int32Array(memory);
  words[CAPACITY] = capacityBytes;
  words[MAGIC] = RING_MAGIC;
  return memory;
}

/** Views of a ring's memory. Refuses memory that `createRing` did not make. */
export function attachRing(memory: SharedArrayBuffer): RingParts {
  assert(memory.byteLength > RING_HEADER_BYTES, "memory too small to be a ring");
  const words = new Int32Array(memory, 0, RING_HEADER_BYTES / 4);
  const capacityBytes = memory.byteLength - RING_HEADER_BYTES;
  assert(words[MAGIC] === RING_MAGIC && words[CAPACITY] === capacityBytes, "memory is not a ring");
  return {
    words,
    data: new Uint8Array(memory, RING_HEADER_BYTES),
    dataWords: new Uint32Array(memory, RING_HEADER_BYTES),
    capacityBytes,
  };
}

/**
 * Empties a ring, dropping what was unread or unsettled. Only for when neither side is using it:
 * both must attach anew, and an attachment from before fails with `STALE` on its next call that
 * would publish or release.
 */
export function resetRing(memory: SharedArrayBuffer): void {
  const { words } = attachRing(memory);
  // First, so that a forgotten attachment is refused before it can see the positions move.
  Atomics.add(words, EPOCH, 1);
  // The new reader starts where the new writer does.
  Atomics.store(words, RELEASED, Atomics.load(words, PUBLISHED));
  // Nobody is asleep any more: both sides start over.
  Atomics.store(words, READER_PARKED, 0);
  // As above.
  Atomics.store(words, WRITER_PARKED, 0);
}

/** Bytes that a record of `payloadBytes` takes in the data. */
export function recordBytes(payloadBytes: number): number {
  return (RECORD_HEADER_BYTES + payloadBytes + 7) & ~7;
}

function isCapacity(bytes: number): boolean {
  const inRange = bytes >= RING_BYTES_MIN && bytes <= RING_BYTES_MAX;
  return Number.isSafeInteger(bytes) && inRange && (bytes & (bytes - 1)) === 0;
}
