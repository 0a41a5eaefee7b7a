/**
 * Questions to analytics and their answers, as data.
 *
 * A question names one metric, one stretch of time, at most one dimension and the figures wanted.
 * Money is always told apart by currency: there is no way to ask for a sum over two. Refuses what
 * a metric does not have, and says what it has.
 */

import type { Dimension, Metric } from "./analytics-metrics.ts";

import { dimensionsOf, METRICS } from "./analytics-metrics.ts";

/** `range`: everything from `fromMs` to `toMs` together, made of hours. */
export const QUERY_WINDOWS = ["minute", "hour", "range"] as const;
export type QueryWindow = (typeof QUERY_WINDOWS)[number];

const QUANTILES = { p50: 0.5, p90: 0.9, p95: 0.95, p99: 0.99 } as const;
type QuantileName = keyof typeof QUANTILES;
const QUANTILE_NAMES = Object.keys(QUANTILES) as readonly QuantileName[]; // the keys of QUANTILES
export const AGGREGATES = ["count", "sum", "avg", ...QUANTILE_NAMES] as const;
export type Aggregate = (typeof AGGREGATES)[number];

/** Rows of one answer, and windows with values that one question may look at. */
export const QUERY_ROWS_MAX = 10_000;
export const QUERY_CELLS_MAX = 50_000;

export interface AnalyticsQuery {
  readonly metric: Metric;
  /** On a boundary of the windows; exclusive `toMs` likewise. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly window: QueryWindow;
  readonly groupBy: Dimension;
  readonly aggregates: readonly Aggregate[];
  readonly currency?: string;
}

export interface AnalyticsRow {
  readonly startMs: number;
  /** Empty where there is no money. */
  readonly currency: string;
  readonly value: string;
  readonly count: number;
  readonly sumMinor: number;
  /** By share, in minor units; only those asked for. */
  readonly quantilesMinor: ReadonlyMap<Aggregate, number>;
}

export type AnalyticsAnswer =
  | { readonly kind: "rows"; readonly rows: readonly AnalyticsRow[] }
  /** More than `limit` of them: a narrower question is needed. */
  | { readonly kind: "too_many"; readonly what: "rows" | "windows"; readonly limit: number };

/** The quantiles among `aggregates`, with their share. */
export function quantilesOf(
  aggregates: readonly Aggregate[],
): readonly (readonly [name: QuantileName, share: number])[] {
  return QUANTILE_NAMES.filter((name) => aggregates.includes(name)).map((name) => [
    name,
    QUANTILES[name],
  ]);
}

/** Why `metric` cannot be asked for this; `undefined` when it can. */
export function refuseQuery(
  metric: Metric,
  groupBy: Dimension,
  aggregates: readonly Aggregate[],
  currency: string | undefined,
): { readonly part: "groupBy" | "aggregates" | "currency"; readonly detail: string } | undefined {
  const dimensions = dimensionsOf(metric).filter((dimension) => dimension !== "all");
  if (groupBy !== "all" && !dimensions.includes(groupBy)) {
    const known = dimensions.length === 0 ? "nothing" : dimensions.join(", ");
    return { part: "groupBy", detail: `${metric} can be grouped by ${known}` };
  }
  if (METRICS[metric].isMoney) return undefined;
  if (currency !== undefined) return { part: "currency", detail: `${metric} is no money` };
  return aggregates.some((name) => name !== "count")
    ? { part: "aggregates", detail: `${metric} is no money and has only count` }
    : undefined;
}
