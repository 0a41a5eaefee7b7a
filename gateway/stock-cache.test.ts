/**
 * The cache of availability and the watching of orders: both look at pages that other threads count
 * up. Here one thread plays all of them.
 */

import { expect, test } from "bun:test";

import { createChangePage, noteChange, noteEveryChange } from "../actors/change-page.ts";
import { createVirtualEnvironment } from "../runtime/virtual-environment.ts";
import { watchOrders } from "./order-watch.ts";
import { createStockCache } from "./stock-cache.ts";

const TTL_MS = 300_000;

function createCache() {
  const environment = createVirtualEnvironment();
  const changes = createChangePage();
  let loads = 0;
  const cache = createStockCache({
    environment,
    changes,
    ttlMs: TTL_MS,
    load: (productId) =>
      Promise.resolve({ productId, available: ++loads, reserved: 0, shipped: 0, version: loads }),
  });
  return { environment, page: new Int32Array(changes), cache, loads: () => loads };
}

test("availability is read once while nothing changes", async () => {
  const { cache, loads } = createCache();
  await cache.get("cup");
  await cache.get("cup");
  expect(loads()).toBe(1);
});

test("a change made by any shard is seen by the next read", async () => {
  const { cache, page } = createCache();
  expect((await cache.get("cup"))?.version).toBe(1);
  noteChange(page, "cup");
  expect((await cache.get("cup"))?.version).toBe(2);
});

test("after a shard died everything counts as changed: it may not have told its last", async () => {
  const { cache, page, loads } = createCache();
  await cache.get("cup");
  noteEveryChange(page);
  await cache.get("cup");
  expect(loads()).toBe(2);
});

test("another product's change is no reason to read again", async () => {
  const { cache, page, loads } = createCache();
  await cache.get("cup");
  noteChange(page, "grinder");
  await cache.get("cup");
  expect(loads()).toBe(1);
});

test("an answer older than its lifetime is read again", async () => {
  const { cache, environment, loads } = createCache();
  await cache.get("cup");
  await environment.advance(TTL_MS + 1);
  await cache.get("cup");
  expect(loads()).toBe(2);
});

test("who watches an order hears of each change, and nothing after it stopped", async () => {
  const environment = createVirtualEnvironment();
  const changes = createChangePage();
  const page = new Int32Array(changes);
  const events = watchOrders(changes, environment);
  let heard = 0;
  const stop = events.onOrder("order-1", () => heard++);
  await environment.advance(1_000);
  expect(heard).toBe(0);
  noteChange(page, "order-1");
  await environment.advance(100);
  expect(heard).toBe(1);
  stop();
  noteChange(page, "order-1");
  await environment.advance(100);
  expect(heard).toBe(1);
  expect(environment.pendingTimers()).toBe(0);
});
