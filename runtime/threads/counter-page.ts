/**
 * A shared-memory page of metrics: each thread counts in its own section, readers add them up.
 *
 * A section has one writer, so counting is a plain addition to a Float64: no thread can lose
 * another's increment, and an aligned Float64 is read and written whole on every machine that Bun
 * runs on. A reader may see a histogram's sum one observation ahead of its buckets, never a
 * half-written number. A thread that replaces a dead one goes on in its section, so that counters
 * never go back. Integers are exact up to 2^53. Refused: a negative increment, and what is not
 * finite.
 */

import type { CounterLayout, HistogramSpec, Labels, Series } from "./counter-layout.ts";

import { assert } from "../errors.ts";
import { COUNTER_THREADS_MAX, HISTOGRAM_BOUND_LAST } from "../limits.ts";

/** The fingerprint of the layout and the number of threads, on a cache line of their own. */
const HEADER_CELLS = 8;

export interface Counter {
  /** `increment` (1 by default) is finite and not negative. */
  add(increment?: number): void;
}

export interface Gauge {
  set(value: number): void;
  add(change: number): void;
}

export interface Histogram {
  observe(value: number): void;
}

interface SampleBase {
  readonly name: string;
  readonly help: string;
  readonly labels: Labels;
}

/** One series over all threads. */
export type Sample =
  | (SampleBase & { readonly kind: "counter" | "gauge"; readonly value: number })
  | (SampleBase & {
      readonly kind: "histogram";
      /** Observations of at most `le`, so each includes the ones before; the last `le` is ∞. */
      readonly buckets: readonly { readonly le: number; readonly count: number }[];
      readonly sum: number;
      readonly count: number;
    });

/** Memory for `threads` sections of `layout`, all zero. */
export function createCounterPage(layout: CounterLayout, threads: number): SharedArrayBuffer {
  assert(
    Number.isSafeInteger(threads) && threads > 0 && threads <= COUNTER_THREADS_MAX,
    `a counter page cannot have ${threads} sections`,
  );
  const cells = HEADER_CELLS + threads * layout.cellsPerThread;
  const memory = new SharedArrayBuffer(cells * Float64Array.BYTES_PER_ELEMENT);
  const header = new Float64Array(memory, 0, HEADER_CELLS);
  header[0] = layout.fingerprint;
  header[1] = threads;
  return memory;
}

/** The handles of one thread. Get each once and keep it: getting one costs a lookup. */
export class CounterWriter {
  readonly #layout: CounterLayout;
  readonly #section: Float64Array;

  /** Refuses memory of another layout, and a thread that has no section. */
  constructor(memory: SharedArrayBuffer, layout: CounterLayout, thread: number) {
    const sections = sectionsOf(memory, layout);
    const section = sections[thread];
    assert(section !== undefined, `thread ${thread} has no section in ${sections.length}`);
    this.#layout = layout;
    this.#section = section;
  }

  counter(name: string, labels: Labels = {}): Counter {
    const cell = this.#cellOf("counter", name, labels);
    const section = this.#section;
    return {
      add(increment = 1) {
        assert(Number.isFinite(increment) && increment >= 0, "a counter only goes up");
        section[cell]! += increment; // `!`: the layout has the cell
      },
    };
  }

  gauge(name: string, labels: Labels = {}): Gauge {
    const cell = this.#cellOf("gauge", name, labels);
    const section = this.#section;
    return {
      set(value) {
        assert(Number.isFinite(value), "a gauge must be finite");
        section[cell] = value;
      },
      add(change) {
        assert(Number.isFinite(change), "a gauge's change must be finite");
        section[cell]! += change; // `!`: the layout has the cell
      },
    };
  }

  histogram(name: string, labels: Labels = {}): Histogram {
    const { spec, firstCell } = this.#layout.find("histogram", name, labels);
    const bounds = boundsOf(spec);
    const section = this.#section;
    const sumCell = firstCell + bounds.length + 1;
    return {
      observe(value) {
        assert(Number.isFinite(value), "an observation must be finite");
        let bucket = 0;
        while (bucket < bounds.length && value > bounds[bucket]!) bucket++; // `!`: below length
        section[firstCell + bucket]! += 1; // `!`: the layout has the cell
        section[sumCell]! += value; // `!`: the layout has the cell
      },
    };
  }

  #cellOf(kind: "counter" | "gauge", name: string, labels: Labels): number {
    return this.#layout.find(kind, name, labels).firstCell;
  }
}

/** Every declared series, in order of declaration, over all threads. */
export function readCounterPage(memory: SharedArrayBuffer, layout: CounterLayout): Sample[] {
  const sections = sectionsOf(memory, layout);
  return layout.series.map((series) => readSeries(series, sections));
}

function readSeries(series: Series, sections: readonly Float64Array[]): Sample {
  const { spec, labels, firstCell } = series;
  const base = { name: spec.name, help: spec.help, labels };
  if (spec.kind === "histogram") {
    const { bounds } = spec;
    const buckets: { le: number; count: number }[] = [];
    let count = 0;
    for (let bucket = 0; bucket <= bounds.length; bucket++) {
      count += sumOf(sections, firstCell + bucket);
      buckets.push({ le: bounds[bucket] ?? HISTOGRAM_BOUND_LAST, count });
    }
    const sum = sumOf(sections, firstCell + bounds.length + 1);
    return { ...base, kind: spec.kind, buckets, sum, count };
  }
  const isMax = spec.kind === "gauge" && spec.combine === "max";
  const value = isMax ? maxOf(sections, firstCell) : sumOf(sections, firstCell);
  return { ...base, kind: spec.kind, value };
}

function sumOf(sections: readonly Float64Array[], cell: number): number {
  let sum = 0;
  for (const section of sections) sum += section[cell]!; // `!`: the layout has the cell
  return sum;
}

function maxOf(sections: readonly Float64Array[], cell: number): number {
  return Math.max(...sections.map((section) => section[cell]!)); // `!`: as in sumOf
}

function boundsOf(spec: Series["spec"]): HistogramSpec["bounds"] {
  assert(spec.kind === "histogram", "only a histogram has bounds");
  return spec.bounds;
}

function sectionsOf(memory: SharedArrayBuffer, layout: CounterLayout): Float64Array[] {
  const header = new Float64Array(memory, 0, HEADER_CELLS);
  assert(header[0] === layout.fingerprint, "the page was made for another declaration of metrics");
  const { cellsPerThread } = layout;
  return Array.from({ length: header[1] ?? 0 }, (_, thread) => {
    const firstCell = HEADER_CELLS + thread * cellsPerThread;
    const firstByte = firstCell * Float64Array.BYTES_PER_ELEMENT;
    return new Float64Array(memory, firstByte, cellsPerThread);
  });
}
