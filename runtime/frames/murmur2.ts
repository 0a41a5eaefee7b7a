/**
 * Kafka's murmur2 and the slot of a key: where a key lives, here and in every Kafka client.
 *
 * Source: `org.apache.kafka.common.utils.Utils.murmur2` (seed 0x9747b28c, after Austin Appleby's
 * MurmurHash2). It hashes the key's UTF-8 bytes; a lone surrogate counts as U+FFFD, as in every
 * encoder. Refuses a slot count that is not a positive integer.
 */

import { assert } from "../errors.ts";
import { readU32 } from "./little-endian.ts";

const SEED = 0x9747b28c;
const MULTIPLIER = 0x5bd1e995;
const SHIFT = 24;

/** UTF-8 needs at most three bytes for one UTF-16 unit. */
const BYTES_PER_UNIT_MAX = 3;
const SCRATCH_BYTES = 768;

const encoder = new TextEncoder();
const scratch = new Uint8Array(SCRATCH_BYTES);

/** 0..slots-1: `(murmur2(key) & 0x7fffffff) % slots`, Kafka's default partition of `key`. */
export function slotOf(key: string, slots: number): number {
  return slotOfHash(murmur2(key), slots);
}

/** The slot of the key whose UTF-8 is the `length` bytes at `at`. */
export function slotOfBytes(bytes: Uint8Array, at: number, length: number, slots: number): number {
  return slotOfHash(murmur2Bytes(bytes, length, at), slots);
}

function slotOfHash(hash: number, slots: number): number {
  assert(
    Number.isSafeInteger(slots) && slots > 0,
    "the number of slots must be a positive integer",
  );
  return (hash & 0x7fffffff) % slots;
}

/** The signed 32-bit hash of `key`; allocates nothing for keys of up to 256 UTF-16 units. */
export function murmur2(key: string): number {
  if (key.length * BYTES_PER_UNIT_MAX <= SCRATCH_BYTES) {
    return murmur2Bytes(scratch, encoder.encodeInto(key, scratch).written);
  }
  const bytes = encoder.encode(key);
  return murmur2Bytes(bytes, bytes.length);
}

/** The signed 32-bit hash of the `length` bytes at `from`, which must be there. */
export function murmur2Bytes(bytes: Uint8Array, length: number, from = 0): number {
  assert(from + length <= bytes.length, "cannot hash more bytes than there are");
  const wordsEnd = from + (length & ~3);
  let hash = SEED ^ length;
  for (let at = from; at < wordsEnd; at += 4) {
    let word = readU32(bytes, at);
    word = Math.imul(word, MULTIPLIER);
    word = Math.imul(word ^ (word >>> SHIFT), MULTIPLIER);
    hash = Math.imul(hash, MULTIPLIER) ^ word;
  }
  const rest = length & 3;
  if (rest > 2) hash ^= bytes[wordsEnd + 2]! << 16; // `!`: `length` is within `bytes`
  if (rest > 1) hash ^= bytes[wordsEnd + 1]! << 8; // `!`: see above
  if (rest > 0) hash = Math.imul(hash ^ bytes[wordsEnd]!, MULTIPLIER); // `!`: see above
  hash = Math.imul(hash ^ (hash >>> 13), MULTIPLIER);
  return hash ^ (hash >>> 15);
}
