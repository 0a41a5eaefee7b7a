/**
 * The one row that every transaction rewrites: how many there were, and the newest record's id.
 *
 * After an I/O error it answers whether the transaction in flight made it to the disk; at open it
 * says how far the log must reach. Refuses a row whose checksum is wrong.
 */

import type { Database } from "bun:sqlite";

import { ShopError } from "../../../runtime/errors.ts";
import { recordChecksum } from "./record-checksum.ts";
import type { UndoLog } from "./undo-log.ts";

const NOTHING = new Uint8Array(0);

export interface StateValues {
  readonly batches: number;
  /** Id of the newest log record; 0 before the first. */
  readonly lastId: number;
  readonly inboxMarks: number;
  readonly deadDropped: number;
}

export interface JournalState {
  readonly values: StateValues;
  /** Writes the row, one batch further. Inside a transaction. */
  write(next: Omit<StateValues, "batches">): void;
}

export function openState(handle: Database, undo: UndoLog): JournalState {
  const select = handle.prepare<StateValues & { readonly crc: number }, []>(
    `SELECT batches, last_id AS lastId, inbox_marks AS inboxMarks, dead_dropped AS deadDropped, crc
     FROM state`,
  );
  const replace = handle.prepare<unknown, [number, number, number, number, number]>(
    "INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?, ?)",
  );
  const stored = select.get();
  if (stored !== null && stored.crc !== checksum(stored)) {
    throw new ShopError("DATA_DAMAGED", "the journal's state row fails its checksum", "never");
  }
  let values: StateValues = stored ?? { batches: 0, lastId: 0, inboxMarks: 0, deadDropped: 0 };
  return {
    get values() {
      return values;
    },
    write(next) {
      const before = values;
      undo.push(() => (values = before));
      values = { ...next, batches: before.batches + 1 };
      const { batches, lastId, inboxMarks, deadDropped } = values;
      replace.run(batches, lastId, inboxMarks, deadDropped, checksum(values));
    },
  };
}

function checksum(values: StateValues): number {
  const { batches, lastId, inboxMarks, deadDropped } = values;
  return recordChecksum(`state|${batches}|${lastId}|${inboxMarks}|${deadDropped}`, NOTHING);
}
