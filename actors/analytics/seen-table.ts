/**
 * Which messages have been counted, so that one that comes again changes nothing.
 *
 * Ids are kept by the day of the message's own time, which every copy of it shares, and days are
 * forgotten as a whole. A time that is no time of ours (older than what is kept, or ahead) is kept
 * under the day of receipt instead, as are bytes that have none: those are known again on that day
 * only. Must be called within a transaction.
 */

import type { Database } from "bun:sqlite";

import { DAY_MS } from "./event-windows.ts";

/**
 * Rows that one call removes: housekeeping may get no more than one call a second, in which the
 * shop at its busiest brings fewer.
 */
const REMOVE_ROWS = 6_000;

export interface SeenTable {
  /** True the first time. `id`: 16 bytes. */
  isNew(id: Uint8Array, timeMs: number, storedAtMs: number): boolean;
  /** Forgets some of what is older than `nowMs` by more than the retention; false: nothing is. */
  removeSome(nowMs: number): boolean;
}

export function createSeenTable(handle: Database, retentionMs: number): SeenTable {
  const insert = handle.prepare<unknown, [number, Uint8Array]>(
    "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING",
  );
  const remove = handle.prepare<unknown, [number]>(
    `DELETE FROM seen WHERE (day, id) IN
       (SELECT day, id FROM seen WHERE day < ? LIMIT ${REMOVE_ROWS})`,
  );

  return {
    isNew(id, timeMs, storedAtMs) {
      const isOurs = timeMs >= storedAtMs - retentionMs && timeMs <= storedAtMs + DAY_MS;
      const day = Math.floor((isOurs ? timeMs : storedAtMs) / DAY_MS);
      return insert.run(day, id).changes > 0;
    },
    removeSome: (nowMs) => remove.run(Math.floor((nowMs - retentionMs) / DAY_MS)).changes > 0,
  };
}
