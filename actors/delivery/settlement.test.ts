/**
 * What a retry may say of itself: its own schedule, its own deadline, and whether it counts.
 *
 * Everything else about settling is tested where the consumer is.
 */

import { expect, test } from "bun:test";

import type { Retry } from "./outcome.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createRig } from "./consumer-bench.suite.ts";

const schedule = { attemptsMax: 3, delayMinMs: 40, delayMaxMs: 40, jitter: 0 };
const error = new ShopError("INDETERMINATE", "no answer", "later");

async function retryWith(retry: Partial<Retry>) {
  const rig = createRig();
  const atMs: number[] = [];
  const beganMs = rig.environment.nowMs();
  await rig.start(async () => {
    atMs.push(rig.environment.nowMs() - beganMs);
    return { kind: "retry", error, ...retry };
  });
  await rig.publish(["m"]);
  return { rig, atMs };
}

test("a retry with a schedule of its own waits and gives up by that", async () => {
  const { rig, atMs } = await retryWith({ schedule });
  await rig.environment.advance(1_000);
  expect(atMs).toEqual([0, 40, 80]);
  expect(await rig.buried()).toMatchObject([{ reason: "poison", attempts: 3 }]);
});

test("a blameless retry counts no attempt, whatever its error", async () => {
  const { rig, atMs } = await retryWith({ schedule, blameless: true });
  await rig.environment.advance(1_000);
  expect(atMs).toHaveLength(26);
  expect(rig.calls.every((call) => call === "m#1")).toBe(true);
  expect(await rig.buried()).toEqual([]);
});

test("no attempt begins after the deadline of its schedule, blameless or not", async () => {
  for (const blameless of [true, false]) {
    const own = { ...schedule, attemptsMax: 100, deadlineMs: 100 };
    const { rig, atMs } = await retryWith({ schedule: own, blameless });
    await rig.environment.advance(1_000);
    expect(atMs).toEqual([0, 40, 80]);
    expect(await rig.buried()).toMatchObject([{ reason: "too_late" }]);
  }
});

test("a wall clock that jumps ahead brings no deadline nearer", async () => {
  const own = { ...schedule, attemptsMax: 100, deadlineMs: 100 };
  const { rig, atMs } = await retryWith({ schedule: own });
  rig.environment.jumpWallClock(3_600_000);
  await rig.environment.advance(60);
  expect(atMs).toHaveLength(2);
  expect(await rig.buried()).toEqual([]);
});
