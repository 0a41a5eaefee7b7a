/**
 * The checksum of a frame: CRC-32 (IEEE 802.3, as zlib's) over every byte but its own four.
 *
 * The checksum is the fourth word of the frame, so bytes on both sides of it are hashed. Two
 * native calls, or one on a view of what follows, would cost more than the hashing: instead the
 * one native call runs over the whole frame and starts from the state that the first four words
 * turn into the state after the first three. Detects every error of up to three bits in a frame of
 * the largest size (Koopman 2002), and every burst of up to 32; it is no defence against malice.
 */

import { readU32 } from "./little-endian.ts";

const POLYNOMIAL = 0xedb88320;
export const CHECKSUM_AT = 12;
const WORD_BYTES = 4;
const WORD_BITS = 32;

/** Linear maps of a state, as four tables of 256 in one: over four bytes of zeros, and back. */
const forward = tableOf(overZeros);
const backward = tableOf(backOverZeros);

/** Unsigned 32-bit checksum of the frame of `frameBytes` bytes at `at`; the bytes are there. */
export function frameChecksum(bytes: Uint8Array, at: number, frameBytes: number): number {
  const isAll = at === 0 && frameBytes === bytes.length;
  return wholeChecksum(isAll ? bytes : bytes.subarray(at, at + frameBytes));
}

/** Of `bytes`, all of which are one frame. */
function wholeChecksum(bytes: Uint8Array): number {
  const first = readU32(bytes, 0);
  const second = readU32(bytes, WORD_BYTES);
  const third = readU32(bytes, 2 * WORD_BYTES);
  let state = -1;
  state = mapped(forward, state ^ first);
  state = mapped(forward, state ^ second);
  state = mapped(forward, state ^ third);
  state = mapped(backward, state) ^ readU32(bytes, CHECKSUM_AT);
  state = mapped(backward, state) ^ third;
  state = mapped(backward, state) ^ second;
  state = mapped(backward, state) ^ first;
  return Bun.hash.crc32(bytes, ~state >>> 0);
}

function mapped(table: Int32Array, state: number): number {
  // `!`: each index is a byte within its own 256 of the table's 1,024.
  const low = table[state & 0xff]! ^ table[256 + ((state >>> 8) & 0xff)]!;
  return low ^ table[512 + ((state >>> 16) & 0xff)]! ^ table[768 + (state >>> 24)]!; // `!`: above
}

/** What `step`, which is linear, makes of every byte at each of the four places of a state. */
function tableOf(step: (state: number) => number): Int32Array {
  const table = new Int32Array(WORD_BYTES * 256);
  for (let index = 0; index < table.length; index++) {
    table[index] = step((index & 0xff) << (8 * (index >>> 8)));
  }
  return table;
}

function overZeros(state: number): number {
  let value = state;
  for (let bit = 0; bit < WORD_BITS; bit++) {
    value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  }
  return value;
}

/** The polynomial's highest bit is set, and a shifted state's is not: it tells what was done. */
function backOverZeros(state: number): number {
  let value = state;
  for (let bit = 0; bit < WORD_BITS; bit++) {
    value = value < 0 ? ((value ^ POLYNOMIAL) << 1) | 1 : value << 1;
  }
  return value;
}
