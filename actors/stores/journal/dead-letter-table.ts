/**
 * Frames that were given up on, with reason, attempts, first and last error.
 *
 * The bytes are kept as they were, also when they are no frame; key and headers are read from them
 * when asked for, if they can be. Refuses to grow without bound: `prune` drops the oldest.
 */

import type { Burial } from "../../brokers/broker.ts";
import type { JournalDatabase } from "./journal-database.ts";
import type { JournalDeadLetter } from "./journal-types.ts";
import type { UndoLog } from "./undo-log.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { checkFrame, frameHeaders, frameKey, frameTimeMs } from "../../../runtime/frames/frame.ts";
import { recordChecksum } from "./record-checksum.ts";
import { errorText } from "./settle-table.ts";

export interface BuriedFrame {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  readonly sequence: number;
  readonly bytes: Uint8Array;
  readonly burial: Burial;
  readonly buriedAtMs: number;
}

export interface StoredDeadLetter extends Burial {
  readonly id: number;
  readonly consumer: string;
  readonly topic: string;
  readonly partition: number;
  readonly sequence: number;
  readonly buriedAtMs: number;
  readonly crc: number;
  readonly bytes: Uint8Array;
}

/** Names the columns of a `StoredDeadLetter`. */
export const DEAD_LETTER_COLUMNS = `id, consumer, topic, partition, sequence, reason, attempts,
  first_error AS firstError, last_error AS lastError, buried_at AS buriedAtMs, crc, bytes`;

/**
 * Everything that letters are picked by, in the order of their ids: picking reads no bytes of any
 * letter that is not picked. Made here, since files of earlier builds have none.
 */
export const FILTER_INDEX_NAME = "dead_letter_filter";
const FILTER_INDEX = `CREATE INDEX IF NOT EXISTS ${FILTER_INDEX_NAME} ON dead_letter
  (id, topic, consumer, reason, partition, buried_at)`;

export function deadLetterChecksum(row: Omit<StoredDeadLetter, "id" | "crc">): number {
  const place = `${row.consumer}|${row.topic}|${row.partition}|${row.sequence}`;
  return recordChecksum(`dead|${place}|${row.reason}|${row.attempts}`, row.bytes);
}

export class DeadLetterTable {
  readonly #insert;
  readonly #select;
  readonly #delete;
  readonly #has;
  readonly #count;
  readonly #deleteOldest;
  readonly #undo: UndoLog;
  /** `undefined` when it has to be counted. */
  #known: number | undefined;

  constructor({ handle, undo }: JournalDatabase) {
    this.#undo = undo;
    handle.run(FILTER_INDEX);
    this.#insert = handle.prepare<
      unknown,
      [string, string, number, number, string, number, string, string, number, number, Uint8Array]
    >("INSERT INTO dead_letter VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    this.#select = handle.prepare<StoredDeadLetter, [string, number, number]>(
      `SELECT ${DEAD_LETTER_COLUMNS} FROM dead_letter WHERE topic = ? AND id > ?
       ORDER BY id LIMIT ?`,
    );
    this.#delete = handle.prepare<unknown, [number]>("DELETE FROM dead_letter WHERE id = ?");
    this.#has = handle.prepare<unknown, [number]>("SELECT 1 FROM dead_letter WHERE id = ?");
    this.#count = handle.prepare<{ count: number }, []>(
      "SELECT count(*) AS count FROM dead_letter",
    );
    this.#deleteOldest = handle.prepare<unknown, [number]>(
      "DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter ORDER BY id LIMIT ?)",
    );
  }

  add(frame: BuriedFrame): void {
    const { group: consumer, topic, partition, sequence, bytes, buriedAtMs } = frame;
    const reason = errorText(frame.burial.reason);
    const { attempts } = frame.burial;
    const firstError = errorText(frame.burial.firstError);
    const lastError = errorText(frame.burial.lastError);
    const stored = { consumer, topic, partition, sequence, reason, attempts, bytes };
    const crc = deadLetterChecksum({ ...stored, firstError, lastError, buriedAtMs });
    this.#changed(1);
    this.#insert.run(
      consumer,
      topic,
      partition,
      sequence,
      reason,
      attempts,
      firstError,
      lastError,
      buriedAtMs,
      crc,
      bytes,
    );
  }

  /** Oldest first, with an id above `afterId`. Throws `DATA_DAMAGED`. */
  list(topic: string, afterId: number, limit: number): JournalDeadLetter[] {
    return this.#select.all(topic, afterId, limit).map((row) => {
      if (row.crc === deadLetterChecksum(row)) return deadLetter(row);
      const message = `dead letter ${row.id} of topic ${topic} fails its checksum`;
      throw new ShopError("DATA_DAMAGED", message, "never");
    });
  }

  has(id: number): boolean {
    return this.#has.get(id) !== null;
  }

  remove(id: number): void {
    this.#changed(-this.#delete.run(id).changes);
  }

  count(): number {
    this.#known ??= this.#count.get()?.count ?? 0;
    return this.#known;
  }

  /** Drops the oldest `count`; how many there were. */
  dropOldest(count: number): number {
    const { changes } = this.#deleteOldest.run(count);
    this.#changed(-changes);
    return changes;
  }

  #changed(by: number): void {
    if (this.#known === undefined) return;
    this.#known += by;
    this.#undo.push(() => (this.#known = undefined));
  }
}

function deadLetter(row: StoredDeadLetter): JournalDeadLetter {
  const { id, consumer, topic, partition, sequence, bytes, buriedAtMs } = row;
  const { reason, attempts, firstError, lastError } = row;
  const burial = { reason, attempts, firstError, lastError };
  const kept = { id, group: consumer, topic, partition, sequence, bytes, burial, buriedAtMs };
  if (checkFrame(bytes) !== undefined) return kept;
  const read = { key: frameKey(bytes), headers: frameHeaders(bytes) };
  return { ...kept, ...read, frameTimeMs: frameTimeMs(bytes) };
}
