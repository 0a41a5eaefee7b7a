/**
 * Everything twice: what services publish is delivered again by chance, and then a whole day of
 * the log is replayed. Nothing of it may leave a trace: not in a table, not with the customer, not
 * at the payment provider, not in the audit or the figures, which are real files here.
 */

import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Feed, Projection } from "./brokers/feed.ts";
import type { Outgoing } from "./brokers/broker.ts";
import type { VirtualShop } from "./testing/virtual-shop.ts";

import { createVirtualEnvironment } from "../runtime/virtual-environment.ts";
import { behaviorColumns } from "./analytics/behavior-columns.ts";
import { createAnalyticsProjection } from "./analytics/analytics-projection.ts";
import { stateHash } from "./analytics/analytics-state.fixture.ts";
import { createAuditProjection } from "./audit/audit-projection.ts";
import { openMemoryFeed } from "./brokers/memory-feed.ts";
import { TOPICS } from "./contracts/topics.ts";
import { decodeOrder } from "./order/order-unit.ts";
import { TABLES } from "./stores/unit-of-work.ts";
import { startVirtualShop, VIRTUAL_SLOTS } from "./testing/virtual-shop.ts";

const MINUTE_MS = 60_000;
const ORDERS = 150;
const STOCK = 240;
const RECORDS_MAX = 500;
const BYTES_MAX = 4 * 1024 * 1024;

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

/** Publishes a message twice, or not, by `seed`; the second may be of the same turn or a later. */
function doubling(seed: number): (outgoing: Outgoing) => readonly Outgoing[] {
  const { random } = createVirtualEnvironment(seed + 1_000);
  return (outgoing) => (random() < 0.5 ? [outgoing, outgoing] : [outgoing]);
}

/** Paid, declined, cancelled, sold out: every way an order can go, and visitors beside them. */
async function liveDay(seed: number): Promise<VirtualShop> {
  const shop = await startVirtualShop({
    seed,
    payment: { declineRate: 0.1, failureRate: 0.05, seed },
    tamper: doubling(seed),
  });
  closers.push(shop.stop);
  await shop.stock("cup", STOCK);
  for (let at = 0; at < ORDERS; at++) {
    const customerId = `customer-${at % 60}`;
    await shop.create(`o-${at}`, 1 + (at % 3), 2_500 + at, customerId);
    if (at % 12 === 5) await shop.command({ type: "order.cancel", orderId: `o-${at - 2}` });
    if (at % 10 === 0) await lookAround(shop, at, customerId);
    if (at % 15 === 0) await shop.environment.advance(2_000);
  }
  await shop.environment.advance(10 * MINUTE_MS);
  return shop;
}

async function lookAround(shop: VirtualShop, at: number, customerId: string): Promise<void> {
  const atMs = shop.environment.nowMs();
  const columns = behaviorColumns([
    { event: "page.viewed", customerId, productId: "cup", atMs },
    { event: "cart.added", customerId, productId: "cup", atMs: atMs + 10 },
  ]);
  await shop.command({ type: "behavior.record", batchId: `batch-${at}`, ...columns });
}

/** Audit and figures over the shop's log, in a directory of their own. */
function openViews(shop: VirtualShop) {
  const directory = mkdtempSync(join(tmpdir(), "shopstream-replay-"));
  const { environment, log } = shop;
  const audit = createAuditProjection({ directory, environment });
  const analytics = createAnalyticsProjection({ directory, environment });
  const fed = [audit, analytics].map((projection) => {
    const { name, topics } = projection;
    return { projection, feed: openMemoryFeed({ log, name, topics, environment }) };
  });
  closers.push(() => {
    for (const { projection } of fed) projection.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return {
    /** Takes all there is; records taken. */
    async catchUp(): Promise<number> {
      let records = 0;
      for (const { projection, feed } of fed) records += await drain(feed, projection);
      return records;
    },
    hashes: () => ({ audit: audit.head(), analytics: stateHash(directory) }),
  };
}

async function drain(feed: Feed, projection: Projection): Promise<number> {
  for (let records = 0; ;) {
    const batch = await feed.read(projection.cursor(), RECORDS_MAX, BYTES_MAX);
    if (batch.records.length === 0) return records;
    projection.apply(batch);
    records += batch.records.length;
  }
}

/** All that the shop knows and all that it has done, table by table. */
async function stateOf(shop: VirtualShop): Promise<Readonly<Record<string, unknown>>> {
  const hash = (value: unknown): string => Bun.hash.xxHash64(JSON.stringify(value)).toString(16);
  const state: Record<string, unknown> = {};
  for (const table of TABLES) {
    const rows = shop.store.rows(table).map(({ key, version, data }) => [key, version, hex(data)]);
    state[table] = `${rows.length} rows ${hash(rows)}`;
  }
  const orderIds = shop.store.rows("orders").map(({ key }) => key);
  const timelines = await Promise.all(orderIds.map((id) => shop.store.timeline(id, 0)));
  const entries = timelines.flat().map(({ data, ...entry }) => [entry, hex(data)]);
  state["timeline"] = `${entries.length} entries ${hash(entries)}`;
  state["timers"] = shop.store.timerIds();
  state["told"] = `${shop.changed.told.length} texts ${hash(shop.changed.told)}`;
  const { answers } = shop.changed;
  state["answers"] = `${answers.length} answers ${hash(answers)}`;
  state["letters"] = await shop.letters.extent({});
  return state;
}

function hex(data: Uint8Array): string {
  return Buffer.from(data).toString("hex");
}

/** Every record of every topic, as it stands in the log. */
function recordsOf({ log }: VirtualShop): readonly Outgoing[] {
  return TOPICS.flatMap((topic) =>
    Array.from({ length: VIRTUAL_SLOTS }, (_, partition) =>
      log
        .read(topic, partition, 0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
        .map(({ bytes }) => ({ topic, frame: bytes })),
    ).flat(),
  );
}

function expectDayToBeRight(shop: VirtualShop): void {
  const orders = shop.store.rows("orders").map(({ data }) => decodeOrder(data));
  expect(orders).toHaveLength(ORDERS);
  const reasons = new Set(orders.map(({ status, cancelReason }) => cancelReason ?? status));
  expect([...reasons].toSorted()).toEqual([
    "delivered",
    "out_of_stock",
    "payment_failed",
    "requested",
  ]);
  const { answers, told } = shop.changed;
  const captured = answers.filter(({ status }) => status === "captured");
  expect(new Set(captured.map(({ orderId }) => orderId)).size).toBe(captured.length);
  const refunded = answers.filter(({ status }) => status === "refunded");
  expect(new Set(refunded.map(({ orderId }) => orderId)).size).toBe(refunded.length);
  const keys = answers.map(({ call, orderId }) => `${call} ${orderId}`);
  expect(new Set(answers.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(
    new Set(keys).size,
  );
  const sold = orders
    .filter(({ status }) => status === "delivered")
    .reduce((sum, { items }) => sum + (items[0]?.quantity ?? 0), 0);
  const stock = { available: STOCK - sold, reserved: 0, shipped: sold };
  expect(shop.rowOf("stock", "cup")).toMatchObject(stock);
  const texts = told.map(({ id }) => id);
  expect(new Set(texts).size).toBe(texts.length);
  expect(shop.changed.imbalances).toEqual([]);
}

describe.each([11, 12, 13])("every other message twice, seed %d", (seed) => {
  test("the day is as it should be, and replaying it changes nothing at all", async () => {
    const shop = await liveDay(seed);
    expectDayToBeRight(shop);
    const views = openViews(shop);
    const day = recordsOf(shop);
    expect(await views.catchUp()).toBeGreaterThan(day.length);
    const before = await stateOf(shop);
    const hashes = views.hashes();
    expect(hashes.audit.count).toBeGreaterThan(ORDERS * 5);
    expect(hashes.audit.count).toBeLessThan(day.length);

    const publishing = shop.broker.publish(day);
    await shop.environment.advance(10 * MINUTE_MS);
    await publishing;
    expect(await views.catchUp()).toBeGreaterThan(day.length);
    expect(recordsOf(shop)).toHaveLength(2 * day.length);
    expect(await stateOf(shop)).toEqual(before);
    expect(views.hashes()).toEqual(hashes);
    expectDayToBeRight(shop);
  });
});
