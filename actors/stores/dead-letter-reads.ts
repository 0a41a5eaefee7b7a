/**
 * Dead letters of the embedded journal, over a read-only connection that any thread may open.
 *
 * It sees every act that was answered before the call. Every filter runs over one index in the
 * order of ids, so the bytes of a letter are read only when it is given out (or its key is asked
 * for). Refuses a directory without a journal, and pages larger than the bounds.
 */

import type {
  DeadLetterReads,
  KeptLetter,
  LetterFilter,
  LetterKind,
  LetterRange,
} from "../dead-letters/letter-port.ts";
import type { StoredDeadLetter } from "./journal/dead-letter-table.ts";

import { Database } from "bun:sqlite";

import { assert, ShopError } from "../../runtime/errors.ts";
import { FRAME_HEADER_BYTES } from "../../runtime/frames/frame-header.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import {
  LETTER_IDS_MAX,
  LETTER_KINDS_MAX,
  LETTERS_PAGE_BYTES_MAX,
  LETTERS_PAGE_MAX,
} from "../dead-letters/letter-port.ts";
import {
  DEAD_LETTER_COLUMNS,
  deadLetterChecksum,
  FILTER_INDEX_NAME,
} from "./journal/dead-letter-table.ts";
import { BUSY_TIMEOUT_MS } from "./journal/journal-limits.ts";
import { journalPath } from "./journal/journal.ts";
import { sqliteFailure, storageError } from "./journal/sqlite-failure.ts";

export interface DeadLetterTotals {
  readonly kept: number;
  /** Dropped by retention since the data directory was made: the oldest, beyond the most kept. */
  readonly dropped: number;
}

export interface JournalDeadLetterReads extends DeadLetterReads {
  totals(): Promise<DeadLetterTotals>;
  /** Idempotent. */
  close(): void;
}

/** Offset of the key's length in a frame's header; see `frame-header.ts`. */
const KEY_LENGTH_AT = 72;

/** The filter's ten parameters, by place; a filter that is not given is NULL. */
const PICKED = `FROM dead_letter INDEXED BY ${FILTER_INDEX_NAME}
  WHERE id > ?1 AND id <= ?2 AND (?3 IS NULL OR topic = ?3) AND (?4 IS NULL OR consumer = ?4)
  AND (?5 IS NULL OR reason = ?5) AND buried_at >= ?6 AND buried_at < ?7
  AND (?8 IS NULL OR partition = ?8 AND substr(bytes, ${KEY_LENGTH_AT + 1}, 2) = ?9
    AND substr(bytes, ${FRAME_HEADER_BYTES + 1}, length(?10)) = ?10)`;

type Parameter = string | number | Uint8Array | null;

/**
 * Opens the journal of `directory` for reading. Throws `STORAGE_FAULT` while there is none. The
 * methods reject with `STORAGE_FAULT`, `DATA_DAMAGED` (the file, not a letter) or `CLOSED`.
 */
export function openDeadLetterReads(directory: string): JournalDeadLetterReads {
  const handle = open(directory);
  const slots = Number(
    handle.prepare<{ value: string }, []>("SELECT value FROM meta WHERE name = 'slots'").get()
      ?.value,
  );
  const selectOne = handle.prepare<StoredDeadLetter, [number]>(
    `SELECT ${DEAD_LETTER_COLUMNS} FROM dead_letter WHERE id = ?`,
  );
  const selectPage = handle.prepare<StoredDeadLetter, Parameter[]>(
    `SELECT ${DEAD_LETTER_COLUMNS} ${PICKED} ORDER BY id LIMIT ?11`,
  );
  const selectIds = handle.prepare<{ id: number }, Parameter[]>(
    `SELECT id ${PICKED} ORDER BY id LIMIT ?11`,
  );
  const selectExtent = handle.prepare<{ count: number; lastId: number }, Parameter[]>(
    `SELECT count(*) AS count, coalesce(max(id), 0) AS lastId ${PICKED}`,
  );
  const selectKinds = handle.prepare<LetterKind, [number]>(
    `SELECT topic, consumer AS "group", reason, count(*) AS count,
       min(buried_at) AS oldestBuriedAtMs, max(buried_at) AS newestBuriedAtMs
     FROM dead_letter INDEXED BY ${FILTER_INDEX_NAME} GROUP BY topic, consumer, reason
     ORDER BY count(*) DESC, topic, consumer, reason LIMIT ?`,
  );
  const selectTotals = handle.prepare<DeadLetterTotals, []>(
    "SELECT dead_dropped AS dropped, (SELECT count(*) FROM dead_letter) AS kept FROM state",
  );
  let isClosed = false;

  async function run<T>(work: () => T): Promise<T> {
    if (isClosed) throw new ShopError("CLOSED", "the reads of dead letters are closed", "never");
    return asStorageError(work);
  }

  return {
    letter: (id) =>
      run(() => {
        const row = selectOne.get(id);
        return row === null ? undefined : letterOf(row);
      }),
    page: (filter, range) =>
      run(() => {
        checkLimit(range, LETTERS_PAGE_MAX);
        const parameters = parametersOf(filter, range, slots);
        const letters: KeptLetter[] = [];
        let bytes = 0;
        // One more than asked for tells whether there is another page.
        for (const row of selectPage.iterate(...parameters, range.limit + 1)) {
          bytes += row.bytes.byteLength;
          const isFull = letters.length === range.limit;
          const isTooMuch = letters.length > 0 && bytes > LETTERS_PAGE_BYTES_MAX;
          if (isFull || isTooMuch) return { letters, isLast: false };
          letters.push(letterOf(row));
        }
        return { letters, isLast: true };
      }),
    ids: (filter, range) =>
      run(() => {
        checkLimit(range, LETTER_IDS_MAX);
        const rows = selectIds.all(...parametersOf(filter, range, slots), range.limit);
        return rows.map(({ id }) => id);
      }),
    extent: (filter) =>
      run(() => {
        const found = selectExtent.get(...parametersOf(filter, { afterId: 0 }, slots));
        return found ?? { count: 0, lastId: 0 };
      }),
    totals: () => run(() => selectTotals.get() ?? { kept: 0, dropped: 0 }),
    summary: () => run(() => selectKinds.all(LETTER_KINDS_MAX)),
    close() {
      if (isClosed) return;
      isClosed = true;
      handle.close(true);
    },
  };
}

function open(directory: string): Database {
  return asStorageError(() => {
    const handle = new Database(journalPath(directory), { readonly: true });
    handle.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
    return handle;
  });
}

function asStorageError<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    const failure = sqliteFailure(error);
    throw failure === undefined ? error : storageError(failure, error);
  }
}

function checkLimit({ limit }: LetterRange, max: number): void {
  assert(Number.isInteger(limit) && limit >= 1 && limit <= max, `${limit} letters of 1 to ${max}`);
}

function parametersOf(
  { topic, group, reason, key, buriedFromMs, buriedBeforeMs }: LetterFilter,
  { afterId, throughId }: Omit<LetterRange, "limit">,
  slots: number,
): Parameter[] {
  const keyBytes = key === undefined ? null : new TextEncoder().encode(key);
  return [
    afterId,
    throughId ?? Number.MAX_SAFE_INTEGER,
    topic ?? null,
    group ?? null,
    reason ?? null,
    buriedFromMs ?? 0,
    buriedBeforeMs ?? Number.MAX_SAFE_INTEGER,
    // The slot first: it is in the index, the key is not.
    key === undefined ? null : slotOf(key, slots),
    keyBytes === null ? null : Uint8Array.of(keyBytes.length & 0xff, keyBytes.length >> 8),
    keyBytes,
  ];
}

function letterOf(row: StoredDeadLetter): KeptLetter {
  const { id, consumer: group, topic, partition, sequence, bytes, buriedAtMs } = row;
  const { reason, attempts, firstError, lastError } = row;
  const burial = { reason, attempts, firstError, lastError };
  const letter = { id, group, topic, partition, sequence, bytes, burial, buriedAtMs };
  return row.crc === deadLetterChecksum(row)
    ? letter
    : { ...letter, damage: "it fails its checksum" };
}
