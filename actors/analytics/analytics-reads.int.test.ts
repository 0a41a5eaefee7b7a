/**
 * Answers of the read side against sums over the reference's own amounts.
 *
 * Windows, ranges, groups, currencies, percentiles, bounds, and a shop that has not begun.
 */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Dimension, Metric } from "./analytics-metrics.ts";
import type { AnalyticsQuery, AnalyticsRow } from "./analytics-query.ts";
import type { AnalyticsReads } from "./analytics-reads.ts";

import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { batchAt, LogWriter, writeLog } from "./analytics-log.fixture.ts";
import { SERIES } from "./analytics-metrics.ts";
import { createAnalyticsProjection } from "./analytics-projection.ts";
import { refuseQuery } from "./analytics-query.ts";
import { openAnalyticsReads } from "./analytics-reads.ts";
import { ANALYTICS_SETTINGS } from "./analytics-tuning.ts";
import { HOUR_MS, windowStart } from "./event-windows.ts";
import { NaiveAnalytics } from "./naive-analytics.fixture.ts";
import { RELATIVE_ERROR } from "./quantile-sketch.ts";

let directory = "";
let reads: AnalyticsReads;
/** Times that a question let others have their turn. */
let turns = 0;
beforeEach(() => {
  turns = 0;
  directory = mkdtempSync(join(tmpdir(), "shopstream-analytics-"));
  reads = openAnalyticsReads(directory, {
    defer(callback) {
      turns++;
      queueMicrotask(callback);
    },
  });
});
afterEach(() => {
  reads.close();
  rmSync(directory, { recursive: true });
});

function openView(settings = ANALYTICS_SETTINGS) {
  const environment = createVirtualEnvironment();
  return createAnalyticsProjection({ directory, environment, settings });
}

interface Expected {
  count: number;
  sumMinor: number;
  readonly amounts: number[];
}

/** The reference's cells of one series between two times, added up by what tells rows apart. */
function addUp(
  reference: NaiveAnalytics,
  { metric, window, groupBy, fromMs, toMs }: AnalyticsQuery,
): ReadonlyMap<string, Expected> {
  const rows = new Map<string, Expected>();
  for (const [name, cell] of reference.cells) {
    const [granularity, ofMetric, dimension, startMs, currency, value] = JSON.parse(name);
    if (granularity !== (window === "range" ? "hour" : window)) continue;
    if (ofMetric !== metric || dimension !== groupBy) continue;
    if (startMs < fromMs || startMs >= toMs) continue;
    const key = `${window === "range" ? fromMs : startMs} ${currency} ${value}`;
    const row = rows.get(key) ?? { count: 0, sumMinor: 0, amounts: [] };
    row.count += cell.count;
    row.sumMinor += cell.sumMinor;
    row.amounts.push(...cell.amounts);
    rows.set(key, row);
  }
  return rows;
}

async function rowsOf(query: AnalyticsQuery): Promise<readonly AnalyticsRow[]> {
  const answer = await reads.query(query);
  return answer.kind === "rows" ? answer.rows : [];
}

function queryOf(metric: Metric, groupBy: Dimension, startMs: number): AnalyticsQuery {
  const fromMs = windowStart(startMs, HOUR_MS) - HOUR_MS;
  const toMs = fromMs + 4 * HOUR_MS;
  return { metric, groupBy, fromMs, toMs, window: "hour", aggregates: ["count", "p50", "p95"] };
}

describe("a question", () => {
  test("of any series and window is answered as by adding up the reference", async () => {
    const entries = writeLog(21, 900);
    const startMs = entries[0]?.record.storedAtMs ?? 0;
    const view = openView();
    for (let at = 0; at < entries.length; at += 50) view.apply(batchAt(entries, at, 50));
    view.close();
    const reference = new NaiveAnalytics(ANALYTICS_SETTINGS).read(entries);
    let asked = 0;
    for (const [metric, groupBy] of SERIES) {
      for (const window of ["minute", "hour", "range"] as const) {
        const query = { ...queryOf(metric, groupBy, startMs), window };
        const expected = addUp(reference, query);
        const rows = await rowsOf(query);
        expect(rows.length).toBe(expected.size);
        for (const row of rows) {
          const wanted = expected.get(`${row.startMs} ${row.currency} ${row.value}`);
          expect(wanted).toMatchObject({ count: row.count, sumMinor: row.sumMinor });
          checkQuantile(row, "p50", 0.5, wanted?.amounts ?? []);
          checkQuantile(row, "p95", 0.95, wanted?.amounts ?? []);
          asked++;
        }
      }
    }
    expect(asked).toBeGreaterThan(500);
  });

  test("names one currency and sees only that", async () => {
    const entries = writeLog(4, 300);
    const view = openView();
    view.apply(batchAt(entries, 0, 300));
    view.close();
    const query = queryOf("orders", "segment", entries[0]?.record.storedAtMs ?? 0);
    const all = await rowsOf(query);
    const euros = await rowsOf({ ...query, currency: "EUR" });
    expect(new Set(all.map(({ currency }) => currency))).toEqual(new Set(["EUR", "USD"]));
    expect(euros).toEqual(all.filter(({ currency }) => currency === "EUR"));
  });

  test("lets others have their turn while it puts percentiles together", async () => {
    const log = new LogWriter(3);
    const items = Array.from({ length: 90 }, (_, number) => {
      return { productId: `product-${number}`, quantity: 1, priceMinor: 100 + number };
    });
    const view = openView();
    for (let hour = 0; hour < 10; hour++) {
      log.storedAtMs += HOUR_MS;
      const order = { orderId: `order-${hour}`, customerId: "c", currency: "USD" };
      log.event({ type: "order.created", ...order, items, totalMinor: 13_005 });
    }
    view.apply(batchAt(log.entries, 0, 10));
    view.close();
    const query = queryOf("orders", "product", log.storedAtMs);
    const day = { ...query, fromMs: query.toMs - 24 * HOUR_MS };
    expect(await rowsOf({ ...day, aggregates: ["count", "sum"] })).toHaveLength(900);
    expect(turns).toBe(0);
    expect(await rowsOf(day)).toHaveLength(900);
    // Nine hundred sketches to read and as many rows to write, two hundred at a time.
    expect(turns).toBe(8);
  });

  test("that would look at too many windows or answer too many rows hears the bound", async () => {
    const log = new LogWriter(1);
    for (let batch = 0; batch < 60; batch++) {
      log.storedAtMs += HOUR_MS;
      log.behavior(
        Array.from({ length: 1_000 }, (_, number) => ({
          event: "page.viewed",
          customerId: "c",
          productId: `product-${number}`,
          atMs: log.storedAtMs,
        })),
      );
    }
    const view = openView();
    view.apply(batchAt(log.entries, 0, 60));
    view.close();
    const query = queryOf("behavior", "product", log.storedAtMs);
    const hours = (count: number) => ({ ...query, fromMs: query.toMs - count * HOUR_MS });
    expect(await rowsOf(hours(8))).toHaveLength(6_000);
    expect(await reads.query(hours(20))).toEqual({ kind: "too_many", what: "rows", limit: 10_000 });
    expect(await rowsOf({ ...hours(20), window: "range" })).toHaveLength(1_000);
    const windows = { kind: "too_many", what: "windows", limit: 50_000 } as const;
    expect(await reads.query({ ...hours(70), window: "range" })).toEqual(windows);
  });

  const refusals = [
    ["orders", "carrier", ["count"], undefined, "groupBy"],
    ["unreadable", "event", ["count"], undefined, "groupBy"],
    ["shipments", "all", ["count", "p95"], undefined, "aggregates"],
    ["behavior", "event", ["count"], "USD", "currency"],
    ["orders", "size", ["sum", "p99"], "USD", undefined],
    ["late", "event", ["count"], undefined, undefined],
  ] as const;
  for (const [metric, groupBy, aggregates, currency, part] of refusals) {
    test(`for ${aggregates.join()} of ${metric} by ${groupBy}: ${part ?? "is allowed"}`, () => {
      expect(refuseQuery(metric, groupBy, aggregates, currency)?.part).toBe(part);
    });
  }
});

describe("the last 24 hours", () => {
  test("of a shop that has not begun are empty, before and after there is a view", async () => {
    const nothing = { orders: [], revenue: [], topByUnits: [], visitors: 0, behavior: [] };
    expect(await reads.realtime(1_700_000_000_000)).toMatchObject(nothing);
    const query = queryOf("orders", "all", 1_700_000_000_000);
    expect(await reads.query(query)).toEqual({ kind: "rows", rows: [] });
    openView().close();
    expect(await reads.realtime(1_700_000_000_000)).toMatchObject(nothing);
    expect((await reads.realtime(1_700_000_000_000)).storedAtMs).toBeUndefined();
  });

  test("are the present hour and the 23 before it, each batch at once", async () => {
    const log = new LogWriter(2);
    const view = openView();
    for (let hour = 0; hour < 26; hour++) {
      log.storedAtMs += HOUR_MS;
      orderAndPay(log, `order-${hour}`, hour === 25 ? "new-hit" : "old-hit");
      view.apply(batchAt(log.entries, 3 * hour, 3));
      const { orders, storedAtMs } = await reads.realtime(log.storedAtMs);
      expect(orders).toHaveLength(Math.min(24, hour + 1));
      expect(storedAtMs).toBe(log.storedAtMs);
    }
    view.close();
    const figures = await reads.realtime(log.storedAtMs);
    expect(figures.revenue.every(({ sumMinor }) => sumMinor === 900)).toBe(true);
    expect(figures.topByUnits).toEqual([
      { productId: "old-hit", currency: "", count: 69, sumMinor: 0 },
      { productId: "new-hit", currency: "", count: 3, sumMinor: 0 },
    ]);
    expect(figures.topByRevenue[0]).toMatchObject({ productId: "old-hit", sumMinor: 23 * 900 });
    expect(figures.behavior).toEqual([{ event: "page.viewed", count: 24 }]);
    expect(figures.visitors).toBe(24);
  });
});

test("the ten best products have names: what has no row of its own is not shown", async () => {
  const log = new LogWriter(3);
  const view = openView({ ...ANALYTICS_SETTINGS, hourValuesMax: 11 });
  for (let number = 0; number < 30; number++) {
    orderAndPay(log, `order-${number}`, `product-${number}`);
  }
  view.apply(batchAt(log.entries, 0, 90));
  view.close();
  const { topByUnits, topByRevenue } = await reads.realtime(log.storedAtMs);
  const expected = Array.from({ length: 11 }, (_, number) => `product-${number}`)
    .toSorted()
    .slice(0, 10);
  expect(topByUnits.map(({ productId }) => productId)).toEqual(expected);
  expect(topByRevenue.map(({ productId }) => productId)).toEqual(expected);
});

function orderAndPay(log: LogWriter, orderId: string, productId: string): void {
  const money = { currency: "USD" };
  const items = [{ productId, quantity: 3, priceMinor: 300 }];
  const customerId = `customer-${orderId}`;
  log.event({ type: "order.created", orderId, customerId, items, totalMinor: 900, ...money });
  const paid = { status: "completed", gateway: "standard", amountMinor: 900, ...money } as const;
  log.event({ type: "payment.processed", orderId, ...paid });
  log.behavior([{ event: "page.viewed", customerId, atMs: log.storedAtMs }]);
}

function checkQuantile(
  row: AnalyticsRow,
  name: "p50" | "p95",
  share: number,
  amounts: readonly number[],
): void {
  const found = row.quantilesMinor.get(name);
  const ranked = amounts.toSorted((left, right) => left - right);
  const exact = ranked[Math.max(1, Math.ceil(share * ranked.length)) - 1] ?? 0;
  expect(Math.abs((found ?? Number.NaN) - exact)).toBeLessThanOrEqual(
    exact * RELATIVE_ERROR * 1.000_001 + 0.5,
  );
}
