/**
 * The last 24 hours at a glance: orders and revenue by the hour, and what follows from them.
 *
 * Rates are shares of what happened in the same 24 hours: completed payments of orders created, and
 * orders created of visitors seen. They are absent while there is nothing to take a share of, and
 * amounts are never added up over currencies.
 */

import type { Database } from "bun:sqlite";

import type { Metric } from "./analytics-metrics.ts";

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

export function createRealtimeReader(handle: Database): (nowMs: number) => RealtimeFigures {
  const hours = handle.prepare<HourFigures, [string, number, number]>(
    `SELECT start AS startMs, currency, count, sum AS sumMinor FROM cells
     WHERE granularity = 'hour' AND metric = ? AND dimension = 'all' AND start >= ? AND start < ?
     ORDER BY start, currency`,
  );
  const products = (order: string) =>
    handle.prepare<TopProduct, [string, number, number]>(
      `SELECT productId, currency, count, sumMinor FROM (
         SELECT *, row_number() OVER
           (PARTITION BY currency ORDER BY ${order} DESC, productId) AS place
         FROM (SELECT value AS productId, currency, sum(count) AS count, sum(sum) AS sumMinor
               FROM cells WHERE granularity = 'hour' AND metric = ? AND dimension = 'product'
                 AND start >= ? AND start < ? AND value <> '${OTHER_VALUE}'
               GROUP BY value, currency))
       WHERE place <= ${TOP_PRODUCTS} ORDER BY currency, place`,
    );
  const byCount = products("count");
  const bySum = products("sumMinor");
  const behavior = handle.prepare<{ event: string; count: number }, [number, number]>(
    `SELECT value AS event, sum(count) AS count FROM cells
     WHERE granularity = 'hour' AND metric = 'behavior' AND dimension = 'event'
       AND start >= ? AND start < ?
     GROUP BY value ORDER BY count DESC, value LIMIT ${TOP_EVENTS}`,
  );
  const visitors = handle.prepare<{ registers: Uint8Array }, [number, number]>(
    "SELECT registers FROM visitors WHERE start >= ? AND start < ?",
  );
  const progress = handle.prepare<{ storedAtMs: number }, []>(
    "SELECT stored_at AS storedAtMs FROM progress",
  );

  const ask = handle.transaction((nowMs: number): RealtimeFigures => {
    const range = [realtimeFromMs(nowMs), windowStart(nowMs, HOUR_MS) + HOUR_MS] as const;
    const registers = createVisitorSketch();
    for (const hour of visitors.all(...range)) mergeVisitors(registers, hour.registers);
    const hourly = (metric: Metric) => hours.all(metric, ...range);
    return {
      storedAtMs: progress.get()?.storedAtMs,
      orders: hourly("orders"),
      revenue: hourly("revenue"),
      topByUnits: byCount.all("units", ...range),
      topByRevenue: bySum.all("revenue", ...range),
      behavior: behavior.all(...range),
      visitors: countVisitors(registers),
    };
  });
  return (nowMs) => ask.deferred(nowMs);
}
