/**
 * The journal's log in order of arrival, through a read-only connection of its own.
 *
 * Ids of records count every record ever appended, and one writer commits them in order, so
 * everything up to the id in the journal's state row is there to be seen: nothing commits late
 * behind it. Refuses topics that the journal does not know.
 */

import type { Database } from "bun:sqlite";

import { ShopError } from "../../runtime/errors.ts";
import { openReadOnly } from "../stores/journal-reads.ts";
import { loadBase } from "../stores/journal/log-directory.ts";
import { logChecksum } from "../stores/journal/record-checksum.ts";

export interface LogRow {
  readonly id: number;
  readonly part: number;
  readonly sequence: number;
  readonly at: number;
  readonly crc: number;
  readonly bytes: Uint8Array;
}

/** A partition of a topic that is read. */
export interface PartPlace {
  readonly topic: string;
  readonly partition: number;
}

export interface LogReader {
  readonly slots: number;
  /** All that `work` reads is of one moment. */
  snapshot<T>(work: () => T): T;
  /** Id of the newest record of any topic; 0 before the first. */
  lastId(): number;
  /**
   * Some records of the topics with ids in (`afterId`, `throughId`], ascending: all of them when
   * they are fewer than `rowsMax`.
   */
  rows(afterId: number, throughId: number, rowsMax: number): readonly LogRow[];
  /** The same of every topic. */
  rowsOfAll(afterId: number, throughId: number, rowsMax: number): readonly LogRow[];
  /** Whether the part is of one of the topics, or of none when all of them are read. */
  isRead(part: number): boolean;
  count(afterId: number, throughId: number): number;
  /** When the first record of the topics after `afterId` was stored. */
  nextAtMs(afterId: number): number | undefined;
  /** Highest sequence that is gone from the partition; 0: none. */
  gone(): (topic: string, partition: number) => number;
  /** `undefined`: no part of any topic, so the row is damaged. */
  placeOf(part: number): PartPlace | undefined;
  close(): void;
}

/** Throws `STORAGE_FAULT` while the directory has no journal, and `UNKNOWN_TOPIC`. */
export function openLogReader(directory: string, topics: readonly string[]): LogReader {
  const handle = openReadOnly(directory);
  try {
    return createReader(handle, topics);
  } catch (error) {
    handle.close(true);
    throw error;
  }
}

function createReader(handle: Database, topics: readonly string[]): LogReader {
  const slots = slotsOf(handle);
  const known = handle
    .prepare<{ name: string }, []>("SELECT name FROM topic ORDER BY id")
    .all()
    .map(({ name }) => name);
  const indices = topics.map((topic) => {
    const index = known.indexOf(topic);
    if (index >= 0) return index;
    const message = `the journal has no topic ${topic}; there are ${known.join(", ")}`;
    throw new ShopError("UNKNOWN_TOPIC", message, "never");
  });
  const filter = partFilter(indices, slots, known.length);
  const selectLastId = handle.prepare<{ lastId: number }, []>(
    "SELECT last_id AS lastId FROM state",
  );
  const prepareRows = (condition: string) =>
    handle.prepare<LogRow, [number, number, number]>(
      `SELECT id, part, sequence, at, crc, bytes FROM log
       WHERE id > ? AND id <= ? ${condition} ORDER BY id LIMIT ?`,
    );
  const selectRows = prepareRows(filter);
  const selectRowsOfAll = prepareRows("");
  const places = known.flatMap((topic) =>
    Array.from({ length: slots }, (_, partition): PartPlace => ({ topic, partition })),
  );
  const areRead = known.map((_, index) => indices.includes(index));
  const selectCount = handle.prepare<{ records: number }, [number, number]>(
    `SELECT count(*) AS records FROM log WHERE id > ? AND id <= ? ${filter}`,
  );
  const selectNext = handle.prepare<{ at: number }, [number]>(
    `SELECT at FROM log WHERE id > ? ${filter} ORDER BY id LIMIT 1`,
  );
  return {
    slots,
    snapshot: (work) => handle.transaction(work)(),
    lastId: () => selectLastId.get()?.lastId ?? 0,
    rows: (afterId, throughId, rowsMax) => selectRows.all(afterId, throughId, rowsMax),
    rowsOfAll: (afterId, throughId, rowsMax) => selectRowsOfAll.all(afterId, throughId, rowsMax),
    isRead: (part) => areRead[Math.floor(part / slots)] ?? filter === "",
    count: (afterId, throughId) => selectCount.get(afterId, throughId)?.records ?? 0,
    nextAtMs: (afterId) => selectNext.get(afterId)?.at,
    gone() {
      const { pruned } = loadBase(handle, known.length * slots);
      return (topic, partition) => pruned[known.indexOf(topic) * slots + partition] ?? 0;
    },
    placeOf: (part) => places[part],
    close: () => handle.close(true),
  };
}

export function isIntact({ part, sequence, bytes, crc }: LogRow): boolean {
  return crc === logChecksum(part, sequence, bytes);
}

function slotsOf(handle: Database): number {
  const row = handle
    .prepare<{ value: string }, []>("SELECT value FROM meta WHERE name = 'slots'")
    .get();
  const slots = Number(row?.value);
  if (Number.isSafeInteger(slots) && slots > 0) return slots;
  throw new ShopError("DATA_DAMAGED", "the journal does not say how many slots it has", "never");
}

/** Parts of the topics, as a condition: the records of others are passed by in the database. */
function partFilter(indices: readonly number[], slots: number, topics: number): string {
  if (indices.length === topics) return "";
  const ranges = indices.map(
    (index) => `part BETWEEN ${index * slots} AND ${(index + 1) * slots - 1}`,
  );
  return `AND (${ranges.join(" OR ")})`;
}
