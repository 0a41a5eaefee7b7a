/**
 * Watching orders by asking for their rows, on a clock of the test. The rows are the test's own.
 */

import { expect, test } from "bun:test";

import { ShopError } from "../runtime/errors.ts";
import { createVirtualEnvironment } from "../runtime/virtual-environment.ts";
import { pollOrders } from "./polled-order-watch.ts";

function createRig() {
  const environment = createVirtualEnvironment();
  const versions = new Map<string, number>();
  const questions: (readonly string[])[] = [];
  let isDown = false;
  const events = pollOrders(
    {
      load: async (_table, keys) => {
        questions.push(keys);
        if (isDown) throw new ShopError("STORAGE_FAULT", "away", "later");
        return keys.map((key) => {
          const version = versions.get(key);
          return version === undefined ? undefined : { key, version, data: new Uint8Array() };
        });
      },
    },
    environment,
  );
  return { environment, versions, questions, events, fail: (on: boolean) => void (isDown = on) };
}

test("a change that another process made is told, once", async () => {
  const { environment, versions, events } = createRig();
  versions.set("a", 1);
  let told = 0;
  events.onOrder("a", () => told++);
  await environment.advance(1_000);
  expect(told).toBe(1);
  versions.set("a", 2);
  await environment.advance(1_000);
  expect(told).toBe(2);
});

test("all that are watched are asked for together, and nothing when nobody watches", async () => {
  const { environment, questions, events } = createRig();
  const stops = ["a", "b", "a"].map((orderId) => events.onOrder(orderId, () => undefined));
  await environment.advance(250);
  expect(questions).toEqual([["a", "b"]]);
  for (const stop of stops) stop();
  await environment.advance(5_000);
  expect(questions).toHaveLength(1);
  expect(environment.pendingTimers()).toBe(0);
});

test("a question that fails is asked again", async () => {
  const { environment, versions, events, fail } = createRig();
  let told = 0;
  fail(true);
  events.onOrder("a", () => told++);
  await environment.advance(2_000);
  expect(told).toBe(0);
  versions.set("a", 1);
  fail(false);
  await environment.advance(1_000);
  expect(told).toBe(1);
});
