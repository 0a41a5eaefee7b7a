/**
 * What a process counts, declared once: names, kinds, label sets, bucket bounds, and their cells.
 *
 * Every thread makes the layout from the same declaration, so a cell needs no lookup that is
 * shared. Label sets are complete from the start: a label value that was not declared is refused,
 * which is what keeps the number of series bounded.
 */

import { assert } from "../errors.ts";
import { murmur2 } from "../frames/murmur2.ts";
import { COUNTER_SERIES_MAX, HISTOGRAM_BUCKETS_MAX } from "../limits.ts";

export type Labels = Readonly<Record<string, string>>;

interface SpecBase {
  /** Prometheus form: `[a-zA-Z_:][a-zA-Z0-9_:]*`. */
  readonly name: string;
  readonly help: string;
  /** Every label set that will ever be used, all with the same names; absent: one without. */
  readonly series?: readonly Labels[];
}

export interface CounterSpec extends SpecBase {
  readonly kind: "counter";
}

export interface GaugeSpec extends SpecBase {
  readonly kind: "gauge";
  /** How the threads' values make one. A thread that never set it has 0. */
  readonly combine: "sum" | "max";
}

export interface HistogramSpec extends SpecBase {
  readonly kind: "histogram";
  /** Upper bounds, inclusive, ascending, finite; a last bucket without bound is added. */
  readonly bounds: readonly number[];
}

export type MetricSpec = CounterSpec | GaugeSpec | HistogramSpec;

export interface Series {
  readonly spec: MetricSpec;
  readonly labels: Labels;
  /** Index of its first cell within a thread's section. */
  readonly firstCell: number;
}

export interface CounterLayout {
  readonly series: readonly Series[];
  /** Float64 cells of one thread's section. */
  readonly cellsPerThread: number;
  /** Equal declarations have equal fingerprints: a whole number below 2^32. */
  readonly fingerprint: number;
  /** The declared series; a name, kind or label set that was not declared is a bug. */
  find(kind: MetricSpec["kind"], name: string, labels: Labels): Series;
}

const CELLS_PER_CACHE_LINE = 8;
const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** Lays out `specs`; refuses repeated names and label sets, and bounds out of order. */
export function defineMetrics(specs: readonly MetricSpec[]): CounterLayout {
  const series: Series[] = [];
  const byKey = new Map<string, Series>();
  let nextCell = 0;
  for (const spec of specs) {
    checkSpec(spec);
    for (const labels of spec.series ?? [{}]) {
      const key = seriesKey(spec.name, labels);
      assert(!byKey.has(key), `${key} is declared twice`);
      const one: Series = { spec, labels, firstCell: nextCell };
      byKey.set(key, one);
      series.push(one);
      nextCell += cellsOf(spec);
    }
  }
  assert(
    new Set(specs.map(({ name }) => name)).size === specs.length,
    "a metric is declared twice",
  );
  assert(series.length <= COUNTER_SERIES_MAX, `${series.length} series are too many`);
  return {
    series,
    cellsPerThread: Math.ceil(nextCell / CELLS_PER_CACHE_LINE) * CELLS_PER_CACHE_LINE,
    fingerprint: murmur2(JSON.stringify(specs)) >>> 0,
    find(kind, name, labels) {
      const found = byKey.get(seriesKey(name, labels));
      assert(found !== undefined, `${seriesKey(name, labels)} was not declared`);
      assert(found.spec.kind === kind, `${name} is a ${found.spec.kind}, not a ${kind}`);
      return found;
    },
  };
}

/** All combinations of values: `{a: [1, 2], b: [3]}` makes `{a: 1, b: 3}` and `{a: 2, b: 3}`. */
export function crossLabels(values: Readonly<Record<string, readonly string[]>>): Labels[] {
  let sets: Labels[] = [{}];
  for (const [name, options] of Object.entries(values)) {
    sets = sets.flatMap((labels) => options.map((value) => ({ ...labels, [name]: value })));
  }
  return sets;
}

function checkSpec(spec: MetricSpec): void {
  assert(NAME.test(spec.name), `${spec.name} cannot be a metric's name`);
  const names = spec.series?.map((labels) => Object.keys(labels).toSorted().join());
  assert(new Set(names).size <= 1, `the label sets of ${spec.name} differ in their names`);
  for (const label of Object.keys(spec.series?.[0] ?? {})) {
    assert(LABEL.test(label) && label !== "le", `${spec.name} cannot have a label ${label}`);
  }
  if (spec.kind !== "histogram") return;
  const { bounds } = spec;
  assert(bounds.length > 0 && bounds.length < HISTOGRAM_BUCKETS_MAX, `${spec.name}: bucket count`);
  const isAscending = bounds.every((bound, at) => at === 0 || bound > (bounds[at - 1] ?? bound));
  assert(isAscending && bounds.every(Number.isFinite), `the bounds of ${spec.name} must ascend`);
}

/** A histogram has a cell for each bound, one for what exceeds them, and one for the sum. */
function cellsOf(spec: MetricSpec): number {
  return spec.kind === "histogram" ? spec.bounds.length + 2 : 1;
}

function seriesKey(name: string, labels: Labels): string {
  const pairs = Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `${name}{${pairs.map(([label, value]) => `${label}=${JSON.stringify(value)}`).join()}}`;
}
