/**
 * The end of the log in memory, so that views that read it side by side read the disk once.
 *
 * Holds a run of the log without gaps, of every topic: whoever is furthest reads on and leaves what
 * it read, the others take it from here, checked and with what was decoded of it. What all of them
 * have passed is dropped, and the oldest of it when one of them stays far behind, who then reads
 * the disk by itself. Rows never change once they are in the log; a log that is shorter than what
 * was read of it is another, and nothing is taken from here then.
 */

import type { FeedRecord } from "../brokers/feed.ts";
import type { LogRow } from "./log-reader.ts";

/** Kept for a view that is behind: what a few batches hold. */
export const WINDOW_ROWS_MAX = 4_096;
const WINDOW_BYTES_MAX = 8 * 1_024 * 1_024;

/** A row, and the record in it; none: the row is damaged. */
export interface CheckedRow {
  readonly row: LogRow;
  readonly record: FeedRecord | undefined;
}

/** Rows in order, and the id up to which they are all there are. */
export interface CheckedRows {
  readonly rows: readonly CheckedRow[];
  readonly throughId: number;
}

/** Some of the rows in (`afterId`, `throughId`]; at least one when there is one. */
export type ReadRows = (afterId: number, throughId: number, ofEveryTopic: boolean) => CheckedRows;

export class LogWindow {
  #rows: CheckedRow[] = [];
  #bytes = 0;
  /** The window is of the ids in (`#afterId`, `#throughId`]. */
  #afterId = 0;
  #throughId = 0;
  /** By reader, up to where it is done. */
  readonly #places = new Map<string, number>();

  /** As `read`, which is asked for what is not here; the rows may be of any topic. */
  next(reader: string, afterId: number, throughId: number, read: ReadRows): CheckedRows {
    this.#places.set(reader, afterId);
    if (this.#throughId > throughId || this.#throughId < afterId) this.#begin(afterId);
    if (afterId < this.#afterId) return read(afterId, Math.min(throughId, this.#afterId), false);
    if (afterId < this.#throughId) {
      const rows = this.#rows.slice(this.#firstAfter(afterId));
      return { rows, throughId: this.#throughId };
    }
    const found = read(afterId, throughId, true);
    if (found.rows.some(({ record }) => record === undefined)) {
      // Each is to see for itself what is wrong, and whether it still is.
      this.#begin(found.throughId);
      return found;
    }
    this.#trim();
    for (const one of found.rows) this.#rows.push(one);
    for (const { row } of found.rows) this.#bytes += row.bytes.length;
    this.#throughId = found.throughId;
    return found;
  }

  /** What is taken next is read from the disk. */
  forget(): void {
    this.#begin(0);
  }

  #begin(afterId: number): void {
    this.#rows = [];
    this.#bytes = 0;
    this.#afterId = afterId;
    this.#throughId = afterId;
  }

  #firstAfter(id: number): number {
    let low = 0;
    let high = this.#rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#rows[middle]?.row.id ?? 0) > id) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #trim(): void {
    let count = this.#firstAfter(Math.min(...this.#places.values()));
    let bytes = this.#bytes;
    for (const [index, { row }] of this.#rows.entries()) {
      const isRoom = this.#rows.length - index <= WINDOW_ROWS_MAX && bytes <= WINDOW_BYTES_MAX;
      if (index >= count && isRoom) break;
      count = Math.max(count, index + 1);
      bytes -= row.bytes.length;
    }
    this.#afterId = this.#rows[count - 1]?.row.id ?? this.#afterId;
    this.#rows.splice(0, count);
    this.#bytes = bytes;
  }
}
