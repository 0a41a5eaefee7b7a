/**
 * What is measured and by what it can be told apart: the one table that writer and reader share.
 *
 * `all` is every metric's dimension without values. A metric of money has sums and percentiles, in
 * one currency at a time; the others have counts only.
 */

export const DIMENSIONS = [
  "segment",
  "size",
  "product",
  "status",
  "reason",
  "carrier",
  "event",
] as const;
export type Dimension = (typeof DIMENSIONS)[number] | "all";

interface MetricDefinition {
  readonly dimensions: readonly Dimension[];
  readonly isMoney: boolean;
}

export const METRICS = {
  /** Orders created and their totals; by product, the lines and their amounts. */
  orders: { dimensions: ["segment", "size", "product"], isMoney: true },
  /** Completed payments; by product, the paid lines. */
  revenue: { dimensions: ["segment", "size", "product"], isMoney: true },
  /** Payments that ended, either way. */
  payments: { dimensions: ["status", "reason"], isMoney: true },
  /** Pieces paid for. */
  units: { dimensions: ["product"], isMoney: false },
  reservations: { dimensions: ["status"], isMoney: false },
  shipments: { dimensions: ["carrier"], isMoney: false },
  behavior: { dimensions: ["event", "product"], isMoney: false },
  /** Too old for their windows, ahead of their receipt, not to be read: by minute of receipt. */
  late: { dimensions: ["event"], isMoney: false },
  future: { dimensions: ["event"], isMoney: false },
  unreadable: { dimensions: [], isMoney: false },
} as const satisfies Record<string, MetricDefinition>;

export type Metric = keyof typeof METRICS;

/** Where values go that have no row of their own. */
export const OTHER_VALUE = "(other)";

/** Everything there are cells of. */
export const SERIES: readonly (readonly [metric: Metric, dimension: Dimension])[] =
  metricNames().flatMap((metric) =>
    dimensionsOf(metric).map((dimension) => [metric, dimension] as const),
  );

export function metricNames(): readonly Metric[] {
  return Object.keys(METRICS) as Metric[]; // the keys of METRICS, by definition of Metric
}

export function dimensionsOf(metric: Metric): readonly Dimension[] {
  return ["all", ...METRICS[metric].dimensions];
}
