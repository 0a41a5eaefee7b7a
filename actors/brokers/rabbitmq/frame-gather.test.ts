/**
 * When frames go out together and when they do not wait: decisions from times and numbers.
 */

import { expect, test } from "bun:test";

import { FrameGather } from "./frame-gather.ts";

/** What each publish, `[at ms, frames]`, is told to wait. */
function delaysOf(gatherMs: number, publishes: readonly (readonly [number, number])[]): number[] {
  const gather = new FrameGather(gatherMs);
  return publishes.map(([nowMs, frames]) => gather.delayMs(nowMs, frames, frames));
}

test("at rest, and for who publishes a frame at a time, nothing waits", () => {
  expect(
    delaysOf(20, [
      [0, 1],
      [5, 1],
      [100, 4],
      [118, 1],
      [500, 200],
    ]),
  ).toEqual([0, 0, 0, 0, 0]);
});

test("under traffic frames leave once in a time, all together", () => {
  const delays = delaysOf(20, [
    [0, 5],
    [10, 5],
    [20, 5],
    [25, 5],
    [40, 5],
    [41, 5],
    [60, 1],
  ]);
  expect(delays).toEqual([0, 0, 20, 15, 20, 19, 20]);
});

test("after a time without traffic nothing waits any more", () => {
  expect(
    delaysOf(20, [
      [0, 50],
      [20, 1],
      [40, 1],
      [41, 1],
    ]),
  ).toEqual([0, 20, 0, 0]);
  expect(
    delaysOf(20, [
      [0, 50],
      [45, 1],
    ]),
  ).toEqual([0, 0]);
});

test("what is worth a call of its own does not wait, and 0 holds nothing back", () => {
  expect(
    delaysOf(20, [
      [0, 500],
      [20, 500],
      [21, 3],
    ]),
  ).toEqual([0, 0, 19]);
  expect(
    delaysOf(0, [
      [0, 50],
      [0, 50],
      [1, 50],
      [1, 1],
    ]),
  ).toEqual([0, 0, 0, 0]);
});
