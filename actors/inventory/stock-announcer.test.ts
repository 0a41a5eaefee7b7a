/**
 * Telling others of changed stock: together, again until it is heard, and never without bound. The
 * others are a list here.
 */

import { expect, test } from "bun:test";

import { ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { createStockAnnouncer } from "./stock-announcer.ts";

function setUp() {
  const environment = createVirtualEnvironment();
  const told: (readonly string[])[] = [];
  const dropped: string[] = [];
  const world = { isUp: true };
  const announcer = createStockAnnouncer({
    environment,
    memory: {
      changed: (productIds) => {
        if (!world.isUp) return Promise.reject(new ShopError("STORAGE_FAULT", "away", "later"));
        told.push(productIds);
        return Promise.resolve();
      },
    },
    onDropped: (productId) => void dropped.push(productId),
  });
  return { environment, told, dropped, world, announcer };
}

test("products of one turn are told together, each once", async () => {
  const { environment, told, announcer } = setUp();
  for (const productId of ["tea", "cup", "tea"]) announcer.changed(productId);
  expect(announcer.isOwed("tea")).toBe(true);
  await environment.settle();
  expect(told).toEqual([["cup", "tea"]]);
  expect(announcer.isOwed("tea")).toBe(false);
});

test("what could not be told is owed, and told once it can be", async () => {
  const { environment, told, world, announcer } = setUp();
  world.isUp = false;
  announcer.changed("tea");
  await environment.advance(10_000);
  expect(announcer.isOwed("tea")).toBe(true);
  world.isUp = true;
  announcer.changed("cup");
  await environment.advance(1_000);
  expect(told.flat().toSorted()).toEqual(["cup", "tea"]);
  expect(environment.pendingTimers()).toBe(0);
});

test("beyond its bound the oldest are let go, and named", async () => {
  const { environment, dropped, world, announcer } = setUp();
  world.isUp = false;
  for (let at = 0; at < 10_003; at++) announcer.changed(`p${at}`);
  expect(dropped).toEqual(["p0", "p1", "p2"]);
  announcer.close();
  await environment.advance(1_000);
  expect(environment.pendingTimers()).toBe(0);
});
