/**
 * The estimate of different visitors: close, the same in every order, and blind to repeats.
 *
 * The names are fixed, so the errors are too; three standard errors are allowed.
 */

import { describe, expect, test } from "bun:test";

import { addVisitor, countVisitors, createVisitorSketch, mergeVisitors } from "./visitor-sketch.ts";

function sketchOf(from: number, to: number): Uint8Array {
  const registers = createVisitorSketch();
  for (let number = from; number < to; number++) addVisitor(registers, `visitor-${number}`);
  return registers;
}

describe("visitors", () => {
  for (const visitors of [0, 1, 10, 100, 1_000, 5_000, 20_000, 200_000]) {
    test(`are estimated within 7 % when they are ${visitors}`, () => {
      const estimate = countVisitors(sketchOf(0, visitors));
      expect(Math.abs(estimate - visitors)).toBeLessThanOrEqual(visitors * 0.07);
    });
  }

  test("of two hours together count once who was there in both", () => {
    const both = sketchOf(0, 6_000);
    mergeVisitors(both, sketchOf(3_000, 9_000));
    expect(both).toEqual(sketchOf(0, 9_000));
    mergeVisitors(both, sketchOf(0, 9_000));
    expect(both).toEqual(sketchOf(0, 9_000));
  });
});
