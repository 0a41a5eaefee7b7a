/**
 * Rows of measurements as Prometheus text, through prom-client.
 *
 * The rows are counted elsewhere (other threads write a shared page), so nothing is counted here:
 * each name becomes a metric whose values are handed over when it is collected. Refuses rows of
 * one name that disagree in kind or help, and names and labels Prometheus would not take.
 */

import { Registry } from "prom-client";

import { assert } from "../../runtime/errors.ts";
import type { MetricsText } from "./gateway-ports.ts";
import type { Labels, MetricRow } from "./metric-row.ts";

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

interface Sample {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly metricName?: string;
}

/** What a registry asks of a metric (prom-client 15, lib/registry.js). */
interface CollectedMetric {
  readonly name: string;
  readonly help: string;
  readonly type: MetricRow["kind"];
  readonly aggregator: "sum";
  get(): Promise<CollectedMetric & { readonly values: readonly Sample[] }>;
}

/** Text exposition format 0.0.4 of `rows`; families in order of first appearance. */
export async function renderMetrics(rows: readonly MetricRow[]): Promise<MetricsText> {
  const families = new Map<string, MetricRow[]>();
  for (const row of rows) {
    checkNames(row);
    const family = families.get(row.name);
    if (family === undefined) families.set(row.name, [row]);
    else family.push(row);
  }
  const registry = new Registry();
  for (const family of families.values()) registry.registerMetric(asMetric(family));
  return { contentType: registry.contentType, body: await registry.metrics() };
}

function asMetric(family: readonly MetricRow[]): Parameters<Registry["registerMetric"]>[0] {
  const [first] = family;
  assert(first !== undefined, "a family of metrics has at least one row");
  const { name, help, kind } = first;
  for (const row of family) {
    assert(row.kind === kind && row.help === help, `rows of ${name} disagree in kind or help`);
  }
  const described = { name, help, type: kind, aggregator: "sum" } as const;
  const values = family.flatMap((row) => samplesOf(row));
  const metric: CollectedMetric = {
    ...described,
    get: () => Promise.resolve({ ...described, values, get: metric.get }),
  };
  // The declared parameter is one of prom-client's own classes; the registry uses this much of it.
  return metric as unknown as Parameters<Registry["registerMetric"]>[0];
}

function samplesOf(row: MetricRow): Sample[] {
  if (row.kind !== "histogram") return [{ value: row.value, labels: row.labels }];
  const { name, labels, buckets, sum, count } = row;
  return [
    ...buckets.map((bucket) => bucketSample(name, labels, bucket.le, bucket.count)),
    bucketSample(name, labels, "+Inf", count),
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}

function bucketSample(name: string, labels: Labels, le: number | "+Inf", count: number): Sample {
  return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
}

function checkNames(row: MetricRow): void {
  assert(NAME.test(row.name), `${row.name} is not a name for a metric`);
  for (const label of Object.keys(row.labels)) {
    assert(LABEL.test(label) && !label.startsWith("__"), `${label} is not a name for a label`);
  }
}
