/**
 * Every bound of the runtime's frames, rings and counters, and how they relate.
 *
 * The relations are asserted when the module loads: a change that breaks one fails at once, in
 * every process, not in the rare case that reaches the bound.
 */

import { assert } from "./errors.ts";
import { FRAME_HEADER_BYTES } from "./frames/frame-header.ts";

/** Slots of a keyed topic when nothing else is configured; fixed for the life of the data. */
export const SLOTS_DEFAULT = 64;
/** The frame's header has 16 bits for the slot. */
export const SLOTS_MAX = 65_536;

/** A whole frame: header, key, headers and payload. */
export const FRAME_BYTES_MAX = 1_048_576;
export const FRAME_KEY_BYTES_MAX = 65_535;
export const FRAME_HEADERS_BYTES_MAX = 65_535;
export const FRAME_HEADER_NAME_BYTES_MAX = 255;
export const FRAME_HEADER_VALUE_BYTES_MAX = 65_532;

/** Data region of a ring between two threads, when nothing else is configured. */
export const RING_BYTES_DEFAULT = 4_194_304;
export const RING_BYTES_MIN = 64;
/** Positions are 32-bit and wrap; the signed distance between two must stay unambiguous. */
export const RING_BYTES_MAX = 1_073_741_824;

/** Records of one ring that may be read and not yet settled. */
export const SETTLE_WINDOW_RECORDS_MAX = 65_536;

/** Series (metric × label values) that one thread's section of a counter page may hold. */
export const COUNTER_SERIES_MAX = 4_096;
export const HISTOGRAM_BUCKETS_MAX = 64;
/** Upper bound of a histogram's last bucket, which takes what exceeds the others. */
export const HISTOGRAM_BOUND_LAST = Infinity;
/** Sections of a counter page: one per thread. */
export const COUNTER_THREADS_MAX = 256;

assert(
  isPowerOfTwo(SLOTS_DEFAULT) && SLOTS_DEFAULT <= SLOTS_MAX,
  "slots: a power of two that fits",
);
assert(SLOTS_MAX === 2 ** 16, "a slot must fit 16 bits");
assert(FRAME_HEADER_BYTES < FRAME_BYTES_MAX, "a frame must hold more than its header");
assert(
  FRAME_HEADER_BYTES + FRAME_KEY_BYTES_MAX + FRAME_HEADERS_BYTES_MAX < FRAME_BYTES_MAX,
  "the largest key and headers must leave room for a payload",
);
assert(
  FRAME_HEADER_VALUE_BYTES_MAX <= FRAME_HEADERS_BYTES_MAX - 3,
  "a header's lengths and its value must fit the run of headers",
);
assert(
  [RING_BYTES_MIN, RING_BYTES_DEFAULT, RING_BYTES_MAX].every(isPowerOfTwo),
  "ring capacities must be powers of two",
);
assert(RING_BYTES_MAX <= 2 ** 30, "a ring must be at most a quarter of the position space");
assert(2 * FRAME_BYTES_MAX < RING_BYTES_DEFAULT, "a ring's record may be at most half the ring");
assert(isPowerOfTwo(SETTLE_WINDOW_RECORDS_MAX), "a settle window must be a power of two");

function isPowerOfTwo(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && Number.isInteger(Math.log2(value));
}
