/**
 * Timers that survive a restart: a frame and the time at which it is due in the log.
 *
 * Firing moves the frame from here to the log in one transaction, so it arrives exactly once.
 * Refuses to fire a frame whose checksum is wrong: `DATA_DAMAGED` names the timer.
 */

import type { JournalDatabase } from "./journal-database.ts";
import type { UndoLog } from "./undo-log.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { recordChecksum } from "./record-checksum.ts";

export interface StoredTimer {
  readonly id: string;
  readonly dueAtMs: number;
  readonly part: number;
  readonly crc: number;
  readonly bytes: Uint8Array;
}

/** Names the columns of a `StoredTimer`. */
export const TIMER_COLUMNS = "id, due_at AS dueAtMs, part, crc, bytes";

export function timerChecksum({ id, dueAtMs, part, bytes }: Omit<StoredTimer, "crc">): number {
  return recordChecksum(`timer|${id}|${dueAtMs}|${part}`, bytes);
}

export class TimerTable {
  readonly #undo: UndoLog;
  readonly #replace;
  readonly #delete;
  readonly #due;
  readonly #next;
  /** Not later than the earliest timer; `undefined` when it has to be looked up. */
  #nextDueMs: number | "none" | undefined;

  constructor({ handle, undo }: JournalDatabase) {
    this.#undo = undo;
    this.#replace = handle.prepare<unknown, [string, number, number, number, Uint8Array]>(
      "INSERT OR REPLACE INTO timer VALUES (?, ?, ?, ?, ?)",
    );
    this.#delete = handle.prepare<unknown, [string]>("DELETE FROM timer WHERE id = ?");
    this.#due = handle.prepare<StoredTimer, [number, number]>(
      `SELECT ${TIMER_COLUMNS} FROM timer WHERE due_at <= ? ORDER BY due_at, id LIMIT ?`,
    );
    this.#next = handle.prepare<{ dueAtMs: number | null }, []>(
      "SELECT min(due_at) AS dueAtMs FROM timer",
    );
  }

  /** Starts or replaces the timer `id`. */
  start(id: string, dueAtMs: number, part: number, bytes: Uint8Array): void {
    const crc = timerChecksum({ id, dueAtMs, part, bytes });
    this.#replace.run(id, dueAtMs, part, crc, bytes);
    const next = this.#nextDueMs;
    if (next === undefined || (next !== "none" && dueAtMs >= next)) return;
    this.#nextDueMs = dueAtMs;
    this.#undo.push(() => (this.#nextDueMs = undefined));
  }

  /** True when there was one. */
  cancel(id: string): boolean {
    return this.#delete.run(id).changes === 1;
  }

  /** Due time of the earliest timer, or of one cancelled since; `undefined`: there is none. */
  nextDueMs(): number | undefined {
    this.#nextDueMs ??= this.#next.get()?.dueAtMs ?? "none";
    return this.#nextDueMs === "none" ? undefined : this.#nextDueMs;
  }

  /** Up to `limit` timers due at `nowMs`, earliest first. Throws `DATA_DAMAGED`. */
  due(nowMs: number, limit: number): readonly StoredTimer[] {
    this.#nextDueMs = undefined;
    const due = this.#due.all(nowMs, limit);
    for (const timer of due) {
      if (timer.crc === timerChecksum(timer)) continue;
      const message = `timer ${timer.id} fails its checksum`;
      throw new ShopError("DATA_DAMAGED", message, "never");
    }
    return due;
  }
}
