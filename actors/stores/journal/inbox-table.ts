/**
 * Which messages a group has processed: 16 bytes each, remembered for a time.
 *
 * The marks of one transaction are also written together, with the time, as one row of
 * `inbox_batch`: that is how old marks are found without an index on time. Refuses ids that are no
 * UUID; the caller checks them with `isMessageId` before anything is written.
 */

import type { JournalDatabase } from "./journal-database.ts";
import type { InboxMark } from "../unit-of-work.ts";
import type { UndoLog } from "./undo-log.ts";

import { assert } from "../../../runtime/errors.ts";
import { writeUuid } from "../../../runtime/frames/hex-bytes.ts";

const ID_BYTES = 16;
const GROUP_BYTES = 2;
const MARK_BYTES = GROUP_BYTES + ID_BYTES;
const GROUPS_MAX = 65_535;

const scratch = new Uint8Array(ID_BYTES);

export function isMessageId(text: string): boolean {
  return writeUuid(text, scratch, 0);
}

export class InboxTable {
  readonly #undo: UndoLog;
  readonly #groups = new Map<string, number>();
  readonly #insertGroup;
  readonly #insert;
  readonly #delete;
  readonly #insertBatch;
  readonly #oldestBatch;
  readonly #deleteBatch;
  #marks = new Uint8Array(1_024 * MARK_BYTES);
  #marksCount = 0;

  constructor({ handle, undo }: JournalDatabase) {
    this.#undo = undo;
    const groups = handle.prepare<{ id: number; name: string }, []>(
      "SELECT id, name FROM inbox_group",
    );
    for (const { id, name } of groups.iterate()) this.#groups.set(name, id);
    this.#insertGroup = handle.prepare<unknown, [number, string]>(
      "INSERT INTO inbox_group VALUES (?, ?)",
    );
    this.#insert = handle.prepare<unknown, [number, Uint8Array]>(
      "INSERT OR IGNORE INTO inbox VALUES (?, ?)",
    );
    this.#delete = handle.prepare<unknown, [number, Uint8Array]>(
      "DELETE FROM inbox WHERE consumer = ? AND message = ?",
    );
    this.#insertBatch = handle.prepare<unknown, [number, Uint8Array]>(
      "INSERT INTO inbox_batch (at, marks) VALUES (?, ?)",
    );
    this.#oldestBatch = handle.prepare<{ id: number; at: number; marks: Uint8Array }, []>(
      "SELECT id, at, marks FROM inbox_batch ORDER BY id LIMIT 1",
    );
    this.#deleteBatch = handle.prepare<unknown, [number]>("DELETE FROM inbox_batch WHERE id = ?");
  }

  /** Gives `group` its number. Not inside `guarded`: what that rolls back stays known here. */
  addGroup(group: string): void {
    if (this.#groups.has(group)) return;
    const id = this.#groups.size + 1;
    assert(id <= GROUPS_MAX, `more than ${GROUPS_MAX} groups in the inbox`);
    this.#insertGroup.run(id, group);
    this.#groups.set(group, id);
    this.#undo.push(() => void this.#groups.delete(group));
  }

  /** Marks the message; false when it was marked before. Its id has passed `isMessageId`. */
  mark({ group, messageId }: InboxMark): boolean {
    const id = this.#groups.get(group);
    assert(id !== undefined, "a group has a number in the inbox");
    assert(writeUuid(messageId, scratch, 0), "a message id was not checked");
    if (this.#insert.run(id, scratch).changes === 0) return false;
    // The first of a transaction: when that is rolled back, none of its marks was made.
    if (this.#marksCount === 0) this.#undo.push(() => void (this.#marksCount = 0));
    const at = this.#marksCount * MARK_BYTES;
    if (at === this.#marks.length) {
      const larger = new Uint8Array(this.#marks.length * 2);
      larger.set(this.#marks);
      this.#marks = larger;
    }
    this.#marks[at] = id & 0xff;
    this.#marks[at + 1] = id >>> 8;
    this.#marks.set(scratch, at + GROUP_BYTES);
    this.#marksCount++;
    return true;
  }

  /** Marks of the transaction in hand so far; for `forgetMarks`. */
  get marksCount(): number {
    return this.#marksCount;
  }

  /** The rows of all marks after the first `count` have been rolled back. */
  forgetMarks(count: number): void {
    this.#marksCount = count;
  }

  /** Writes down when the transaction's marks were made; returns how many there were. */
  flush(nowMs: number): number {
    const count = this.#marksCount;
    this.#marksCount = 0;
    if (count > 0) this.#insertBatch.run(nowMs, this.#marks.subarray(0, count * MARK_BYTES));
    return count;
  }

  /** Forgets the oldest transaction's marks if they were made before `cutoffMs`; how many. */
  pruneBatch(cutoffMs: number): number {
    const batch = this.#oldestBatch.get();
    if (batch === null || batch.at >= cutoffMs) return 0;
    const { marks } = batch;
    for (let at = 0; at + MARK_BYTES <= marks.length; at += MARK_BYTES) {
      const group = marks[at]! | (marks[at + 1]! << 8); // `!`: within the loop's bound
      this.#delete.run(group, marks.subarray(at + GROUP_BYTES, at + MARK_BYTES));
    }
    this.#deleteBatch.run(batch.id);
    return marks.length / MARK_BYTES;
  }
}
