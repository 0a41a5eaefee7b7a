/**
 * When due timers are looked for: on time at rest, and together where many are due.
 * What a look finds is the database's business.
 */

import { expect, test } from "bun:test";

import { InvariantError, ShopError } from "../../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { DueTimers } from "./due-timers.ts";

/** Timers in memory, due by the same clock. Whoever is told of them may fail. */
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
    onFired(frames) {
      if (failure.next !== undefined) throw failure.next;
      fired.push(...frames.map(({ id }) => environment.nowMs() - id));
    },
    onUncertain: () => undefined,
    onFailure: (error) => void failures.push(error),
  });
  const fired: number[] = [];
  const failure: { next?: Error } = {};
  const failures: unknown[] = [];
  const start = (inMs: number): void => {
    const dueMs = environment.nowMs() + inMs;
    due.push(dueMs);
    timers.started(dueMs);
  };
  await environment.advance(100);
  looks.length = 0;
  return { environment, timers, looks, fired, failure, failures, start };
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

test("a database that fails is asked again, a bug is told and ends it", async () => {
  const { environment, timers, looks, failure, failures, start } = await setUp();
  failure.next = new ShopError("STORAGE_FAULT", "away", "later");
  start(10);
  await environment.advance(5_000);
  expect(failures).toEqual([]);
  expect(looks.length).toBeGreaterThan(3);
  failure.next = new InvariantError("this cannot be");
  start(10);
  await environment.advance(1_000);
  expect(failures).toEqual([failure.next]);
  const before = looks.length;
  start(10);
  await environment.advance(5_000);
  expect(looks).toHaveLength(before);
  await timers.close();
  expect(environment.pendingTimers()).toBe(0);
});
