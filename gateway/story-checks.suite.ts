/**
 * What is true of every store once the story has been told, however and wherever it was told.
 *
 * Only for tests. They ask the shop as its users do, and read rows by what the test gives; amounts
 * are added up here anew, by no code of the shop's.
 */

import { expect } from "bun:test";

import type { OutboxLine } from "./shop-story.suite.ts";
import type { Json, StoryOrder } from "./story-orders.suite.ts";

import {
  EVENTS_OF,
  MALLORY,
  ON_THE_MOVE,
  OSCAR,
  REPORTS_OF,
  STOCKED,
  TOLD_OF,
  totalMinorOf,
} from "./story-orders.suite.ts";

/** A shop as its users see it. */
export interface StoryApi {
  json(path: string): Promise<Json>;
}

/** And as those who run it do. */
export interface StoryShopApi extends StoryApi {
  send(method: string, path: string, body: unknown): Promise<{ readonly body: Json }>;
}

export type StoryOrders = ReadonlyMap<string, StoryOrder>;

/** The row at `key`, empty when there is none. */
export type RowReader = (
  table: "payments" | "reservations" | "shipments" | "stock",
  key: string,
) => Promise<Json>;

export function list(from: Json, name: string): readonly Json[] {
  const value = from[name];
  if (!Array.isArray(value)) throw new Error(`no list ${name} in ${JSON.stringify(from)}`);
  return value as readonly Json[];
}

export function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  throw new Error(`${JSON.stringify(value)} is no text`);
}

export const typesOf = (records: readonly Json[]): readonly unknown[] =>
  records.map(({ type }) => type).toSorted();

export async function searchAudit(shop: StoryApi, query: string): Promise<readonly Json[]> {
  const found: Json[] = [];
  for (let cursor = ""; ;) {
    const page = await shop.json(`/v1/audit?${query}&limit=50${cursor}`);
    found.push(...list(page, "records"));
    if (page["nextCursor"] === undefined) return found;
    cursor = `&cursor=${textOf(page["nextCursor"])}`;
  }
}

export async function figures(
  shop: StoryApi,
  fromMs: number,
  query: string,
): Promise<readonly Json[]> {
  const from = new Date(fromMs).toISOString();
  const path = `/v1/analytics/query?granularity=range&from=${from}&${query}`;
  return list(await shop.json(path), "rows");
}

export async function expectEnds(shop: StoryApi, orders: StoryOrders): Promise<void> {
  const ends = {
    delivered: ["delivered", "completed", "reserved"],
    cancelled: ["cancelled", "refunded", "released"],
    sold_out: ["cancelled", "refunded", "failed"],
    blocked: ["cancelled", "failed", "released"],
  };
  for (const [id, order] of orders) {
    const now = await shop.json(`/v1/orders/${id}`);
    const end = [now["status"], now["paymentStatus"], now["inventoryStatus"]];
    expect(end).toEqual(ends[order.fate]);
    expect(now["total"]).toBe(totalMinorOf(order) / 100);
    const events = list(await shop.json(`/v1/orders/${id}/events`), "events");
    expect(typesOf(events)).toEqual(EVENTS_OF[order.fate].toSorted());
    expect(events.map(({ version }) => version)).toEqual(events.map((_, index) => index + 1));
  }
}

export async function expectRows(rowAt: RowReader, orders: StoryOrders): Promise<void> {
  const paid = { delivered: "completed", cancelled: "refunded", sold_out: "refunded" };
  const held = { delivered: "shipped", cancelled: "released", sold_out: "failed" };
  const sent = { delivered: "delivered", cancelled: "cancelled" };
  const statusIn = (of: Readonly<Partial<Record<string, string>>>, fate: string): unknown =>
    of[fate];
  for (const [id, order] of orders) {
    const { fate, currency } = order;
    const payment = await rowAt("payments", id);
    const status = statusIn(paid, fate) ?? "blocked";
    expect(payment).toMatchObject({ amountMinor: totalMinorOf(order), currency, status });
    const reservation = await rowAt("reservations", id);
    expect(reservation).toMatchObject({ status: statusIn(held, fate) ?? "released" });
    const shipment = await rowAt("shipments", id);
    // An order that never got ready may have left a row that keeps it so, but no parcel.
    if (fate in sent) expect(shipment["status"]).toBe(statusIn(sent, fate));
    else expect(new Set<unknown>(["cancelled", undefined])).toContain(shipment["status"]);
  }
}

export async function expectStock(
  shop: StoryApi,
  rowAt: RowReader,
  orders: StoryOrders,
): Promise<void> {
  for (const [productId, initial] of STOCKED) {
    const shipped = [...orders.values()]
      .filter((order) => order.fate === "delivered" && order.productId === productId)
      .reduce((sum, { quantity }) => sum + quantity, 0);
    const expected = { available: initial - shipped, reserved: 0, shipped };
    expect(await rowAt("stock", productId)).toMatchObject(expected);
    expect(await shop.json(`/v1/inventory/${productId}`)).toMatchObject(expected);
  }
}

/** `written`: what is in the outbox files. */
export async function expectTold(
  shop: StoryApi,
  orders: StoryOrders,
  written: readonly OutboxLine[],
): Promise<void> {
  const lines = Map.groupBy(written, ({ id }) => id);
  const sent = new Set<string>();
  for (const [id, { fate, reach, language }] of orders) {
    const path = `/v1/orders/${id}/notifications`;
    const entries = list(await shop.json(path), "notifications");
    const due = TOLD_OF[fate].flatMap((event) =>
      (["email", "sms", "push"] as const)
        .filter((channel) => channel === "email" || ON_THE_MOVE.includes(event))
        .map((channel) => {
          // Whoever writes the outbox knows its customers, with or without an address.
          const isReached = channel === "email" || reach.includes(channel);
          return `${event} ${channel} ${isReached ? "sent" : "skipped"}`;
        }),
    );
    const told = entries.map(
      (entry) => `${textOf(entry["event"])} ${textOf(entry["channel"])} ${textOf(entry["status"])}`,
    );
    expect(told.toSorted()).toEqual(due.toSorted());
    for (const entry of entries.filter(({ status }) => status === "sent")) {
      const copies = lines.get(String(entry["id"])) ?? [];
      expect(copies).toHaveLength(1);
      expect(copies[0]).toMatchObject({ orderId: id, event: entry["event"], language });
      sent.add(String(entry["id"]));
    }
  }
  expect([...lines.keys()].toSorted()).toEqual([...sent].toSorted());
}

export async function expectFigures(
  shop: StoryApi,
  orders: StoryOrders,
  fromMs: number,
): Promise<void> {
  const all = [...orders.values()];
  const paid = all.filter(({ fate }) => fate !== "blocked");
  const sumOf = (some: readonly StoryOrder[], currency: string) =>
    some
      .filter((order) => order.currency === currency)
      .reduce((sum, o) => sum + totalMinorOf(o), 0);
  const realtime = await shop.json("/v1/analytics/realtime");
  expect(realtime).toMatchObject({
    orders: all.length,
    payments: paid.length,
    conversionRate: paid.length / all.length,
    visitors: 5,
    behavior: [
      { event: "page.viewed", count: 5 },
      { event: "cart.added", count: 1 },
    ],
  });
  for (const amounts of list(realtime, "currencies")) {
    const currency = String(amounts["currency"]);
    expect(amounts["orderValue"]).toBe(sumOf(all, currency) / 100);
    expect(amounts["revenue"]).toBe(sumOf(paid, currency) / 100);
  }
  for (const [query, some] of [
    ["metric=orders", all],
    ["metric=revenue", paid],
    ["metric=payments&groupBy=status", all],
  ] as const) {
    const rows = await figures(shop, fromMs, `${query}&aggregates=count,sum`);
    const total = (name: string, currency?: string) =>
      rows
        .filter((row) => currency === undefined || row["currency"] === currency)
        .reduce((sum, row) => sum + Math.round(Number(row[name]) * 100), 0);
    expect(total("count")).toBe(some.length * 100);
    for (const currency of ["USD", "EUR"])
      expect(total("sum", currency)).toBe(sumOf(some, currency));
  }
  const byStatus = await figures(shop, fromMs, "metric=reservations&groupBy=status");
  expect(byStatus.map((row) => [row["value"], row["count"]]).toSorted()).toEqual([
    ["failed", 1],
    ["reserved", all.length - 1],
  ]);
  const why = await figures(shop, fromMs, "metric=payments&groupBy=reason");
  expect(why).toMatchObject([{ value: "fraud", count: 1 }]);
  const sent = all.filter(({ fate }) => fate === "delivered");
  expect(await figures(shop, fromMs, "metric=shipments")).toMatchObject([{ count: sent.length }]);

  const pieces = new Map<string, number>();
  for (const { productId, quantity } of paid) {
    pieces.set(productId, (pieces.get(productId) ?? 0) + quantity);
  }
  const best = [...pieces].toSorted(([, left], [, right]) => right - left);
  const top = realtime["topProducts"] as { readonly byUnits: readonly Json[] };
  expect(top.byUnits.map((row) => [row["productId"], row["units"]])).toEqual(best);
}

/** The audit has every event of each order, and what is looked for is found each way. */
export async function expectAudited(shop: StoryApi, orders: StoryOrders): Promise<void> {
  for (const [id, { fate }] of orders) {
    const records = await searchAudit(shop, `orderId=${id}`);
    expect(typesOf(records)).toEqual([...EVENTS_OF[fate], ...REPORTS_OF[fate]].toSorted());
  }
  for (const customerId of ["carla", "customer-3"]) {
    const own = [...orders].filter(([, order]) => order.customerId === customerId);
    const byOrder = await Promise.all(own.map(([id]) => searchAudit(shop, `orderId=${id}`)));
    const seqs = (records: readonly Json[]) => records.map(({ seq }) => Number(seq)).toSorted();
    expect(seqs(await searchAudit(shop, `customerId=${customerId}`))).toEqual(seqs(byOrder.flat()));
  }
  const delivered = await searchAudit(shop, "type=order.delivered");
  expect(delivered.map(({ orderId }) => orderId).toSorted()).toEqual(
    [...orders].flatMap(([id, { fate }]) => (fate === "delivered" ? [id] : [])).toSorted(),
  );
  const idOf = (wanted: StoryOrder) =>
    [...orders].find(([, order]) => order === wanted)?.[0] ?? "never placed";
  const lamps = await searchAudit(shop, "q=lamp");
  expect(new Set(lamps.map(({ orderId }) => orderId))).toEqual(new Set([idOf(OSCAR)]));
  expect(typesOf(lamps)).toContain("inventory.reserved");
  const fraud = await searchAudit(shop, "q=fraud");
  expect(new Set(fraud.map(({ orderId }) => orderId))).toEqual(new Set([idOf(MALLORY)]));
  expect(typesOf(fraud)).toContain("payment.processed");
  expect(await searchAudit(shop, "q=visits")).toEqual([]);
}

/** Records whose chain was walked and holds, a slice at a time. */
export async function verifiedRecords(shop: StoryShopApi): Promise<number> {
  let verified = 0;
  for (let next: unknown = 1; next !== undefined;) {
    const slice = { fromSeq: next, recordsMax: 50 };
    const { body } = await shop.send("POST", "/admin/audit/verify", slice);
    expect(body).toMatchObject({ ok: true });
    verified += Number(body["verified"]);
    next = body["next"];
  }
  return verified;
}
