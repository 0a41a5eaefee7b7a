/**
 * When due timers are looked for: on time at rest, and together where many are due.
 * What a look finds is the database's business.
 */

import { expect, test } from "bun:test";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { DueTimers } from "./due-timers.ts";

/** Timers in memory, due by the same clock. */
async function setUp() {
  const environment = createVirtualEnvironment();
  const due: number[] = [];
  const looks: number[] = [];
  const startMs = environment.monotonicMs();
  const isDue = (dueMs: number): boolean => dueMs <= environment.nowMs();
  const timers = new DueTimers({
    environment,
    relayId: "relay",
    rows: {
      async fire() {
        looks.push(environment.monotonicMs() - startMs);
        const fired = due.filter(isDue);
        due.splice(0, due.length, ...due.filter((dueMs) => !isDue(dueMs)));
        return fired.map((id) => ({ id, topic: "orders", slot: 0, frame: Uint8Array.of() }));
      },
      async nextInMs() {
        return due.length === 0 ? undefined : Math.min(...due) - environment.nowMs();
      },
    },
    onFired: (frames) => void fired.push(...frames.map(({ id }) => environment.nowMs() - id)),
    onUncertain: () => undefined,
  });
  const fired: number[] = [];
  const start = (inMs: number): void => {
    const dueMs = environment.nowMs() + inMs;
    due.push(dueMs);
    timers.started(dueMs);
  };
  await environment.advance(100);
  looks.length = 0;
  return { environment, timers, looks, fired, start };
}

test("a timer fires when it is due, alone or after a while", async () => {
  const { environment, timers, fired, start } = await setUp();
  start(30);
  await environment.advance(30);
  start(300);
  await environment.advance(300);
  expect(fired).toEqual([0, 0]);
  await timers.close();
});

test("many that are due one after the other fire by few looks, none late by much", async () => {
  const { environment, timers, looks, fired, start } = await setUp();
  for (let inMs = 10; inMs < 110; inMs++) start(inMs);
  await environment.advance(140);
  expect(fired).toHaveLength(100);
  expect(Math.max(...fired)).toBeLessThanOrEqual(20);
  expect(looks.length).toBeLessThanOrEqual(7);
  await timers.close();
});
