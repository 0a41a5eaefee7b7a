/**
 * The availability cache: five minutes at most, never older than the last invalidation.
 */

import { expect, test } from "bun:test";

import type { StockState } from "../contracts/order-state.ts";

import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { createAvailabilityCache } from "./availability-cache.ts";

function setUp(productsMax = 10) {
  const environment = createVirtualEnvironment();
  const stock = new Map<string, StockState>();
  const put = (productId: string, available: number) =>
    stock.set(productId, { productId, available, reserved: 0, shipped: 0, version: available });
  const loads: string[] = [];
  let gate: Promise<void> = Promise.resolve();
  const cache = createAvailabilityCache({
    environment,
    productsMax,
    load: async (productId) => {
      loads.push(productId);
      const found = stock.get(productId);
      await gate;
      return found;
    },
  });
  const available = async (productId: string) => (await cache.get(productId))?.available;
  const hold = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = promise;
    return resolve;
  };
  return { environment, put, loads, cache, available, hold };
}

test("a product is loaded once and answered from memory for five minutes", async () => {
  const { environment, put, loads, available, cache } = setUp();
  put("tea", 5);
  await available("tea");
  put("tea", 4);
  await environment.advance(5 * 60_000);
  expect(await available("tea")).toBe(5);
  await environment.advance(1);
  expect(await available("tea")).toBe(4);
  expect(loads).toEqual(["tea", "tea"]);
  expect(cache.stats()).toEqual({ hits: 1, misses: 2, products: 1 });
});

test("a change is seen at once after its invalidation", async () => {
  const { put, available, cache } = setUp();
  put("tea", 5);
  await available("tea");
  put("tea", 4);
  cache.invalidate("tea");
  expect(await available("tea")).toBe(4);
});

test("a load that began before the invalidation leaves nothing behind", async () => {
  const { put, available, cache, hold } = setUp();
  put("tea", 5);
  const release = hold();
  const early = available("tea");
  put("tea", 4);
  cache.invalidate("tea");
  release();
  expect(await early).toBe(5);
  expect(await available("tea")).toBe(4);
});

test("who asks after the invalidation does not get a load that began before", async () => {
  const { put, available, cache, hold } = setUp();
  put("tea", 5);
  const release = hold();
  const early = available("tea");
  put("tea", 4);
  cache.invalidate("tea");
  const late = available("tea");
  release();
  expect(await Promise.all([early, late])).toEqual([5, 4]);
});

test("misses at the same time share one load", async () => {
  const { put, available, loads } = setUp();
  put("tea", 5);
  expect(await Promise.all([available("tea"), available("tea")])).toEqual([5, 5]);
  expect(loads).toEqual(["tea"]);
});

test("a product that is not there is asked for again", async () => {
  const { put, available } = setUp();
  expect(await available("tea")).toBeUndefined();
  put("tea", 5);
  expect(await available("tea")).toBe(5);
});

test("a load that fails fails its callers and nobody after them", async () => {
  const environment = createVirtualEnvironment();
  const stock = { productId: "tea", available: 5, reserved: 0, shipped: 0, version: 1 };
  const answers = [Promise.reject(new Error("broken")), Promise.resolve(stock)];
  const load = async () => await answers.shift();
  const cache = createAvailabilityCache({ environment, load });
  expect(cache.get("tea")).rejects.toThrow("broken");
  expect(await cache.get("tea")).toEqual(stock);
});

test("no more products are remembered than allowed, the least wanted go first", async () => {
  const { put, available, cache, loads } = setUp(2);
  for (const id of ["a", "b", "c"]) put(id, 1);
  for (const id of ["a", "b", "a", "c", "a"]) await available(id);
  expect(cache.stats().products).toBe(2);
  expect(loads).toEqual(["a", "b", "c"]);
});
