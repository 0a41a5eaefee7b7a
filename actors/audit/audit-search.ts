/**
 * One page of the audit, found within bounds.
 *
 * The narrowest index gives candidates, newest first; every condition is then checked on the record
 * itself, so that an index can lose a record but never invent one. A page ends when it is full, or
 * when it has looked at as much as one page may: then it is short, perhaps empty, and says where
 * the next one goes on. It blocks its thread for one chunk of records at a time, and for what one
 * table of words takes to find them (`WORDS_SHARD_RECORDS` says how long that may be).
 */

import type { Database } from "bun:sqlite";
import type { AuditColumns, AuditQuery } from "./audit-query.ts";
import type { ChainedRecord } from "./audit-record.ts";

import { RECORD_COLUMNS, wordShards, wordsTable } from "./audit-database.ts";
import { readFrame } from "./audit-entry.ts";
import {
  READ_CHUNK_RECORDS,
  SCAN_BYTES_MAX,
  SCAN_RECORDS_MAX,
  SCAN_SHARDS_MAX,
  SEARCH_PAGE_BYTES_MAX,
  SPAN_RECORDS,
} from "./audit-limits.ts";
import { driverOf, ftsExpression, matchesColumns, matchesTerms } from "./audit-query.ts";
import { textsOf } from "./audit-text.ts";

/** `nextBeforeSeq` is absent when there is nothing further. */
export interface FoundRecords {
  readonly records: readonly ChainedRecord[];
  readonly nextBeforeSeq?: number;
}

/** Records `lowSeq <= seq < beforeSeq` are still to be looked at. */
interface Range {
  readonly lowSeq: number;
  readonly beforeSeq: number;
}

interface Candidate extends AuditColumns {
  readonly seq: number;
}

interface Chunk {
  /** Newest first. */
  readonly candidates: readonly Candidate[];
  /** Where to go on; at or below `lowSeq` when the range is used up. */
  readonly beforeSeq: number;
}

type NextChunk = (range: Range) => Chunk;

/** Looks for one page. `turn` lets others run; `count` is the number of records that are sealed. */
export async function searchAudit(
  handle: Database,
  query: AuditQuery,
  count: number,
  turn: () => Promise<void>,
): Promise<FoundRecords> {
  const range = rangeOf(handle, query, Math.min(query.beforeSeq ?? count + 1, count + 1));
  if (range === undefined) return { records: [] };
  const page = new Page(handle, query);
  const nextChunk = chunksOf(handle, query);
  let { beforeSeq } = range;
  for (let chunks = 0; beforeSeq > range.lowSeq; chunks++) {
    if (chunks > 0) await turn();
    const chunk = nextChunk({ lowSeq: range.lowSeq, beforeSeq });
    for (const candidate of chunk.candidates) {
      const stop = page.look(candidate);
      if (stop !== undefined) return { records: page.records, nextBeforeSeq: stop };
    }
    ({ beforeSeq } = chunk);
    // Long runs without a candidate count too: tables of words that are empty of these words.
    if (chunk.candidates.length === 0 && chunks >= SCAN_SHARDS_MAX) break;
  }
  return beforeSeq > range.lowSeq
    ? { records: page.records, nextBeforeSeq: beforeSeq }
    : { records: page.records };
}

/** What has been found, and how much has been looked at. */
class Page {
  readonly records: ChainedRecord[] = [];
  readonly #query: AuditQuery;
  readonly #select;
  #looked = 0;
  #lookedBytes = 0;
  #pageBytes = 0;

  constructor(handle: Database, query: AuditQuery) {
    this.#query = query;
    this.#select = handle.query<ChainedRecord, [number]>(
      `SELECT ${RECORD_COLUMNS} FROM records WHERE seq = ?`,
    );
  }

  /** Takes or passes `candidate`; the place to go on from when the page ends with it. */
  look(candidate: Candidate): number | undefined {
    const { limit } = this.#query;
    const here = candidate.seq + 1;
    const isSpent = this.#looked >= SCAN_RECORDS_MAX || this.#lookedBytes >= SCAN_BYTES_MAX;
    if (isSpent) return here;
    this.#looked++;
    if (!matchesColumns(candidate, this.#query)) return undefined;
    // One match more than asked for tells whether there is another page.
    if (this.records.length >= limit && this.#query.terms === undefined) return here;
    const record = this.#select.get(candidate.seq);
    if (record === null) return undefined;
    this.#lookedBytes += record.frame.length;
    if (!this.#matchesText(record)) return undefined;
    const isRoom = this.#pageBytes + record.frame.length <= SEARCH_PAGE_BYTES_MAX;
    if (this.records.length >= limit || (this.records.length > 0 && !isRoom)) return here;
    this.#pageBytes += record.frame.length;
    this.records.push(record);
    return undefined;
  }

  #matchesText({ frame }: ChainedRecord): boolean {
    const { terms } = this.#query;
    if (terms === undefined) return true;
    const reading = readFrame(frame);
    return "event" in reading && matchesTerms(textsOf(reading.event), terms);
  }
}

/** The seqs that can match by time; `undefined` when none can. */
function rangeOf(handle: Database, query: AuditQuery, beforeSeq: number): Range | undefined {
  const { fromMs, toMs } = query;
  if (fromMs === undefined && toMs === undefined) return { lowSeq: 1, beforeSeq };
  const bounds: [number, number] = [fromMs ?? 0, toMs ?? Number.MAX_SAFE_INTEGER];
  const find = (order: "ASC" | "DESC") =>
    handle
      .query<{ readonly span: number }, [number, number]>(
        `SELECT span FROM spans WHERE at_max >= ? AND at_min < ? ORDER BY span ${order} LIMIT 1`,
      )
      .get(...bounds)?.span;
  const first = find("ASC");
  const last = find("DESC");
  if (first === undefined || last === undefined) return undefined;
  return {
    lowSeq: first * SPAN_RECORDS + 1,
    beforeSeq: Math.min(beforeSeq, (last + 1) * SPAN_RECORDS + 1),
  };
}

function chunksOf(handle: Database, query: AuditQuery): NextChunk {
  switch (driverOf(query)) {
    case "order":
      return chunksWhere(handle, "order_id = ? AND", [query.orderId ?? ""]);
    case "customer":
      return chunksWhere(handle, "customer_id = ? AND", [query.customerId ?? ""]);
    case "type":
      return chunksWhere(handle, "type = ? AND", [query.type ?? 0]);
    case "all":
      return chunksWhere(handle, "", []);
    case "words":
      return chunksOfWords(handle, query);
  }
}

const CANDIDATE =
  "records.seq, records.type, order_id AS orderId, customer_id AS customerId, at AS atMs";

/** Each condition is on a column whose index has the seq behind it, so that rows come in order. */
function chunksWhere(
  handle: Database,
  condition: string,
  values: readonly (string | number)[],
): NextChunk {
  const select = handle.query<Candidate, (string | number)[]>(
    `SELECT ${CANDIDATE} FROM records WHERE ${condition} seq >= ? AND seq < ?
     ORDER BY seq DESC LIMIT ${READ_CHUNK_RECORDS}`,
  );
  return ({ lowSeq, beforeSeq }) => {
    const candidates = select.all(...values, lowSeq, beforeSeq);
    return { candidates, beforeSeq: goOn(candidates, lowSeq) };
  };
}

/** One table of words at a time. */
function chunksOfWords(handle: Database, { terms = [] }: AuditQuery): NextChunk {
  const expression = ftsExpression(terms);
  const shards = wordShards(handle);
  return ({ lowSeq, beforeSeq }) => {
    const shard = shards.of(beforeSeq - 1);
    const table = wordsTable(shard);
    const shardLowSeq = Math.max(lowSeq, shards.firstSeq(shard));
    const known = handle.query("SELECT 1 FROM sqlite_schema WHERE name = ?");
    // A run of records without any text has no table.
    if (known.get(table) === null) return { candidates: [], beforeSeq: shardLowSeq };
    const select = handle.prepare<Candidate, [string, number, number]>(
      `SELECT ${CANDIDATE} FROM records JOIN (
         SELECT rowid AS found FROM ${table} WHERE ${table} MATCH ? AND rowid >= ? AND rowid < ?
         ORDER BY rowid DESC LIMIT ${READ_CHUNK_RECORDS}) ON records.seq = found
       ORDER BY found DESC`,
    );
    try {
      const candidates = select.all(expression, shardLowSeq, beforeSeq);
      return { candidates, beforeSeq: goOn(candidates, shardLowSeq) };
    } finally {
      select.finalize();
    }
  };
}

function goOn(candidates: readonly Candidate[], lowSeq: number): number {
  const last = candidates.at(-1);
  return candidates.length < READ_CHUNK_RECORDS || last === undefined ? lowSeq : last.seq;
}
