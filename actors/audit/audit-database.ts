/**
 * The audit's SQLite file: its tables, and the statements that append to them.
 *
 *     records   one row per message, append-only by trigger; found by seq, identity, order,
 *               customer or type
 *     head      how many there are, the hash of the last, the feed's cursor: the seal
 *     spans     earliest and latest time of each run of `SPAN_RECORDS`, for searches by time
 *     words_N   full text of the N-th run of `WORDS_SHARD_RECORDS`, contentless; a search for a
 *               prefix gathers at most one such run, which bounds how long it may take
 *
 * Of these, records and head are the evidence; the rest only finds it. It refuses a file that
 * another version wrote.
 */

import type { Database } from "bun:sqlite";
import type { AuditRecord } from "./audit-record.ts";

import { join } from "node:path";

import { ShopError } from "../../runtime/errors.ts";
import { SPAN_RECORDS, WORDS_SHARD_RECORDS, WORDS_SHARD_RECORDS_BEFORE } from "./audit-limits.ts";
import { GENESIS_HASH } from "./audit-record.ts";
import { foldText } from "./audit-text.ts";

const DATABASE_FILE = "audit.db";
/** Format 1 has tables of words of another size, and nothing else that is different. */
const FORMATS: ReadonlyMap<number, number> = new Map([
  [1, WORDS_SHARD_RECORDS_BEFORE],
  [2, WORDS_SHARD_RECORDS],
]);
const FORMAT = 2;

/** The head of a store, as it is in the file. */
export interface HeadRow {
  readonly count: number;
  readonly hash: Uint8Array;
  /** Of the feed; null before the first batch. */
  readonly cursor: string | null;
  /** Messages that came again and were not recorded again. */
  readonly repeats: number;
}

/** The database file of a data directory. */
export function auditPath(directory: string): string {
  return join(directory, DATABASE_FILE);
}

export function wordsTable(shard: number): string {
  return `words_${shard}`;
}

/** Which run of records a table of words is for, in the file that is open. */
export interface WordShards {
  of(seq: number): number;
  firstSeq(shard: number): number;
}

export function wordShards(handle: Database): WordShards {
  const records = FORMATS.get(formatOf(handle)) ?? WORDS_SHARD_RECORDS;
  return {
    of: (seq) => Math.floor((seq - 1) / records),
    firstSeq: (shard) => shard * records + 1,
  };
}

export const RECORD_COLUMNS = `seq, identity, topic, part AS "partition", sequence, type,
  order_id AS orderId, customer_id AS customerId, at AS atMs, stored_at AS storedAtMs, fault, prev,
  hash, frame`;

const SCHEMA = [
  `CREATE TABLE records (
     seq INTEGER PRIMARY KEY, identity BLOB NOT NULL, topic TEXT NOT NULL, part INTEGER NOT NULL,
     sequence INTEGER NOT NULL, type INTEGER NOT NULL, order_id TEXT, customer_id TEXT,
     at INTEGER NOT NULL, stored_at INTEGER NOT NULL, fault TEXT, prev BLOB NOT NULL,
     hash BLOB NOT NULL, frame BLOB NOT NULL) STRICT`,
  "CREATE UNIQUE INDEX records_identity ON records (identity, topic)",
  "CREATE INDEX records_order ON records (order_id) WHERE order_id IS NOT NULL",
  "CREATE INDEX records_customer ON records (customer_id) WHERE customer_id IS NOT NULL",
  "CREATE INDEX records_type ON records (type)",
  `CREATE TRIGGER records_no_update BEFORE UPDATE ON records
     BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END`,
  `CREATE TRIGGER records_no_delete BEFORE DELETE ON records
     BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END`,
  `CREATE TABLE head (
     one INTEGER PRIMARY KEY CHECK (one = 1), count INTEGER NOT NULL, hash BLOB NOT NULL,
     cursor TEXT, repeats INTEGER NOT NULL) STRICT`,
  `CREATE TABLE spans (
     span INTEGER PRIMARY KEY, at_min INTEGER NOT NULL, at_max INTEGER NOT NULL) STRICT`,
];

/** Makes the tables of an empty file, in the transaction that the caller has open. */
export function prepareAudit(handle: Database): void {
  const version = formatOf(handle);
  if (FORMATS.has(version)) return;
  if (version !== 0) {
    const message = `audit.db has format ${version}; this version reads formats up to ${FORMAT}`;
    throw new ShopError("DATA_DAMAGED", message, "never");
  }
  for (const statement of SCHEMA) handle.run(statement);
  handle.prepare("INSERT INTO head VALUES (1, 0, ?, NULL, 0)").run(GENESIS_HASH);
  handle.run(`PRAGMA user_version = ${FORMAT}`);
}

/** 0: no tables yet. */
export function formatOf(handle: Database): number {
  return (
    handle.prepare<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0
  );
}

export function readHead(handle: Database): HeadRow {
  const row = handle
    .prepare<HeadRow, []>("SELECT count, hash, cursor, repeats FROM head WHERE one = 1")
    .get();
  if (row !== null) return row;
  throw new ShopError("DATA_DAMAGED", "the head of the audit is gone", "never");
}

/** Throws `DATA_DAMAGED` when there are records behind `head`: appending would meet them. */
export function refuseBeyond(handle: Database, head: HeadRow): void {
  const row = handle
    .prepare<{ last: number | null }, []>("SELECT max(seq) AS last FROM records")
    .get();
  const last = row?.last ?? 0;
  if (last <= head.count) return;
  const message = `the audit has a record ${last}, but was sealed at ${head.count}`;
  throw new ShopError("DATA_DAMAGED", message, "never");
}

/** Statements of the one writer. Nothing here opens a transaction. */
export interface AuditAppender {
  /** False when the identity has been recorded under this topic. */
  append(record: AuditRecord, prev: Uint8Array, hash: Uint8Array): boolean;
  /** Makes `record` findable by `texts`. */
  index(record: AuditRecord, texts: readonly string[]): void;
  /** The frame that was recorded under `identity` and `topic`. */
  frameOf(identity: Uint8Array, topic: string): Uint8Array | undefined;
  /** The customer that an earlier record names for `orderId`. */
  customerOf(orderId: string): string | undefined;
  seal(head: HeadRow): void;
}

export function createAppender(handle: Database): AuditAppender {
  const insert = handle.prepare(
    `INSERT INTO records (seq, identity, topic, part, sequence, type, order_id, customer_id, at,
       stored_at, fault, prev, hash, frame)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (identity, topic) DO NOTHING`,
  );
  const selectFrame = handle.prepare<{ readonly frame: Uint8Array }, [Uint8Array, string]>(
    "SELECT frame FROM records WHERE identity = ? AND topic = ?",
  );
  const selectCustomer = handle.prepare<{ readonly customerId: string }, [string]>(
    `SELECT customer_id AS customerId FROM records
     WHERE order_id = ? AND customer_id IS NOT NULL LIMIT 1`,
  );
  const updateHead = handle.prepare(
    "UPDATE head SET count = ?, hash = ?, cursor = ?, repeats = ? WHERE one = 1",
  );
  const spans = createSpans(handle);
  const words = createWords(handle);
  return {
    append(record, prev, hash) {
      const { changes } = insert.run(
        record.seq,
        record.identity,
        record.topic,
        record.partition,
        record.sequence,
        record.type,
        record.orderId,
        record.customerId,
        record.atMs,
        record.storedAtMs,
        record.fault,
        prev,
        hash,
        record.frame,
      );
      if (changes === 0) return false;
      spans.widen(record);
      return true;
    },
    index: (record, texts) => words.add(record.seq, texts),
    frameOf: (identity, topic) => selectFrame.get(identity, topic)?.frame,
    customerOf: (orderId) => selectCustomer.get(orderId)?.customerId,
    seal({ count, hash, cursor, repeats }) {
      spans.write();
      updateHead.run(count, hash, cursor, repeats);
    },
  };
}

/** Gathers the times of a batch, so that a span is written once for all of its records. */
function createSpans(handle: Database) {
  const widen = handle.prepare(
    `INSERT INTO spans VALUES (?, ?, ?) ON CONFLICT (span) DO UPDATE SET
       at_min = min(at_min, excluded.at_min), at_max = max(at_max, excluded.at_max)`,
  );
  const open = new Map<number, { minMs: number; maxMs: number }>();
  return {
    widen({ seq, atMs }: AuditRecord): void {
      const span = Math.floor((seq - 1) / SPAN_RECORDS);
      const bounds = open.get(span);
      if (bounds === undefined) open.set(span, { minMs: atMs, maxMs: atMs });
      else if (atMs < bounds.minMs) bounds.minMs = atMs;
      else if (atMs > bounds.maxMs) bounds.maxMs = atMs;
    },
    write(): void {
      for (const [span, { minMs, maxMs }] of open) widen.run(span, minMs, maxMs);
      open.clear();
    },
  };
}

/** Writes into the table of the shard that is being filled, which it makes when there is none. */
function createWords(handle: Database) {
  const shards = wordShards(handle);
  let shard = -1;
  let insert: ReturnType<typeof handle.prepare> | undefined;
  const openShard = (wanted: number) => {
    handle.run(
      `CREATE VIRTUAL TABLE IF NOT EXISTS ${wordsTable(wanted)} USING fts5(text, content = '',
         columnsize = 0, tokenize = 'unicode61 remove_diacritics 2')`,
    );
    shard = wanted;
    insert?.finalize();
    insert = handle.prepare(`INSERT INTO ${wordsTable(wanted)} (rowid, text) VALUES (?, ?)`);
    return insert;
  };
  return {
    add(seq: number, texts: readonly string[]): void {
      if (texts.length === 0) return;
      const wanted = shards.of(seq);
      const statement = wanted === shard && insert !== undefined ? insert : openShard(wanted);
      statement.run(seq, foldText(texts.join("\n")));
    },
  };
}

/** Merges a little of the words of `shard`; false when there was nothing to merge. */
export function mergeWords(handle: Database, shard: number, pages: number): boolean {
  const table = wordsTable(shard);
  const isThere = handle.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?").get(table) !== null;
  if (!isThere) return false;
  const total = handle.prepare<{ changes: number }, []>("SELECT total_changes() AS changes");
  const before = total.get()?.changes ?? 0;
  handle.prepare(`INSERT INTO ${table} (${table}, rank) VALUES ('merge', ?)`).run(pages);
  const after = total.get()?.changes ?? 0;
  // The command itself counts as one change; see "The 'merge' Command" in SQLite's FTS5 manual.
  return after - before >= 2;
}
