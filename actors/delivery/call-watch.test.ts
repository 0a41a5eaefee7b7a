/**
 * Which calls take up a place, and which are given up, on a virtual clock. No call is ever made.
 */

import { expect, test } from "bun:test";

import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { CallWatch, SLOW_MAX } from "./call-watch.ts";

function openWatch(timeoutMs: number) {
  const environment = createVirtualEnvironment();
  const hung: string[] = [];
  let slowed = 0;
  const watch = new CallWatch<string>(environment, timeoutMs, {
    slow: () => void slowed++,
    hung: (call) => void hung.push(call),
  });
  return { environment, watch, hung, slowed: () => slowed };
}

test("a call takes up a place until it is slow, and comes back like any other", async () => {
  const { environment, watch, slowed } = openWatch(30_000);
  const slow = watch.begin("slow");
  await environment.advance(600);
  watch.end(watch.begin("quick"));
  const late = watch.begin("late");
  expect(watch.occupying).toBe(2);
  await environment.advance(500);
  expect([watch.occupying, watch.running, slowed()]).toEqual([1, 2, 1]);
  expect(watch.end(slow)).toBe(1_100);
  expect([watch.occupying, watch.running, watch.returned]).toEqual([1, 1, 2]);
  watch.end(late);
  expect([watch.occupying, watch.running]).toEqual([0, 0]);
  await environment.advance(5_000);
  expect(environment.pendingTimers()).toBe(0);
});

test("of slow calls so many take up no place, and the others do", async () => {
  const { environment, watch, hung } = openWatch(30_000);
  for (let at = 0; at < SLOW_MAX + 10; at++) watch.begin(`call ${at}`);
  await environment.advance(2_000);
  expect([watch.occupying, watch.running]).toEqual([10, SLOW_MAX + 10]);
  await environment.advance(30_000);
  expect(hung).toHaveLength(SLOW_MAX + 10);
  expect([watch.occupying, watch.running]).toEqual([0, 0]);
});

test("a call that was given up has come back from nowhere", async () => {
  const { environment, watch, hung } = openWatch(400);
  const call = watch.begin("call");
  await environment.advance(399);
  expect([hung, watch.running]).toEqual([[], 1]);
  await environment.advance(101);
  expect(hung).toEqual(["call"]);
  expect(watch.end(call)).toBeUndefined();
  expect([watch.occupying, watch.running, watch.returned]).toEqual([0, 0, 0]);
});
