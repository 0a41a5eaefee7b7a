/**
 * Figures of analytics as the API shows them.
 *
 * Amounts leave as decimals with two places, times as UTC text; a share or an average of nothing is
 * null. Adds up counts over currencies, never amounts.
 */

import type { AnalyticsQuery, AnalyticsRow } from "../../actors/analytics/analytics-query.ts";
import type { HourFigures, RealtimeFigures } from "../../actors/analytics/realtime-figures.ts";

import { METRICS } from "../../actors/analytics/analytics-metrics.ts";
import { quantilesOf } from "../../actors/analytics/analytics-query.ts";
import { rateOf, REALTIME_HOURS, realtimeFromMs } from "../../actors/analytics/realtime-figures.ts";
import { toDecimal } from "../../actors/contracts/money.ts";
import { isoTime } from "./order-view.ts";

const HOUR_MS = 3_600_000;

/** A number with its own spelling, for JSON.stringify (ECMA-262, JSON.rawJSON). */
interface RawJson {
  readonly rawJSON: string;
}
type WithRawJson = JSON & { rawJSON(text: string): RawJson };
const raw = JSON as WithRawJson; // Bun has it; its types do not declare it yet

export function analyticsRowsJson(query: AnalyticsQuery, rows: readonly AnalyticsRow[]): string {
  const { metric, window, groupBy, fromMs, toMs } = query;
  return JSON.stringify({
    metric,
    granularity: window,
    ...(groupBy === "all" ? {} : { groupBy }),
    from: isoTime(fromMs),
    to: isoTime(toMs),
    rows: rows.map((row) => viewRow(query, row)),
  });
}

function viewRow({ metric, groupBy, aggregates }: AnalyticsQuery, row: AnalyticsRow) {
  const { startMs, value, currency, count, sumMinor, quantilesMinor } = row;
  const asked = new Set(aggregates);
  return {
    start: isoTime(startMs),
    ...(groupBy === "all" ? {} : { value }),
    ...(METRICS[metric].isMoney ? { currency } : {}),
    ...(asked.has("count") ? { count } : {}),
    ...(asked.has("sum") ? { sum: amount(sumMinor) } : {}),
    ...(asked.has("avg") ? { avg: amount(Math.round(sumMinor / count)) } : {}),
    ...Object.fromEntries(
      quantilesOf(aggregates).map(([name]) => [name, amount(quantilesMinor.get(name) ?? 0)]),
    ),
  };
}

export function analyticsRealtimeJson(figures: RealtimeFigures, nowMs: number): string {
  const { storedAtMs, orders, revenue, visitors, behavior } = figures;
  const fromMs = realtimeFromMs(nowMs);
  const created = countOf(orders);
  const paid = countOf(revenue);
  const starts = Array.from({ length: REALTIME_HOURS }, (_, hour) => fromMs + hour * HOUR_MS);
  return JSON.stringify({
    from: isoTime(fromMs),
    to: isoTime(fromMs + REALTIME_HOURS * HOUR_MS),
    asOf: storedAtMs === undefined ? null : isoTime(storedAtMs),
    orders: created,
    payments: paid,
    conversionRate: rate(paid, created),
    visitors,
    visitorConversionRate: rate(created, visitors),
    currencies: viewCurrencies(orders, revenue).map(({ averageMinor, ...amounts }) => ({
      ...amounts,
      averageOrderValue: averageMinor === undefined ? null : amount(averageMinor),
    })),
    hours: starts.map((startMs) => viewHour(startMs, figures)),
    topProducts: {
      byUnits: figures.topByUnits.map(({ productId, count }) => ({ productId, units: count })),
      byRevenue: figures.topByRevenue.map(({ productId, currency, sumMinor }) => ({
        productId,
        currency,
        revenue: amount(sumMinor),
      })),
    },
    behavior,
  });
}

function viewHour(startMs: number, { orders, revenue }: RealtimeFigures) {
  const created = orders.filter((hour) => hour.startMs === startMs);
  const paid = revenue.filter((hour) => hour.startMs === startMs);
  return {
    start: isoTime(startMs),
    orders: countOf(created),
    payments: countOf(paid),
    conversionRate: rate(countOf(paid), countOf(created)),
    amounts: viewCurrencies(created, paid).map(({ averageMinor: _, ...amounts }) => amounts),
  };
}

function viewCurrencies(orders: readonly HourFigures[], revenue: readonly HourFigures[]) {
  const names = new Set([...orders, ...revenue].map(({ currency }) => currency));
  return [...names].toSorted().map((currency) => {
    const created = orders.filter((hour) => hour.currency === currency);
    const paid = revenue.filter((hour) => hour.currency === currency);
    const payments = countOf(paid);
    const revenueMinor = sumOf(paid);
    return {
      currency,
      orders: countOf(created),
      payments,
      orderValue: amount(sumOf(created)),
      revenue: amount(revenueMinor),
      averageMinor: payments === 0 ? undefined : Math.round(revenueMinor / payments),
    };
  });
}

function countOf(hours: readonly HourFigures[]): number {
  return hours.reduce((total, { count }) => total + count, 0);
}

function sumOf(hours: readonly HourFigures[]): number {
  return hours.reduce((total, { sumMinor }) => total + sumMinor, 0);
}

function rate(part: number, whole: number): number | null {
  return rateOf(part, whole) ?? null;
}

function amount(minor: number): RawJson {
  return raw.rawJSON(toDecimal(minor));
}
