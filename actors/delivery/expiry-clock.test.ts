/**
 * Deadlines under a clock that jumps: late is allowed, early is not.
 *
 * The clock is virtual, so that the wall clock and the monotonic one can part ways.
 */

import { expect, test } from "bun:test";

import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { createExpiryClock } from "./expiry-clock.ts";

const HOUR_MS = 3_600_000;

test("a deadline passes when its time has come, and no deadline never passes", async () => {
  const environment = createVirtualEnvironment();
  const clock = createExpiryClock(environment);
  const deadlineMs = environment.nowMs() + 1_000;
  await environment.advance(999);
  expect(clock.hasPassed(deadlineMs)).toBe(false);
  await environment.advance(1);
  expect(clock.hasPassed(deadlineMs)).toBe(true);
  expect(clock.hasPassed(0)).toBe(false);
});

test("a jump forward of the wall clock makes no deadline pass early", async () => {
  const environment = createVirtualEnvironment();
  const clock = createExpiryClock(environment);
  const deadlineMs = environment.nowMs() + 1_000;
  environment.jumpWallClock(HOUR_MS);
  expect(clock.hasPassed(deadlineMs)).toBe(false);
  await environment.advance(1_000);
  expect(clock.hasPassed(deadlineMs)).toBe(true);
});

test("after a jump back, a deadline set before it waits for the wall clock", async () => {
  const environment = createVirtualEnvironment();
  const clock = createExpiryClock(environment);
  const deadlineMs = environment.nowMs() + 1_000;
  environment.jumpWallClock(-HOUR_MS);
  await environment.advance(1_000);
  expect(clock.hasPassed(deadlineMs)).toBe(false);
  await environment.advance(HOUR_MS);
  expect(clock.hasPassed(deadlineMs)).toBe(true);
});
