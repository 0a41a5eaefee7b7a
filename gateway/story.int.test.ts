/**
 * One story over all stores: a few dozen orders of every fate, told over HTTP to a whole shop, and
 * then each store is asked what it knows of them.
 *
 * The tests go on from one another: the shop is asked while it runs, stopped, started again, and
 * at last given every record of its log once more. None of them waits for a time to pass.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Table } from "../actors/stores/unit-of-work.ts";
import type { StoryShop } from "./shop-story.suite.ts";
import type { Json, StoryOrder } from "./story-orders.suite.ts";

import { decodeValue } from "../actors/contracts/codec.ts";
import {
  cardKeyOf,
  customerKeyOf,
  decodeCard,
  decodeCustomer,
} from "../actors/fraud/fraud-profile.ts";
import { SHOP_LAYOUT } from "../actors/shop-metrics.ts";
import { openJournalReads } from "../actors/stores/journal-reads.ts";
import {
  digestStores,
  loggedRecords,
  openStoryShop,
  outboxLines,
  publishAgain,
  rowsOf,
} from "./shop-story.suite.ts";
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
  typesOf,
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
  STOCKED,
  VISITS,
} from "./story-orders.suite.ts";

const PATIENCE_MS = 40_000;
const TEST_TIMEOUT_MS = 60_000;
const HOUR_MS = 3_600_000;

let data = "";
let shop: StoryShop;
let startHourMs = 0;
/** Every order of the story, by its id. */
const orders = new Map<string, StoryOrder>();

const idOf = (order: StoryOrder): string =>
  [...orders].find(([, known]) => known === order)?.[0] ?? "never placed";

async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  const deadlineMs = performance.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain until ${what}`);
    await Bun.sleep(20);
  }
}

async function place(order: StoryOrder): Promise<string> {
  const { status, body } = await shop.send("POST", "/v1/orders", bodyOf(order));
  expect(status).toBe(201);
  const id = String(body["id"]);
  orders.set(id, order);
  return id;
}

async function untilEntries(id: string, count: number): Promise<void> {
  const length = async () => list(await shop.json(`/v1/orders/${id}/events`), "events").length;
  await until(async () => (await length()) >= count, `${id} has ${count} entries`);
}

/** Groups and views have handled all there is. */
async function untilQuiet(): Promise<void> {
  await until(async () => {
    const groups = list(await shop.json("/admin/ledger"), "totals");
    return groups.every(({ inFlight, waiting }) => inFlight === 0 && waiting === 0);
  }, "every group is done");
  const logged = loggedRecords(data).length;
  await until(async () => {
    const head = await shop.json("/v1/audit/head");
    return Number(head["count"]) + repeats() === logged;
  }, "the audit has the whole log");
  await until(async () => {
    const text = await shop.text("/metrics");
    return text.includes('shopstream_view_lag_records{view="analytics"} 0');
  }, "analytics has the whole log");
}

/** Records that the audit was given again. */
function repeats(): number {
  const [head] = rowsOf<{ repeats: number }>(join(data, "audit.db"), "SELECT repeats FROM head");
  return head?.repeats ?? 0;
}

/** The data of the row at `key`, read as the gateway reads; `undefined`: there is none. */
async function dataAt(table: Table, key: string): Promise<Uint8Array | undefined> {
  const reads = openJournalReads(data);
  try {
    const [row] = await reads.load(table, [key]);
    return row?.data;
  } finally {
    reads.close();
  }
}

async function rowAt(table: Table, key: string): Promise<Json> {
  const found = await dataAt(table, key);
  return found === undefined ? {} : (decodeValue(found) as Json); // rows of these are objects
}

/** All that can be asked for besides the rows themselves, but for positions and moments. */
async function answers(): Promise<Json> {
  const realtime = await shop.json("/v1/analytics/realtime");
  return {
    realtime: { ...realtime, asOf: "", from: "", to: "", hours: [] },
    revenue: await figures(
      shop,
      startHourMs,
      "metric=revenue&groupBy=segment&aggregates=count,sum,avg,p50,p99",
    ),
    head: await shop.json("/v1/audit/head"),
    byText: await searchAudit(shop, "q=lamp"),
    byPrefix: (await searchAudit(shop, "q=kett*")).length,
    byType: typesOf(await searchAudit(shop, "type=payment.processed")),
    letters: await shop.json("/admin/dead-letters/summary"),
    orders: await Promise.all(
      [...orders.keys()].map(async (id) => [
        await shop.json(`/v1/orders/${id}`),
        await shop.json(`/v1/orders/${id}/events`),
        await shop.json(`/v1/orders/${id}/notifications`),
      ]),
    ),
  };
}

async function tellTheStory(): Promise<void> {
  startHourMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
  shop = await openStoryShop(data, { SHOPSTREAM_SHIPPING_PACK_MS: "3600000" });
  for (const [productId, available] of STOCKED) {
    const { status } = await shop.send("PUT", `/v1/inventory/${productId}`, { available });
    expect(status).toBe(201);
  }
  const cancelled = await place(CARLA);
  await untilEntries(cancelled, 4);
  expect((await shop.send("POST", `/v1/orders/${cancelled}/cancel`, {})).status).toBe(200);
  await untilEntries(cancelled, EVENTS_OF.cancelled.length);
  expect(await shop.stop()).toEqual([]);

  shop = await openStoryShop(data, {});
  await Promise.all([OSCAR, MALLORY].map(place));
  await Promise.all(Array.from({ length: DELIVERED }, (_, index) => place(deliveredOrder(index))));
  for (const headers of [{ "idempotency-key": "visits" }, { "idempotency-key": "visits" }]) {
    expect((await shop.send("POST", "/v1/events", VISITS, headers)).status).toBe(202);
  }
  for (const [id, { fate }] of orders) await untilEntries(id, EVENTS_OF[fate].length);
  await untilQuiet();
}

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "shopstream-story-"));
  await tellTheStory();
}, TEST_TIMEOUT_MS);

afterAll(async () => {
  await shop.stop();
  await rm(data, { recursive: true, force: true });
});

describe("after a few dozen orders of every fate", () => {
  test("each order has its end, and its timeline what led there and no more", async () => {
    expect(orders.size).toBe(DELIVERED + 3);
    await expectEnds(shop, orders);
  });

  test("payments, reservations and shipments have one row of each, as it ended", async () => {
    await expectRows(rowAt, orders);
    const count = (table: Table) =>
      rowsOf<{ n: number }>(join(data, "journal.db"), `SELECT count(*) AS n FROM ${table}`)[0]?.n;
    expect(count("payments")).toBe(orders.size);
    expect(count("reservations")).toBe(orders.size);
  });

  test("stock is what was put there, less what was delivered", async () => {
    await expectStock(shop, rowAt, orders);
  });

  test("the fraud check knows customers and cards, and no amount it blocked", async () => {
    for (const customerId of new Set([...orders.values()].map((order) => order.customerId))) {
      const own = [...orders.values()].filter((order) => order.customerId === customerId);
      const row = await dataAt("fraud", customerKeyOf(customerId));
      const { recentMs, histories } = decodeCustomer(row ?? new Uint8Array());
      expect(recentMs).toHaveLength(own.length);
      const learned = histories.reduce((sum, { count }) => sum + count, 0);
      expect(learned).toBe(customerId === "mallory" ? 0 : own.length);
      const card = await dataAt("fraud", cardKeyOf(`card-of-${customerId}`));
      expect(decodeCard(card ?? new Uint8Array()).recent).toHaveLength(own.length);
    }
    const events = list(await shop.json(`/v1/orders/${idOf(MALLORY)}/events`), "events");
    const payment = events.find(({ type }) => type === "payment.processed")?.["data"];
    expect(payment).toMatchObject({ status: "failed", reason: "fraud" });
    expect(payment).not.toHaveProperty("risk");
  });

  test("each customer was told once of each event by each channel", async () => {
    await expectTold(shop, orders, outboxLines(data));
  });

  test("the audit has every event, found each way, in a chain that holds", async () => {
    const logged = loggedRecords(data).length;
    await expectAudited(shop, orders);
    expect(await verifiedRecords(shop)).toBe(logged);
    expect((await shop.json("/v1/audit/head"))["count"]).toBe(logged);
  });

  test("analytics adds up to what was ordered and paid, at a glance and when asked", async () => {
    await expectFigures(shop, orders, startHourMs);
  });

  test("books balance, nothing is dead, health is up, every metric is there", async () => {
    const ledger = await shop.json("/admin/ledger");
    const rows = list(ledger, "rows");
    const sum = (of: readonly Json[], name: string) =>
      of.reduce((total, row) => total + Number(row[name]), 0);
    expect(ledger["balanced"]).toBe(true);
    expect(rows.length).toBeGreaterThan(0);
    for (const row of rows) {
      const parts = ["acked", "dead", "inFlight", "waiting"].map((name) => sum([row], name));
      expect(sum([row], "published")).toBe(parts.reduce((total, part) => total + part, 0));
      expect(row["imbalance"]).toBe(undefined);
    }
    const totals = list(ledger, "totals");
    expect(totals.map(({ group }) => group)).toEqual([
      "inventory",
      "notification",
      "order",
      "payment",
      "shipping",
    ]);
    for (const { group, ...counts } of totals) {
      const own = rows.filter((row) => row["group"] === group);
      for (const name of Object.keys(counts)) expect(sum(own, name)).toBe(Number(counts[name]));
      expect(counts).toMatchObject({ dead: 0, inFlight: 0, waiting: 0 });
    }
    expect(await shop.json("/admin/dead-letters/summary")).toEqual({ total: 0, kinds: [] });
    await until(async () => (await shop.json("/health"))["status"] === "up", "health is up");
    // Counted once the commit was answered: a little later than the rows can be read.
    const delivered = `shopstream_orders_total{status="delivered"} ${DELIVERED}\n`;
    const isCounted = async () => (await shop.text("/metrics")).includes(delivered);
    await until(isCounted, "every order is counted");
    const text = await shop.text("/metrics");
    for (const { spec } of SHOP_LAYOUT.series) expect(text).toContain(`# TYPE ${spec.name} `);
    expect(text).toContain("shopstream_dead_letters 0");
  });
});

describe("when it is over", () => {
  test(
    "a restart on the same data changes nothing in any store",
    async () => {
      const asked = await answers();
      expect(await shop.stop()).toEqual([]);
      const before = digestStores(data, []);
      expect(Object.keys(before).length).toBeGreaterThan(25);
      shop = await openStoryShop(data, {});
      await untilQuiet();
      expect(await answers()).toEqual(asked);
      expect(await shop.stop()).toEqual([]);
      expect(digestStores(data, [])).toEqual(before);
      shop = await openStoryShop(data, {});
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "every record of the log published once more changes no state in any store",
    async () => {
      const asked = await answers();
      await shop.stop();
      const positions = [
        "journal.log",
        "journal.log_segment",
        "journal.log_base",
        "journal.position",
        "journal.state",
        "audit.head",
        "analytics.progress",
      ];
      const before = digestStores(data, positions);
      const records = loggedRecords(data);
      publishAgain(data, records);
      shop = await openStoryShop(data, {});
      await untilQuiet();
      expect(loggedRecords(data)).toHaveLength(2 * records.length);
      expect(repeats()).toBe(records.length);
      const totals = list(await shop.json("/admin/ledger"), "totals");
      const published = totals.find(({ group }) => group === "order")?.["published"];
      expect(published).toBeGreaterThanOrEqual(DELIVERED * 4);
      expect(await answers()).toEqual(asked);
      expect(await shop.stop()).toEqual([]);
      expect(digestStores(data, positions)).toEqual(before);
    },
    TEST_TIMEOUT_MS,
  );
});
