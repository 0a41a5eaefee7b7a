/**
 * Laws of the histogram: merging is addition, and percentiles stay within their error.
 *
 * Compared with the exact percentile of all values, sorted. Bytes that are no sketch are refused.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { Sketch } from "./quantile-sketch.ts";

import {
  addValue,
  encodeSketch,
  mergeEncoded,
  mergeSketch,
  quantile,
  quantiles,
  RELATIVE_ERROR,
  SKETCH_BUCKETS_MAX,
  SKETCH_VALUE_MAX,
  sketchCount,
} from "./quantile-sketch.ts";

const amount = fc.oneof(
  fc.integer({ min: 0, max: SKETCH_VALUE_MAX }),
  fc.integer({ min: 0, max: 300 }),
  fc.integer({ min: 0, max: 100_000 }),
);
const amounts = fc.array(amount, { maxLength: 200 });
const share = fc.oneof(
  fc.constantFrom(0, 0.5, 0.9, 0.95, 0.99, 1),
  fc.double({ min: 0, max: 1, noNaN: true }),
);

function sketchOf(values: readonly number[]): Sketch {
  const sketch: Sketch = new Map();
  for (const value of values) addValue(sketch, value);
  return sketch;
}

function merged(...parts: readonly Sketch[]): Sketch {
  const into: Sketch = new Map();
  for (const part of parts) mergeSketch(into, part);
  return into;
}

function sorted(sketch: Sketch): readonly (readonly [number, number])[] {
  return [...sketch].sort(([left], [right]) => left - right);
}

function exact(values: readonly number[], at: number): number | undefined {
  const ranked = values.toSorted((left, right) => left - right);
  return ranked[Math.max(1, Math.ceil(at * ranked.length)) - 1];
}

describe("a sketch", () => {
  test("gives several percentiles in one go, the same as one by one", () => {
    fc.assert(
      fc.property(amounts, fc.array(share, { maxLength: 5 }), (values, asked) => {
        const sketch = sketchOf(values);
        const shares = asked.toSorted((left, right) => left - right);
        const oneByOne = shares.map((at) => quantile(sketch, at));
        expect(quantiles(sketch, shares)).toEqual(oneByOne.filter((value) => value !== undefined));
      }),
    );
  });

  test("answers a percentile within 1 % of the exact one, or half a unit", () => {
    fc.assert(
      fc.property(amounts, share, (values, at) => {
        const expected = exact(values, at);
        const found = quantile(sketchOf(values), at);
        if (expected === undefined || found === undefined) {
          expect(found).toBe(expected);
          return;
        }
        const allowed = expected * RELATIVE_ERROR * 1.000_001 + 0.5;
        expect(Math.abs(found - expected)).toBeLessThanOrEqual(allowed);
      }),
      { numRuns: 2_000 },
    );
  });

  test("of parts that are merged is the sketch of all values together, in whatever order", () => {
    fc.assert(
      fc.property(amounts, amounts, amounts, (one, two, three) => {
        const [first, second, third] = [sketchOf(one), sketchOf(two), sketchOf(three)];
        const whole = sorted(sketchOf([...one, ...two, ...three]));
        expect(sorted(merged(first, second, third))).toEqual(whole);
        expect(sorted(merged(third, merged(second, first)))).toEqual(whole);
        expect(sorted(merged(merged(first, third), second))).toEqual(whole);
        expect(sketchCount(merged(first, second))).toBe(one.length + two.length);
      }),
    );
  });

  test("survives its encoding, and encodes the same however it was filled", () => {
    fc.assert(
      fc.property(amounts, fc.integer({ min: 1, max: 1_000_000_000_000 }), (values, times) => {
        const sketch = sketchOf(values);
        addValue(sketch, 7, times);
        const back: Sketch = new Map();
        mergeEncoded(back, encodeSketch(sketch));
        expect(sorted(back)).toEqual(sorted(sketch));
        const reversed = sketchOf(values.toReversed());
        addValue(reversed, 7, times);
        expect(encodeSketch(reversed)).toEqual(encodeSketch(sketch));
      }),
    );
  });

  test("has no more buckets than it says, at both ends of what it takes", () => {
    const sketch = sketchOf([0, 1, SKETCH_VALUE_MAX]);
    expect([...sketch.keys()].every((bucket) => bucket >= 0 && bucket < SKETCH_BUCKETS_MAX)).toBe(
      true,
    );
    expect(quantile(sketch, 0)).toBe(0);
    expect(quantile(sketch, 0.5)).toBe(1);
    expect(() => addValue(sketch, SKETCH_VALUE_MAX + 1)).toThrow("no amount");
    expect(() => addValue(sketch, -1)).toThrow("no amount");
  });

  test("is not made of bytes that no sketch encodes to", () => {
    for (const bytes of [[5], [5, 128], [255, 255, 255, 1, 1], Array(12).fill(255)]) {
      expect(() => mergeEncoded(new Map(), Uint8Array.from(bytes))).toThrow("not a sketch");
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const into: Sketch = new Map();
        try {
          mergeEncoded(into, bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: "DATA_DAMAGED" });
        }
        for (const bucket of into.keys()) expect(bucket).toBeLessThan(SKETCH_BUCKETS_MAX);
      }),
    );
  });
});
