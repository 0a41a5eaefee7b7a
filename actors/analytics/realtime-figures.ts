/**
 * The last 24 hours at a glance: orders and revenue by the hour, and what follows from them.
 *
 * Rates are shares of what happened in the same 24 hours: completed payments of orders created, and
 * orders created of visitors seen. They are absent while there is nothing to take a share of, and
 * amounts are never added up over currencies. Sums are those of one moment; the best products and
 * events are looked for in turns after it, and may be a batch ahead.
 */

import type { Database } from "bun:sqlite";

import type { TopQuestion, TopValue } from "./top-values.ts";

import { OTHER_VALUE } from "./analytics-metrics.ts";
import { HOUR_MS, windowStart } from "./event-windows.ts";
import { countVisitors, createVisitorSketch, mergeVisitors } from "./visitor-sketch.ts";

export const REALTIME_HOURS = 24;
const TOP_PRODUCTS = 10;
const TOP_EVENTS = 20;

export interface HourFigures {
  readonly startMs: number;
  readonly currency: string;
  readonly count: number;
  readonly sumMinor: number;
}

export interface TopProduct {
  readonly productId: string;
  /** Empty for pieces. */
  readonly currency: string;
  readonly count: number;
  readonly sumMinor: number;
}

export interface RealtimeFigures {
  /** When the newest record that has been counted was stored. */
  readonly storedAtMs: number | undefined;
  /** Only hours and currencies in which there was something. */
  readonly orders: readonly HourFigures[];
  readonly revenue: readonly HourFigures[];
  readonly topByUnits: readonly TopProduct[];
  /** Ten of each currency. */
  readonly topByRevenue: readonly TopProduct[];
  readonly behavior: readonly { readonly event: string; readonly count: number }[];
  readonly visitors: number;
}

export const NO_FIGURES: RealtimeFigures = {
  storedAtMs: undefined,
  orders: [],
  revenue: [],
  topByUnits: [],
  topByRevenue: [],
  behavior: [],
  visitors: 0,
};

/** Start of the first of the hours that `nowMs` looks back on. */
export function realtimeFromMs(nowMs: number): number {
  return windowStart(nowMs, HOUR_MS) - (REALTIME_HOURS - 1) * HOUR_MS;
}

/** The share, or `undefined` of nothing. */
export function rateOf(part: number, whole: number): number | undefined {
  return whole === 0 ? undefined : part / whole;
}

/** What is of one moment. */
export type RealtimeSums = Pick<RealtimeFigures, "storedAtMs" | "orders" | "revenue" | "visitors">;

export function createSumsReader(handle: Database): (nowMs: number) => RealtimeSums {
  const hours = handle.prepare<HourFigures, [string, number, number]>(
    `SELECT start AS startMs, currency, count, sum AS sumMinor FROM cells
     WHERE granularity = 'hour' AND metric = ? AND dimension = 'all' AND start >= ? AND start < ?
     ORDER BY start, currency`,
  );
  const visitors = handle.prepare<{ registers: Uint8Array }, [number, number]>(
    "SELECT registers FROM visitors WHERE start >= ? AND start < ?",
  );
  const progress = handle.prepare<{ storedAtMs: number }, []>(
    "SELECT stored_at AS storedAtMs FROM progress",
  );

  const ask = handle.transaction((nowMs: number): RealtimeSums => {
    const { fromMs, toMs } = realtimeRange(nowMs);
    const registers = createVisitorSketch();
    for (const hour of visitors.all(fromMs, toMs)) mergeVisitors(registers, hour.registers);
    return {
      storedAtMs: progress.get()?.storedAtMs,
      orders: hours.all("orders", fromMs, toMs),
      revenue: hours.all("revenue", fromMs, toMs),
      visitors: countVisitors(registers),
    };
  });
  return (nowMs) => ask.deferred(nowMs);
}

/** The rest of the figures. `find` answers one question after the other. */
export async function findRealtimeTops(
  nowMs: number,
  find: (question: TopQuestion) => Promise<readonly TopValue[]>,
): Promise<Omit<RealtimeFigures, keyof RealtimeSums>> {
  const range = realtimeRange(nowMs);
  const product = { ...range, dimension: "product" } as const;
  // One more, because `(other)` is no product and may be among the best.
  const limit = TOP_PRODUCTS + 1;
  const byUnits = await find({ ...product, metric: "units", by: "count", limit });
  const byRevenue = await find({ ...product, metric: "revenue", by: "sumMinor", limit });
  const behavior = { ...range, metric: "behavior", dimension: "event" } as const;
  const events = await find({ ...behavior, by: "count", limit: TOP_EVENTS });
  return {
    topByUnits: productsOf(byUnits),
    topByRevenue: productsOf(byRevenue),
    behavior: events.map(({ value: event, count }) => ({ event, count })),
  };
}

function productsOf(values: readonly TopValue[]): readonly TopProduct[] {
  const products = values.filter(({ value }) => value !== OTHER_VALUE);
  return [...Map.groupBy(products, ({ currency }) => currency).values()].flatMap((found) =>
    found.slice(0, TOP_PRODUCTS).map(({ value, ...figures }) => ({ productId: value, ...figures })),
  );
}

function realtimeRange(nowMs: number) {
  return { fromMs: realtimeFromMs(nowMs), toMs: windowStart(nowMs, HOUR_MS) + HOUR_MS };
}
