/**
 * The windows as rows: sums of a batch added to what is there, and old windows taken away.
 *
 * A window has rows for a bounded number of values of each dimension; what appears after that is
 * added to `(other)`, so that sums stay right when names run riot. Must be called within a
 * transaction; keeps no state from one to the next.
 */

import type { Database } from "bun:sqlite";

import type { AnalyticsSettings } from "./analytics-tuning.ts";
import type { Granularity } from "./event-windows.ts";
import type { PendingCell, PendingCells } from "./pending-cells.ts";

import { OTHER_VALUE, SERIES } from "./analytics-metrics.ts";
import { encodeSketch, mergeEncoded } from "./quantile-sketch.ts";

type CellPlace = [string, string, string, number, string, string];

export interface CellTable {
  /** Takes `pending` over: it is of no use afterwards. */
  add(pending: PendingCells): void;
  /** Removes one window older than `beforeMs`; false when there is none. */
  removeOne(granularity: Granularity, beforeMs: number): boolean;
}

const WHERE_CELL = `WHERE granularity = ? AND metric = ? AND dimension = ? AND start = ?
  AND currency = ? AND value = ?`;
const WHERE_SERIES = "WHERE granularity = ? AND metric = ? AND dimension = ?";

export function createCellTable(
  handle: Database,
  settings: Pick<AnalyticsSettings, "minuteValuesMax" | "hourValuesMax">,
): CellTable {
  const increase = handle.prepare<unknown, [number, number, ...CellPlace]>(
    `UPDATE cells SET count = count + ?, sum = sum + ? ${WHERE_CELL}`,
  );
  const increaseWithSketch = handle.prepare<unknown, [number, number, Uint8Array, ...CellPlace]>(
    `UPDATE cells SET count = count + ?, sum = sum + ?, sketch = ? ${WHERE_CELL}`,
  );
  const selectSketch = handle.prepare<{ sketch: Uint8Array }, CellPlace>(
    `SELECT sketch FROM cells ${WHERE_CELL}`,
  );
  const insert = handle.prepare<unknown, [...CellPlace, number, number, Uint8Array | null]>(
    "INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
  );
  const countValues = handle.prepare<{ values: number }, [string, string, string, number]>(
    `SELECT count(*) AS "values" FROM cells ${WHERE_SERIES} AND start = ?`,
  );
  const oldest = handle.prepare<{ start: number | null }, [string, string, string]>(
    `SELECT min(start) AS start FROM cells ${WHERE_SERIES}`,
  );
  const remove = handle.prepare<unknown, [string, string, string, number]>(
    `DELETE FROM cells ${WHERE_SERIES} AND start = ?`,
  );

  function addCells(granularity: Granularity, cells: Iterable<PendingCell>, valuesMax: number) {
    const rooms = new Map<string, number>();

    function takeRoom({ metric, dimension, startMs }: PendingCell): boolean {
      if (dimension === "all") return true;
      const window = `${metric} ${dimension} ${startMs}`;
      const found = rooms.get(window);
      const values = found ?? countValues.get(granularity, metric, dimension, startMs)?.values ?? 0;
      rooms.set(window, Math.min(valuesMax, values + 1));
      return values < valuesMax;
    }

    function put(cell: PendingCell, value: string): boolean {
      const { metric, dimension, startMs, currency, count, sumMinor, sketch } = cell;
      const place: CellPlace = [granularity, metric, dimension, startMs, currency, value];
      if (sketch === undefined) return increase.run(count, sumMinor, ...place).changes > 0;
      const stored = selectSketch.get(...place);
      if (stored === null) return false;
      // The cell is of this batch alone and not looked at again.
      mergeEncoded(sketch, stored.sketch);
      increaseWithSketch.run(count, sumMinor, encodeSketch(sketch), ...place);
      return true;
    }

    function create(cell: PendingCell, value: string): void {
      const { metric, dimension, startMs, currency, count, sumMinor, sketch } = cell;
      const bytes = sketch === undefined ? null : encodeSketch(sketch);
      insert.run(granularity, metric, dimension, startMs, currency, value, count, sumMinor, bytes);
    }

    for (const cell of cells) {
      if (put(cell, cell.value)) continue;
      if (takeRoom(cell)) create(cell, cell.value);
      else if (!put(cell, OTHER_VALUE)) create(cell, OTHER_VALUE);
    }
  }

  return {
    add(pending) {
      const hours = pending.hours();
      addCells("minute", pending.minutes(), settings.minuteValuesMax);
      addCells("hour", hours, settings.hourValuesMax);
    },
    removeOne(granularity, beforeMs) {
      for (const [metric, dimension] of SERIES) {
        const startMs = oldest.get(granularity, metric, dimension)?.start ?? beforeMs;
        if (startMs >= beforeMs) continue;
        remove.run(granularity, metric, dimension, startMs);
        return true;
      }
      return false;
    },
  };
}
