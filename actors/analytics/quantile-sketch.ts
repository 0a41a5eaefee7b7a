/**
 * Percentiles that can be added up: a histogram of logarithmic buckets.
 *
 * DDSketch (Masson, Rim, Lee, VLDB 2019) over whole amounts: bucket i holds the values in
 * (γ^(i-1), γ^i] with γ = (1 + α) / (1 - α), so a bucket's middle is within α of each of them.
 * Merging adds the counts of equal buckets and loses nothing: a merged percentile is the one of all
 * values together. Only integers from 0 to `SKETCH_VALUE_MAX` are taken, which bounds the buckets
 * to `SKETCH_BUCKETS_MAX`; nothing is ever collapsed. Bytes that are not a sketch are refused.
 */

import { assert, ShopError } from "../../runtime/errors.ts";
import { AMOUNT_MINOR_MAX } from "../contracts/money.ts";

/** α: a percentile is within 1 % of the value at its rank, and half a unit for rounding. */
export const RELATIVE_ERROR = 0.01;
export const SKETCH_VALUE_MAX = AMOUNT_MINOR_MAX;

const GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR);
const LOG_GAMMA = Math.log(GAMMA);
/** Bucket of the value 0; the value 1 has bucket 1. */
const ZERO_BUCKET = 0;

let lastValue = 0;
let lastBucket = ZERO_BUCKET;

export const SKETCH_BUCKETS_MAX = bucketOf(SKETCH_VALUE_MAX) + 1;

/** A safe integer takes eight bytes, a step between buckets two. */
const PAIR_BYTES_MAX = 10;
const scratch = new Uint8Array(SKETCH_BUCKETS_MAX * PAIR_BYTES_MAX);

/** Count by bucket. */
export type Sketch = Map<number, number>;

/** Adds `value`, a whole number, `times` times. */
export function addValue(sketch: Sketch, value: number, times = 1): void {
  assert(
    Number.isInteger(value) && value >= 0 && value <= SKETCH_VALUE_MAX,
    `${value} is no amount`,
  );
  const bucket = bucketOf(value);
  sketch.set(bucket, (sketch.get(bucket) ?? 0) + times);
}

/** Adds everything in `from` to `into`. */
export function mergeSketch(into: Sketch, from: ReadonlyMap<number, number>): void {
  for (const [bucket, count] of from) into.set(bucket, (into.get(bucket) ?? 0) + count);
}

export function sketchCount(sketch: ReadonlyMap<number, number>): number {
  let total = 0;
  for (const count of sketch.values()) total += count;
  return total;
}

/** As `quantiles`, of one share; `undefined` of an empty sketch. */
export function quantile(sketch: ReadonlyMap<number, number>, share: number): number | undefined {
  return quantiles(sketch, [share])[0];
}

/**
 * About the value at rank ⌈share · n⌉ (the smallest for 0) of each of `shares`, ascending. Whole
 * numbers; none of an empty sketch.
 */
export function quantiles(
  sketch: ReadonlyMap<number, number>,
  shares: readonly number[],
): readonly number[] {
  const total = sketchCount(sketch);
  if (total === 0) return [];
  const buckets = bucketsOf(sketch);
  let next = 0;
  let seen = 0;
  let before = 0;
  return shares.map((share) => {
    assert(share >= before && share <= 1, `a quantile of ${share} after one of ${before}`);
    before = share;
    const rank = Math.max(1, Math.ceil(share * total));
    while (seen < rank) seen += sketch.get(buckets[next++]!) ?? 0; // `!`: all of them are `total`
    return valueOf(buckets[next - 1]!); // `!`: a rank is at least 1, so one has been taken
  });
}

/** Pairs of (bucket minus the one before, count) as LEB128, in ascending order of buckets. */
export function encodeSketch(sketch: ReadonlyMap<number, number>): Uint8Array {
  let before = 0;
  let at = 0;
  for (const bucket of bucketsOf(sketch)) {
    at = writeVarint(scratch, at, bucket - before);
    at = writeVarint(scratch, at, sketch.get(bucket) ?? 0);
    before = bucket;
  }
  return scratch.slice(0, at);
}

/** Adds what `bytes` hold to `into`. Throws `DATA_DAMAGED` for what `encodeSketch` cannot give. */
export function mergeEncoded(into: Sketch, bytes: Uint8Array): void {
  const reader = { bytes, at: 0 };
  let bucket = 0;
  while (reader.at < bytes.length) {
    bucket += readVarint(reader);
    const count = readVarint(reader);
    if (bucket >= SKETCH_BUCKETS_MAX) damaged(`bucket ${bucket}`);
    into.set(bucket, (into.get(bucket) ?? 0) + count);
  }
}

/** Ascending. Typed arrays sort numbers as numbers, and several times faster than pairs. */
function bucketsOf(sketch: ReadonlyMap<number, number>): Uint16Array {
  return Uint16Array.from(sketch.keys()).sort();
}

function bucketOf(value: number): number {
  // One amount is counted under several dimensions in a row, and logarithms are dear.
  if (value !== lastValue) {
    lastValue = value;
    lastBucket =
      value === 0 ? ZERO_BUCKET : Math.max(1, Math.ceil(Math.log(value) / LOG_GAMMA) + 1);
  }
  return lastBucket;
}

function valueOf(bucket: number): number {
  if (bucket === ZERO_BUCKET) return 0;
  return Math.max(1, Math.round((2 * GAMMA ** (bucket - 1)) / (GAMMA + 1)));
}

/** Writes `value` at `start` and returns where it ends. */
function writeVarint(bytes: Uint8Array, start: number, value: number): number {
  let at = start;
  let rest = value;
  while (rest >= 128) {
    bytes[at++] = (rest % 128) + 128;
    rest = Math.floor(rest / 128);
  }
  bytes[at++] = rest;
  return at;
}

function readVarint(reader: { readonly bytes: Uint8Array; at: number }): number {
  let value = 0;
  for (let scale = 1; scale <= Number.MAX_SAFE_INTEGER; scale *= 128) {
    const byte = reader.bytes[reader.at++];
    if (byte === undefined) damaged("the end is missing");
    value += (byte % 128) * scale;
    if (byte < 128) return value;
  }
  return damaged("a number without an end");
}

function damaged(what: string): never {
  throw new ShopError("DATA_DAMAGED", `not a sketch: ${what}`, "never");
}
