/**
 * A shop whose servers go away one after the other, and come back, while orders keep coming.
 *
 * Each server is killed for some seconds. Health says so, orders are taken where that does not cost
 * a guarantee, and what was acknowledged comes to its end once the server is there again. What is
 * waited for is what the shop says of itself, never a time.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { RealServer, RealServers } from "./real-shop.fixture.ts";
import type { Json } from "./story-orders.suite.ts";

import {
  disposeServers,
  haveServers,
  REAL_SERVERS,
  settingsOn,
  ShopProcess,
  startRealServers,
  until,
  untilMet,
} from "./real-shop.fixture.ts";
import { PostgresPeek } from "./server-peeks.fixture.ts";
import { list } from "./story-checks.suite.ts";
import { bodyOf, CARLA } from "./story-orders.suite.ts";

const TEST_TIMEOUT_MS = 300_000;
/** A shard can do without each of them. */
const BROKERS: readonly RealServer[] = ["kafka", "redis", "rabbitmq"];
const SHARDS = 2;
const HOUR_MS = 3_600_000;
const BETWEEN_ORDERS_MS = 200;
/** Answers while a server is away that are looked at. */
const ANSWERS = 25;

let servers: RealServers;
let shop: ShopProcess;
let postgres: PostgresPeek;
/** Every order that was acknowledged. */
const acknowledged: string[] = [];
let placed = 0;

interface Trickle extends AsyncDisposable {
  /** Statuses of the answers so far. */
  readonly statuses: readonly number[];
  /** From now on only orders count that are sent from now on. */
  forget(): void;
  stop(): Promise<void>;
}

/** About five orders a second, none twice, each answer noted. */
function startTrickle(): Trickle {
  let statuses: number[] = [];
  let isOver = false;
  const under: Promise<void>[] = [];
  async function one(): Promise<void> {
    const order = { ...CARLA, customerId: `customer-${placed++}`, quantity: 1 };
    const noted = statuses;
    const { status, body } = await shop.send("POST", "/v1/orders", bodyOf(order));
    noted.push(status);
    if (status === 201) acknowledged.push(String(body["id"]));
  }
  const running = (async () => {
    while (!isOver) {
      under.push(one());
      await Bun.sleep(BETWEEN_ORDERS_MS);
    }
  })();
  async function stop(): Promise<void> {
    isOver = true;
    await running;
    // One that failed leaves none of the others under way: they would count as another test's.
    await Promise.allSettled(under);
    await Promise.all(under);
  }
  return {
    get statuses() {
      return statuses;
    },
    forget: () => void (statuses = []),
    stop,
    // A test that fails must not order on behind the others.
    [Symbol.asyncDispose]: stop,
  };
}

/** Those of `names` that are not up. */
async function healthOf(names: readonly string[]): Promise<readonly string[]> {
  const parts = list(await shop.json("/health"), "services");
  return parts
    .filter(({ status }) => status !== "up")
    .map(({ name }) => String(name))
    .filter((name) => names.includes(name));
}

/**
 * Each shard has connections of its own, and one that is just beginning anew cannot without it.
 * `from`: in what the shop said.
 */
async function untilShardsMiss(name: RealServer, from: number): Promise<void> {
  const shards = Array.from({ length: SHARDS }, (_, shard) => `shard-${shard}`);
  const said = () => shop.said.slice(from);
  const misses = (shard: string): boolean =>
    said().includes(`${shard}: ${name} cannot be reached`) ||
    said().includes(`${shard}: SERVER_UNUSABLE: ${name}.url`);
  await until(() => shards.every(misses), `each shard misses ${name}`, { seen: said });
}

/**
 * That `answers` are what orders get while PostgreSQL is away, of shards that miss it: a 503. A
 * shard that was beginning anew when it went cannot before it is back, and answers nobody until
 * then: a 504, of the orders that are its own.
 */
function expectRefused(answers: ReadonlySet<number>, from: number): void {
  const told = shop.said.slice(from).matchAll(/(shard-\d+): SERVER_UNUSABLE: postgres\.url/g);
  const anew = new Set([...told].map(([, shard]) => shard)).size;
  const legal = anew === 0 ? [503] : [503, 504];
  expect(legal).toEqual(expect.arrayContaining([...answers]));
  if (anew < SHARDS) expect([...answers]).toContain(503);
}

/** Of threads, since the process began. */
async function restarts(): Promise<number> {
  const page = await shop.text("/metrics");
  return Number(/^shopstream_thread_restarts_total (\d+)$/m.exec(page)?.[1]);
}

async function untilUp(): Promise<void> {
  let health: Json = {};
  const isUp = async () => {
    health = await shop.json("/health");
    return health["status"] === "up";
  };
  const seen = () => `${JSON.stringify(health)}\n${shop.said.slice(-2_000)}`;
  await until(isUp, "health is up", { seen });
}

async function untilDelivered(ids: readonly string[]): Promise<void> {
  const open = new Set(ids);
  let last: Json = {};
  const isDone = async () => {
    for (const id of open) {
      last = await shop.json(`/v1/orders/${id}`);
      if (last["status"] !== "delivered") return false;
      open.delete(id);
    }
    return true;
  };
  const seen = () => `${open.size} open, as ${JSON.stringify(last)}`;
  await until(isDone, "every acknowledged order is delivered", { withinMs: 150_000, seen });
}

describe.skipIf(!haveServers())("a shop that loses a server while orders come", () => {
  beforeAll(async () => {
    servers = await startRealServers();
    shop = await ShopProcess.open({
      ...settingsOn(servers),
      SHOPSTREAM_LOG_LEVEL: "warning",
      SHOPSTREAM_SABOTAGE: "true",
      // What Redis keeps besides messages must come back with it as well.
      SHOPSTREAM_FRAUD_STATE: "redis",
      SHOPSTREAM_INVENTORY_CACHE: "redis",
    });
    postgres = new PostgresPeek(servers);
    const stock = { available: 100_000 };
    expect((await shop.send("PUT", "/v1/inventory/story-mug", stock)).status).toBe(201);
  }, TEST_TIMEOUT_MS);

  afterAll(async () => {
    await postgres?.close();
    await shop?.dispose();
    if (servers !== undefined) await disposeServers(servers);
  }, TEST_TIMEOUT_MS);

  test.each(REAL_SERVERS.map((name) => [name]))(
    "%s: says so, goes on as far as it may, and completes what it acknowledged",
    async (name: RealServer) => {
      await untilUp();
      const from = acknowledged.length;
      await using trickle = startTrickle();
      await until(() => trickle.statuses.length >= 5, "orders come");
      const saidBefore = shop.said.length;
      await servers[name].kill();
      const told = [`server.${name}`, `egress.${name}`];
      await until(async () => (await healthOf(told)).length > 0, `health names ${name}`, {
        seen: () => shop.said.slice(-2_000),
      });
      if (name === "postgres") await untilShardsMiss(name, saidBefore);
      // A shard cannot know of an order that it was about to commit when the server died: a 504.
      trickle.forget();
      await until(() => trickle.statuses.length >= ANSWERS, "orders are answered");
      const answers = new Set(trickle.statuses);
      await servers[name].start();
      if (name === "postgres") {
        // Nothing is acknowledged that is not on its disk.
        expectRefused(answers, saidBefore);
        const later = trickle.statuses.length;
        await until(() => trickle.statuses.slice(later).includes(201), "orders are taken again");
      } else expect([...answers]).toEqual([201]);
      await trickle.stop();
      await untilUp();
      await untilDelivered(acknowledged.slice(from));
    },
    TEST_TIMEOUT_MS,
  );

  test.each(BROKERS.map((name) => [name]))(
    "%s: shards that die while it is away begin anew, take orders, and complete them later",
    async (name: RealServer) => {
      await untilUp();
      const from = acknowledged.length;
      const before = await restarts();
      await servers[name].kill();
      for (let shard = 0; shard < SHARDS; shard++) {
        const { status } = await shop.send("POST", "/admin/sabotage", { shard, how: "exit" });
        expect(status).toBe(202);
      }
      await until(async () => (await restarts()) >= before + SHARDS, "both shards died", {
        seen: () => shop.said.slice(-2_000),
      });
      await using trickle = startTrickle();
      const isTaking = () => trickle.statuses.filter((status) => status === 201).length >= ANSWERS;
      await until(isTaking, "orders are taken", { seen: () => shop.said.slice(-2_000) });
      // Of threads that are new each finds out for itself, orders or not.
      await until(async () => (await healthOf([`server.${name}`])).length > 0, "health says so", {
        seen: () => shop.said.slice(-2_000),
      });
      await servers[name].start();
      await trickle.stop();
      await untilUp();
      await untilDelivered(acknowledged.slice(from));
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "after all of that has everything it acknowledged, in every store",
    async () => {
      expect(shop.hasEnded()).toBe(false);
      await untilDelivered(acknowledged);
      for (const id of acknowledged) {
        expect(await postgres.rowAt("payments", id)).toMatchObject({ status: "completed" });
      }
      expect(await shop.json("/admin/dead-letters/summary")).toMatchObject({ total: 0 });
      expect(await shop.answered("/admin/ledger")).toMatchObject({ balanced: true });
      let seen: unknown;
      const total = await postgres.count("orders");
      const from = new Date(Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HOUR_MS).toISOString();
      const path = `/v1/analytics/query?granularity=range&from=${from}&metric=orders`;
      const isCounted = async () => {
        const rows = list(await shop.json(path), "rows");
        seen = rows.reduce((sum, { count }) => sum + Number(count), 0);
        return seen === total;
      };
      await until(isCounted, `analytics has ${total} orders`, { seen: () => String(seen) });
      for (const id of acknowledged) {
        // No order waits for the audit, which may be late.
        await untilMet(async () => {
          const { records } = await shop.json(`/v1/audit?orderId=${id}&type=order.delivered`);
          expect(records).toHaveLength(1);
        }, `${id} is in the audit, once`);
      }
    },
    TEST_TIMEOUT_MS,
  );
});
