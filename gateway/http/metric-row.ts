/**
 * One measured value with its name, help and labels: what every part of the shop hands to the
 * renderer, and all that the renderer knows of them.
 *
 * Rows of one name must agree in kind and help. Buckets are cumulative, as Prometheus wants them.
 */

export type Labels = Readonly<Record<string, string>>;

export interface ValueRow {
  readonly kind: "counter" | "gauge";
  readonly name: string;
  readonly help: string;
  readonly labels: Labels;
  readonly value: number;
}

export interface HistogramBucket {
  /** Inclusive upper bound. The bucket up to +Inf is `count` and not listed. */
  readonly le: number;
  /** Observations up to `le`. */
  readonly count: number;
}

export interface HistogramRow {
  readonly kind: "histogram";
  readonly name: string;
  readonly help: string;
  readonly labels: Labels;
  /** By rising `le`. */
  readonly buckets: readonly HistogramBucket[];
  readonly sum: number;
  readonly count: number;
}

export type MetricRow = ValueRow | HistogramRow;
