/**
 * Availability shared over a real Redis by two processes, here two caches: cold, known, changed,
 * raced, and without a server.
 */

import { afterEach, describe, expect, test } from "bun:test";

import type { TestServer } from "../../deploy/services/test-server.ts";
import type { RedisConnection } from "../brokers/redis/redis-connection.ts";
import type { StockState } from "../contracts/order-state.ts";
import type { SharedAvailability } from "./shared-availability.ts";

import { startTestServer, whyMissing } from "../../deploy/services/test-server.ts";
import { systemEnvironment } from "../../runtime/system-environment.ts";
import { requireOrSkip } from "../../runtime/testing/requirements.ts";
import { openRedisConnection } from "../brokers/redis/redis-connection.ts";
import { REDIS_SETTINGS } from "../brokers/redis/redis-options.ts";
import { createStockMemory } from "./redis-stock-changes.ts";
import { openSharedAvailability } from "./shared-availability.ts";

const PATIENCE_MS = 20_000;
const TTL_MS = 60_000;
const environment = systemEnvironment;
const missing = whyMissing("redis");

describe.skipIf(!requireOrSkip("redis", missing === undefined, missing ?? ""))("shared", () => {
  const opened: { close(): void }[] = [];
  let server: TestServer | undefined;

  afterEach(async () => {
    for (const each of opened.splice(0)) each.close();
    await server?.dispose();
    server = undefined;
  });

  async function setUp(ttlMs = TTL_MS) {
    server = await startTestServer("redis");
    const stock = new Map<string, number>();
    let gate: Promise<void> = Promise.resolve();
    let loads = 0;
    const load = async (productId: string): Promise<StockState | undefined> => {
      loads++;
      const available = stock.get(productId);
      await gate;
      if (available === undefined) return undefined;
      return { productId, available, reserved: 0, shipped: 0, version: 1 };
    };
    const settings = { ...REDIS_SETTINGS, url: server.url, commandTimeoutMs: 2_000 };
    const open = async (): Promise<{ cache: SharedAvailability; connection: RedisConnection }> => {
      const connection = await openRedisConnection({ settings, environment, purpose: "stock" });
      const options = { environment, connection, prefix: "t:", ttlMs, load };
      const cache = await openSharedAvailability(options);
      opened.push(cache, connection);
      return { cache, connection };
    };
    const { cache: here, connection } = await open();
    const { cache: there } = await open();
    const hold = (): (() => void) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      gate = promise;
      return resolve;
    };
    const available = async (cache: SharedAvailability) => (await cache.get("tea"))?.available;
    return { stock, here, there, connection, hold, available, loads: () => loads };
  }

  async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
    const startMs = environment.monotonicMs();
    while (!(await holds())) {
      if (environment.monotonicMs() - startMs > PATIENCE_MS) throw new Error(`never: ${what}`);
      await Bun.sleep(5);
    }
  }

  test("what one process has read, the other is given without the store", async () => {
    const { stock, here, there, available, loads } = await setUp();
    stock.set("tea", 5);
    expect(await available(here)).toBe(5);
    expect(await available(there)).toBe(5);
    expect(loads()).toBe(1);
    expect(there.stats()).toEqual({ hits: 0, sharedHits: 1, loads: 0 });
    await available(there);
    expect(there.stats()).toMatchObject({ hits: 1, sharedHits: 1 });
  });

  test("who changed the stock sees it at once, and the other as soon as it hears", async () => {
    const { stock, here, there, available } = await setUp();
    stock.set("tea", 5);
    await available(here);
    await available(there);
    stock.set("tea", 4);
    here.invalidate("tea");
    expect(await available(here)).toBe(4);
    await eventually("the other sees it", async () => (await available(there)) === 4);
  });

  test("what was read before a change is not remembered after it, here or there", async () => {
    const { stock, here, there, available, hold } = await setUp();
    stock.set("tea", 5);
    const release = hold();
    const early = available(there);
    await eventually("the store is asked", () => Promise.resolve(there.stats().loads === 1));
    stock.set("tea", 4);
    here.invalidate("tea");
    release();
    expect(await available(here)).toBe(4);
    expect(await early).toBe(5);
    await eventually("the other sees it", async () => (await available(there)) === 4);
    expect(await available(here)).toBe(4);
  });

  test("a value that was read before a change is not put after it", async () => {
    const { connection } = await setUp();
    const memory = createStockMemory(connection.link, { prefix: "t:", ttlMs: TTL_MS });
    const stock = { productId: "tea", available: 5, reserved: 0, shipped: 0, version: 1 };
    const { generation: first } = await memory.get("tea");
    await memory.changed(["tea"]);
    await memory.put("tea", stock, first);
    const { stock: none, generation: second } = await memory.get("tea");
    expect(none).toBeUndefined();
    await memory.put("tea", stock, second);
    expect((await memory.get("tea")).stock).toEqual(stock);
  });

  test("what is remembered goes by age, for both", async () => {
    const { stock, here, there, available } = await setUp(150);
    stock.set("tea", 5);
    await available(here);
    await available(there);
    stock.set("tea", 4);
    await eventually("it is read again", async () => (await available(there)) === 4);
    await eventually("here too", async () => (await available(here)) === 4);
  });

  test("a product that does not exist is asked for again", async () => {
    const { stock, here, available } = await setUp();
    expect(await available(here)).toBeUndefined();
    stock.set("tea", 5);
    expect(await available(here)).toBe(5);
  });

  test("without a server the store is asked, and afterwards nothing old is given", async () => {
    const { stock, here, there, connection, available } = await setUp();
    stock.set("tea", 5);
    await available(here);
    await available(there);
    await server?.kill();
    await eventually("it is noticed", () => Promise.resolve(!connection.link.isUp));
    stock.set("tea", 4);
    here.invalidate("tea");
    expect(await available(here)).toBe(4);
    await eventually("the other asks the store", async () => (await available(there)) === 4);
    stock.set("tea", 3);
    expect(await available(here)).toBe(3);
    here.invalidate("tea");
    await server?.start();
    await connection.link.whenUp();
    await eventually("what was remembered is gone", async () => (await available(there)) === 3);
    expect(await available(here)).toBe(3);
  });
});
