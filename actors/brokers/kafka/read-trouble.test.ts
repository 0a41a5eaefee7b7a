/**
 * When what cannot be read is asked again, and what is told of it. No I/O.
 */

import { expect, test } from "bun:test";

import { ReadTrouble } from "./read-trouble.ts";

test("what does not end by itself is told once for each cause, and asked ever less often", () => {
  const trouble = new ReadTrouble();
  const pauses: number[] = [];
  const told: boolean[] = [];
  for (const cause of ["a", "a", "b", "a", "b", "a", "a"]) {
    told.push(trouble.noted(cause, false, 1_000));
    pauses.push(trouble.notBeforeMs - 1_000);
  }
  expect(told).toEqual([true, false, true, false, false, false, false]);
  expect(pauses).toEqual([200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
});

test("what ought to end by itself is asked often, and told when it does not", () => {
  const trouble = new ReadTrouble();
  const told: number[] = [];
  for (let nowMs = 0; nowMs <= 20_000; nowMs += 200) {
    if (trouble.noted("no leader", true, nowMs)) told.push(nowMs);
    expect(trouble.notBeforeMs).toBe(nowMs + 200);
  }
  expect(told).toEqual([10_000]);
});

test("what is over is told if its begin was, and begins anew after that", () => {
  const trouble = new ReadTrouble();
  expect(trouble.over()).toBe(false);
  trouble.noted("no leader", true, 0);
  expect(trouble.over()).toBe(false);
  expect(trouble.noted("no leader", true, 11_000)).toBe(false);
  expect(trouble.noted("odd", false, 11_000)).toBe(true);
  expect(trouble.over()).toBe(true);
  expect(trouble.notBeforeMs).toBe(Number.NEGATIVE_INFINITY);
  expect(trouble.over()).toBe(false);
  expect(trouble.noted("odd", false, 12_000)).toBe(true);
  expect(trouble.notBeforeMs).toBe(12_200);
});
