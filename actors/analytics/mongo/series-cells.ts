/**
 * The cells of one series, added up from what pieces brought: shared by roll-ups and readers.
 *
 * What follows from the same pieces in the same order is the same whoever adds them up and
 * wherever a roll-up fell in between. A window keeps a bounded number of values, in order of
 * appearance; what comes after that is added to `(other)`, as in the embedded view.
 */

import type { Dimension, Metric } from "../analytics-metrics.ts";
import type { Granularity } from "../event-windows.ts";
import type { PendingCell } from "../pending-cells.ts";
import type { Sketch } from "../quantile-sketch.ts";

import { decodeValue, encodeValue } from "../../contracts/codec.ts";
import { OTHER_VALUE } from "../analytics-metrics.ts";
import { WINDOW_MS, windowStart } from "../event-windows.ts";
import { encodeSketch, mergeEncoded } from "../quantile-sketch.ts";

export interface SeriesCell {
  readonly startMs: number;
  /** Empty where there is no money. */
  readonly currency: string;
  readonly value: string;
  readonly count: number;
  readonly sumMinor: number;
  /** Encoded; `null` where there is no money. */
  readonly sketch: Uint8Array | null;
}

/** Name of a series, fit to be part of a collection's and a field's. */
export function seriesName(metric: Metric, dimension: Dimension): string {
  return `${metric}_${dimension}`;
}

/** Cells by series, of one piece. */
export function cellsBySeries(
  cells: Iterable<PendingCell>,
): ReadonlyMap<string, readonly SeriesCell[]> {
  const series = new Map<string, SeriesCell[]>();
  for (const { metric, dimension, startMs, currency, value, count, sumMinor, sketch } of cells) {
    const name = seriesName(metric, dimension);
    const found = series.get(name);
    const bytes = sketch === undefined ? null : encodeSketch(sketch);
    const cell = { startMs, currency, value, count, sumMinor, sketch: bytes };
    if (found === undefined) series.set(name, [cell]);
    else found.push(cell);
  }
  return series;
}

type CellRow = [number, string, string, number, number, Uint8Array | null];

export function packCells(cells: readonly SeriesCell[]): Uint8Array {
  const rows = cells.map<CellRow>(({ startMs, currency, value, count, sumMinor, sketch }) => [
    startMs,
    currency,
    value,
    count,
    sumMinor,
    sketch,
  ]);
  return encodeValue(rows);
}

export function unpackCells(bytes: Uint8Array): readonly SeriesCell[] {
  // Only `packCells` writes such bytes, and always this shape.
  const rows = decodeValue(bytes) as readonly CellRow[];
  return rows.map(([startMs, currency, value, count, sumMinor, sketch]) => {
    return { startMs, currency, value, count, sumMinor, sketch };
  });
}

interface Sum {
  readonly startMs: number;
  readonly currency: string;
  readonly value: string;
  count: number;
  sumMinor: number;
  /** Encoded as long as nothing was added. */
  sketch: Uint8Array | Sketch | null;
}

export class CellSums {
  readonly #cells = new Map<string, Sum>();
  /** Values with a cell of their own, by window. */
  readonly #values = new Map<number, number>();
  readonly #windowMs: number;
  readonly #valuesMax: number;

  /** `valuesMax`: of one window. */
  constructor(granularity: Granularity, valuesMax: number) {
    this.#windowMs = WINDOW_MS[granularity];
    this.#valuesMax = valuesMax;
  }

  get size(): number {
    return this.#cells.size;
  }

  /** Cells of whatever granularity that fits into this one. */
  add(cells: Iterable<SeriesCell>): void {
    for (const cell of cells) this.#addCell(cell, windowStart(cell.startMs, this.#windowMs));
  }

  /** In order of appearance. */
  *cells(): Iterable<SeriesCell> {
    for (const cell of this.#cells.values()) {
      const { sketch } = cell;
      yield { ...cell, sketch: sketch instanceof Map ? encodeSketch(sketch) : sketch };
    }
  }

  #addCell(cell: SeriesCell, startMs: number): void {
    const { currency } = cell;
    const known = this.#cells.get(cellKey(startMs, currency, cell.value));
    if (known !== undefined) return addTo(known, cell);
    const value = this.#takeRoom(startMs, cell.value) ? cell.value : OTHER_VALUE;
    const key = cellKey(startMs, currency, value);
    const other = value === cell.value ? undefined : this.#cells.get(key);
    if (other === undefined) this.#cells.set(key, { ...cell, startMs, value });
    else addTo(other, cell);
  }

  #takeRoom(startMs: number, value: string): boolean {
    if (value === "" || value === OTHER_VALUE) return true;
    const values = this.#values.get(startMs) ?? 0;
    if (values >= this.#valuesMax) return false;
    this.#values.set(startMs, values + 1);
    return true;
  }
}

function cellKey(startMs: number, currency: string, value: string): string {
  return `${startMs} ${currency} ${value}`;
}

function addTo(sum: Sum, { count, sumMinor, sketch }: SeriesCell): void {
  sum.count += count;
  sum.sumMinor += sumMinor;
  if (sketch === null) return;
  if (!(sum.sketch instanceof Map)) {
    const merged: Sketch = new Map();
    if (sum.sketch !== null) mergeEncoded(merged, sum.sketch);
    sum.sketch = merged;
  }
  mergeEncoded(sum.sketch, sketch);
}
