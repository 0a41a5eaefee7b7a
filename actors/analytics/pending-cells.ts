/**
 * What a batch adds to the windows, summed up before the database hears of it.
 *
 * One cell for each minute, series, currency and value, in the order in which they first appeared,
 * so that the same records fill the same cells however they are cut into batches. Holds one batch,
 * whose size the feed bounds.
 */

import type { Dimension, Metric } from "./analytics-metrics.ts";
import type { Sketch } from "./quantile-sketch.ts";

import { HOUR_MS, windowStart } from "./event-windows.ts";
import { addValue, mergeSketch, SKETCH_VALUE_MAX } from "./quantile-sketch.ts";

/** What tells one cell from another within a granularity. */
export interface CellKey {
  readonly metric: Metric;
  readonly dimension: Dimension;
  readonly startMs: number;
  /** Empty where there is no money. */
  readonly currency: string;
  /** Empty in dimension `all`. */
  readonly value: string;
}

export interface PendingCell extends CellKey {
  count: number;
  sumMinor: number;
  /** Absent where there is no money. */
  readonly sketch: Sketch | undefined;
}

/** Takes one fact: `count` things and, of money, the amount of each of them. */
export type AddFact = (
  metric: Metric,
  dimension: Dimension,
  value: string,
  count: number,
  money?: { readonly currency: string; readonly amountMinor: number },
) => void;

export class PendingCells {
  readonly #cells = new Map<string, PendingCell>();

  get size(): number {
    return this.#cells.size;
  }

  /** How facts of the minute `startMs` are added. */
  at(startMs: number): AddFact {
    return (metric, dimension, value, count, money) => {
      const currency = money?.currency ?? "";
      const cell = this.#cell({ metric, dimension, startMs, currency, value }, money !== undefined);
      cell.count += count;
      if (money === undefined || cell.sketch === undefined) return;
      cell.sumMinor += count * money.amountMinor;
      addValue(cell.sketch, Math.min(money.amountMinor, SKETCH_VALUE_MAX), count);
    };
  }

  minutes(): Iterable<PendingCell> {
    return this.#cells.values();
  }

  /** The same, by the hour. */
  hours(): Iterable<PendingCell> {
    const hours = new PendingCells();
    for (const minute of this.#cells.values()) {
      const startMs = windowStart(minute.startMs, HOUR_MS);
      const hour = hours.#cell({ ...minute, startMs }, minute.sketch !== undefined);
      hour.count += minute.count;
      hour.sumMinor += minute.sumMinor;
      if (minute.sketch !== undefined && hour.sketch !== undefined) {
        mergeSketch(hour.sketch, minute.sketch);
      }
    }
    return hours.minutes();
  }

  #cell(key: CellKey, isMoney: boolean): PendingCell {
    const { metric, dimension, startMs, currency, value } = key;
    const text = `${startMs} ${metric} ${dimension} ${currency} ${value}`;
    let cell = this.#cells.get(text);
    if (cell === undefined) {
      const sketch = isMoney ? new Map<number, number>() : undefined;
      cell = { metric, dimension, startMs, currency, value, count: 0, sumMinor: 0, sketch };
      this.#cells.set(text, cell);
    }
    return cell;
  }
}
