/**
 * The story on real servers only: orders in through HTTP, and then the shop is asked, and each
 * server is looked into with a client of its own.
 *
 * The orders are those of the story on files. Here the shop is killed in the middle, a second
 * process takes what it is asked for an owner elsewhere, and every request is repeated under its
 * key. The tests go on from one another, and none of them waits for a time to pass.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rm } from "node:fs/promises";

import type { Frame } from "../runtime/frames/frame-header.ts";
import type { RealServers } from "./real-shop.fixture.ts";
import type { QueueTap } from "./server-peeks.fixture.ts";
import type { Json, StoryOrder } from "./story-orders.suite.ts";

import { OrderCreated, OrderDelivered, OrderShipped } from "../actors/contracts/messages.ts";
import { FraudFlagged } from "../actors/contracts/platform-messages.ts";
import { slotOf } from "../runtime/frames/murmur2.ts";
import {
  disposeServers,
  haveServers,
  newDataDirectory,
  REAL_SERVERS,
  settingsOn,
  ShopProcess,
  startRealServers,
  until,
  untilMet,
} from "./real-shop.fixture.ts";
import { kafkaRecords, PostgresPeek, redisFrames, tapRabbit } from "./server-peeks.fixture.ts";
import { outboxLines } from "./shop-story.suite.ts";
import {
  expectAudited,
  expectEnds,
  expectFigures,
  expectRows,
  expectStock,
  expectTold,
  figures,
  list,
  searchAudit,
  verifiedRecords,
} from "./story-checks.suite.ts";
import {
  bodyOf,
  CARLA,
  DELIVERED,
  deliveredOrder,
  EVENTS_OF,
  MALLORY,
  OSCAR,
  REPORTS_OF,
  STOCKED,
  VISITS,
} from "./story-orders.suite.ts";

const TEST_TIMEOUT_MS = 300_000;
const HOUR_MS = 3_600_000;
const SLOTS = 64;
const NOT_YET = { SHOPSTREAM_SHIPPING_PACK_MS: String(HOUR_MS) };
/** Cancelled while nobody is there who could. */
const CARL: StoryOrder = { ...CARLA, customerId: "carl" };
/** Acknowledged when the shop is killed. */
const ACKNOWLEDGED_MIN = 4;

let servers: RealServers;
let data = "";
let shop: ShopProcess;
let postgres: PostgresPeek;
let tap: QueueTap;
let startHourMs = 0;
/** Orders that were placed after there was a tap. */
let tapped: readonly string[] = [];
/** Every order of the story, by its id. */
const orders = new Map<string, StoryOrder>();
const opened: ShopProcess[] = [];

async function open(settings: Readonly<Record<string, string>>, at?: string) {
  const started = await ShopProcess.open({ ...settingsOn(servers), ...settings }, at);
  opened.push(started);
  return started;
}

/** The main process: the same name and directory each time. */
const openMain = (settings: Readonly<Record<string, string>>) =>
  open({ ...settings, SHOPSTREAM_INSTANCE: "main" }, data);

/** Under a key of its own, so that it can be repeated. */
async function place(order: StoryOrder, key: string): Promise<string> {
  const headers = { "idempotency-key": key };
  const { status, body } = await shop.send("POST", "/v1/orders", bodyOf(order), headers);
  expect({ status, body }).toMatchObject({ status: 201 });
  const id = String(body["id"]);
  orders.set(id, order);
  return id;
}

async function untilEntries(id: string, count: number): Promise<void> {
  let events = "";
  const hasAll = async () => {
    const entries = list(await shop.json(`/v1/orders/${id}/events`), "events");
    events = entries.map(({ type }) => String(type)).join(", ");
    return entries.length >= count;
  };
  await until(hasAll, `${id} has ${count} entries`, { seen: () => events });
}

/** One is cancelled by its owner at once, one when there is an owner again. */
async function cancelFromElsewhere(): Promise<void> {
  shop = await openMain(NOT_YET);
  const elsewhere = await open({ SHOPSTREAM_ROLES: "inventory" });
  for (const [productId, available] of STOCKED) {
    expect((await shop.send("PUT", `/v1/inventory/${productId}`, { available })).status).toBe(201);
  }
  const carla = await place(CARLA, "carla");
  const carl = await place(CARL, "carl");
  await Promise.all([carla, carl].map((id) => untilEntries(id, 4)));
  const asked = await elsewhere.send("POST", `/v1/orders/${carla}/cancel`, {});
  expect(asked).toMatchObject({ status: 200, body: { status: "cancelled" } });
  await untilEntries(carla, EVENTS_OF.cancelled.length);
  await shop.kill();
  const pending = await elsewhere.send("POST", `/v1/orders/${carl}/cancel`, {});
  expect(pending).toMatchObject({ status: 202, body: { id: carl, outcome: "pending" } });
  expect(await elsewhere.stop()).toBe(0);
  shop = await openMain({});
  await untilEntries(carl, EVENTS_OF.cancelled.length);
}

/** The shop is killed while it takes them; then everybody asks again, answered or not. */
async function placeThroughKill(story: readonly StoryOrder[]): Promise<void> {
  const answered = new Map<number, string>();
  const victim = shop;
  const asking = story.map(async (order, index) => {
    await Bun.sleep(index * 5); // some before, some while it dies
    answered.set(index, await place(order, `story-${index}`));
    if (answered.size === ACKNOWLEDGED_MIN) victim.child.kill("SIGKILL");
  });
  await Promise.allSettled(asking);
  expect(answered.size).toBeGreaterThanOrEqual(ACKNOWLEDGED_MIN);
  await victim.kill();
  shop = await openMain({});
  const again = await Promise.all(story.map((order, index) => place(order, `story-${index}`)));
  for (const [index, id] of answered) expect(again[index]).toBe(id);
  expect(new Set(again).size).toBe(story.length);
}

async function untilQuiet(): Promise<void> {
  let seen = "";
  const isDone = async () => {
    const unsentBefore = await postgres.count("outbox");
    const totals = list(await shop.answered("/admin/ledger"), "totals");
    const { orders: counted, payments } = await shop.json("/v1/analytics/realtime");
    const [shipped] = await figures(shop, startHourMs, "metric=shipments");
    const sent = shipped?.["count"];
    // What a group has yet to hear of may still be on its way there.
    const unsent = unsentBefore + (await postgres.count("outbox"));
    seen = JSON.stringify({ totals, counted, payments, sent, unsent });
    const isQuiet = totals.every(({ inFlight, waiting }) => inFlight === 0 && waiting === 0);
    return (
      unsent === 0 &&
      isQuiet &&
      counted === orders.size &&
      payments === orders.size - 1 &&
      sent === DELIVERED
    );
  };
  await until(isDone, "groups and analytics are done", { seen: () => seen });
}

const isThere = haveServers();

describe.skipIf(!isThere)(
  "after a few dozen orders of every fate, told to a shop on servers",
  () => {
    beforeAll(async () => {
      startHourMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
      [servers, data] = await Promise.all([startRealServers(), newDataDirectory()]);
      postgres = new PostgresPeek(servers);
      await cancelFromElsewhere();
      tap = await tapRabbit(servers, "notifications");
      const before = new Set(orders.keys());
      await placeThroughKill([
        OSCAR,
        MALLORY,
        ...Array.from({ length: DELIVERED }, (_, index) => deliveredOrder(index)),
      ]);
      tapped = [...orders.keys()].filter((id) => !before.has(id));
      const visits = { "idempotency-key": "visits" };
      for (let times = 0; times < 2; times++) {
        expect((await shop.send("POST", "/v1/events", VISITS, visits)).status).toBe(202);
      }
      for (const [id, { fate }] of orders) await untilEntries(id, EVENTS_OF[fate].length);
      await untilQuiet();
    }, TEST_TIMEOUT_MS);

    afterAll(async () => {
      await tap?.close();
      await postgres?.close();
      for (const each of opened) await each.dispose();
      if (servers !== undefined) await disposeServers(servers);
      if (data !== "") await rm(data, { recursive: true, force: true });
    }, TEST_TIMEOUT_MS);

    test("each order has its end, and its timeline what led there and no more", async () => {
      expect(orders.size).toBe(DELIVERED + 4);
      await expectEnds(shop, orders);
    });

    test("PostgreSQL has one row of each payment and reservation, as it ended", async () => {
      const rowAt = postgres.rowAt.bind(postgres);
      await expectRows(rowAt, orders);
      await expectStock(shop, rowAt, orders);
      for (const table of ["orders", "payments", "reservations"]) {
        expect(await postgres.count(table)).toBe(orders.size);
      }
      expect(await postgres.count("outbox")).toBe(0);
      expect(await postgres.count("dead_letters")).toBe(0);
    });

    test("Kafka has the events of each order in order, as CloudEvents", async () => {
      const records = await kafkaRecords(servers, ["orders", "payments", "inventory", "shipping"]);
      const byOrder = Map.groupBy(records, ({ key }) => key);
      expect([...byOrder.keys()].toSorted()).toEqual([...orders.keys()].toSorted());
      for (const { key, partition, headers, topic } of records) {
        expect(partition).toBe(slotOf(key, SLOTS));
        expect(headers).toMatchObject({ ce_specversion: "1.0", ce_source: "/shopstream" });
        expect(headers).toMatchObject({ ce_subject: key, ce_partitionkey: key });
        expect(Date.parse(headers["ce_time"] ?? "")).toBeGreaterThanOrEqual(startHourMs);
        expect(topic === "orders").toBe(headers["ce_type"]?.startsWith("order.") === true);
      }
      for (const [id, { fate }] of orders) {
        const own = (byOrder.get(id) ?? []).filter(({ topic }) => topic === "orders");
        // What a killed shop had published and not noted goes out again, under the same id.
        const types = [
          ...new Map(own.map(({ headers }) => [headers["ce_id"], headers["ce_type"]])),
        ];
        const decided = EVENTS_OF[fate].filter((type) => type.startsWith("order."));
        expect(types.map(([, type]) => type)).toEqual([...decided]);
      }
    });

    test("Redis has what the fraud check found, once", async () => {
      const flagged = (await redisFrames(servers, "fraud")).filter(
        ({ type }) => type === FraudFlagged.number,
      );
      const [mallory] = [...orders].filter(([, order]) => order === MALLORY).map(([id]) => id);
      expect(new Set(flagged.map(({ key }) => key))).toEqual(new Set([mallory ?? ""]));
      expect(new Set(flagged.map(({ id }) => id)).size).toBe(1);
    });

    test(
      "RabbitMQ carried what customers were told of, which is in the files",
      async () => {
        const keysOf = (type: number) =>
          new Set(tap.frames.filter((frame: Frame) => frame.type === type).map(({ key }) => key));
        const delivered = tapped.filter((id) => orders.get(id)?.fate === "delivered");
        // The tap is a queue of its own, and may be behind the shop's.
        await untilMet(async () => {
          for (const id of tapped) expect(keysOf(OrderCreated.number)).toContain(id);
          for (const { number } of [OrderShipped, OrderDelivered]) {
            expect([...keysOf(number)].toSorted()).toEqual(delivered.toSorted());
          }
        }, "all of it has gone by");
        await expectTold(shop, orders, outboxLines(data));
      },
      TEST_TIMEOUT_MS,
    );

    test(
      "MongoDB's analytics add up to what was ordered and paid",
      async () => {
        // Its topics are read side by side: those that were waited for say nothing of the others.
        await untilMet(() => expectFigures(shop, orders, startHourMs), "the figures are complete");
        await expectFigures(shop, orders, startHourMs);
      },
      TEST_TIMEOUT_MS,
    );

    test(
      "Elasticsearch's audit has every event, found each way, in chains that hold",
      async () => {
        let seen = "";
        const hasAll = async () => {
          seen = JSON.stringify(await shop.json("/v1/audit/head"));
          for (const [id, { fate }] of orders) {
            const due = EVENTS_OF[fate].length + REPORTS_OF[fate].length;
            const found = (await searchAudit(shop, `orderId=${id}`)).length;
            seen = `${seen}, of ${id}: ${found} of ${due}`;
            if (found < due) return false;
          }
          return true;
        };
        await until(hasAll, "the audit has all", { withinMs: 50_000, seen: () => seen });
        await expectAudited(shop, orders);
        // Records of visits, which are of no order, may still be coming: they change how many there
        // are, and nothing else.
        const isCountRight = async () => {
          const { count } = await shop.json("/v1/audit/head");
          const verified = await verifiedRecords(shop);
          seen = `${verified} of ${Number(count)}`;
          return verified === Number(count);
        };
        await until(isCountRight, "as many hold as there are", { seen: () => seen });
      },
      TEST_TIMEOUT_MS,
    );

    test("the events of an order come as a stream as well", async () => {
      const [id = ""] = [...orders.keys()];
      const headers = { accept: "text/event-stream" };
      const response = await shop.fetch(`/v1/orders/${id}/events`, { headers });
      let text = "";
      const decoder = new TextDecoder();
      for await (const chunk of response.body ?? []) {
        text += decoder.decode(chunk, { stream: true });
        if (text.includes("event: end")) break;
      }
      const entries = [...text.matchAll(/^data: (\{.*"version".*)$/gm)];
      // The events of the stream are objects.
      const types = entries.map(([, json = ""]) => (JSON.parse(json) as Json)["type"]);
      expect(types.toSorted()).toEqual([...EVENTS_OF.cancelled].toSorted());
    });

    test("the transactions of its store are counted, none of them refused", async () => {
      const metrics = await shop.text("/metrics");
      const counted = (series: string): number =>
        Number(
          metrics
            .split("\n")
            .find((line) => line.startsWith(`${series} `))
            ?.split(" ")[1],
        );
      const units = counted('shopstream_store_units_total{answer="committed"}');
      expect(units).toBeGreaterThan(0);
      expect(counted('shopstream_store_units_total{answer="refused"}')).toBe(0);
      expect(counted("shopstream_store_batch_units_sum")).toBe(units);
      const batches = counted("shopstream_store_batch_units_count");
      expect(counted("shopstream_store_commit_duration_seconds_count")).toBe(batches);
    });

    test(
      "books balance, nothing is dead, every part is up and every server is named",
      async () => {
        expect(await shop.json("/admin/ledger")).toMatchObject({ balanced: true });
        expect(await shop.json("/admin/dead-letters/summary")).toEqual({ total: 0, kinds: [] });
        let health = {};
        const isUp = async () => {
          health = await shop.json("/health");
          return Reflect.get(health, "status") === "up";
        };
        await until(isUp, "health is up", { seen: () => JSON.stringify(health) });
        const text = JSON.stringify(health);
        for (const name of REAL_SERVERS) expect(text).toContain(`"server.${name}"`);
      },
      TEST_TIMEOUT_MS,
    );

    test(
      "a restart of the shop changes nothing of it",
      async () => {
        expect(await shop.stop()).toBe(0);
        shop = await openMain({});
        await expectEnds(shop, orders);
        await expectFigures(shop, orders, startHourMs);
        await expectTold(shop, orders, outboxLines(data));
        expect(await postgres.count("orders")).toBe(orders.size);
      },
      TEST_TIMEOUT_MS,
    );
  },
);
