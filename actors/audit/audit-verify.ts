/**
 * Walks the chain of the audit, a slice at a time.
 *
 * It reads, `audit-chain.ts` judges. A slice ends at the first problem, at the end, or when its
 * bounds are used up; every slice makes some progress. It believes the record before its start, so
 * a walk is whole only when it began at 1.
 */

import type { Database } from "bun:sqlite";
import type { Environment } from "../../runtime/environment.ts";
import type { AuditHead, ChainPlace, ChainProblem } from "./audit-chain.ts";
import type { ChainedRecord } from "./audit-record.ts";

import { judgeBounds, judgeEnd, judgeRecord } from "./audit-chain.ts";
import { readHead, RECORD_COLUMNS } from "./audit-database.ts";
import { READ_CHUNK_RECORDS, SCAN_BYTES_MAX } from "./audit-limits.ts";
import { GENESIS_HASH } from "./audit-record.ts";

export interface VerifyRange {
  /** 1, or what `nextSeq` said. */
  readonly fromSeq: number;
  /** At least 1. */
  readonly recordsMax: number;
  readonly budgetMs: number;
}

export interface AuditVerdict {
  /** Records that were found right. */
  readonly verified: number;
  /** The last of them; 0 when none was looked at. */
  readonly upToSeq: number;
  readonly head: AuditHead;
  readonly problem?: ChainProblem;
  /** Where the next slice goes on; absent at the end and at a problem. */
  readonly nextSeq?: number;
}

/** Verifies one slice. `turn` lets others run. */
export async function verifyChain(
  handle: Database,
  { fromSeq, recordsMax, budgetMs }: VerifyRange,
  environment: Pick<Environment, "monotonicMs">,
  turn: () => Promise<void>,
): Promise<AuditVerdict> {
  const { head, outside } = boundsOf(handle);
  const endMs = environment.monotonicMs() + budgetMs;
  const startSeq = Math.min(fromSeq, head.count + 1);
  let place: ChainPlace = { seq: startSeq, prev: hashAt(handle, startSeq - 1) };
  for (;;) {
    const limit = Math.min(READ_CHUNK_RECORDS, recordsMax - (place.seq - startSeq));
    const chunk = judgeChunk(handle, place, head.count, limit);
    ({ place } = chunk);
    const verified = place.seq - startSeq;
    const verdict = { verified, upToSeq: verified === 0 ? 0 : place.seq - 1, head };
    const problem = chunk.problem ?? (chunk.isEnd ? (judgeEnd(place, head) ?? outside) : undefined);
    if (problem !== undefined) return { ...verdict, problem };
    if (chunk.isEnd) return verdict;
    if (verified >= recordsMax || environment.monotonicMs() >= endMs) {
      return { ...verdict, nextSeq: place.seq };
    }
    await turn();
  }
}

interface Bounds extends AuditHead {
  readonly first: number | null;
  readonly last: number | null;
}

/** One statement sees one moment: neither head nor records move between them. */
function boundsOf(handle: Database) {
  const bounds = handle
    .query<Bounds, []>(
      `SELECT count, hash, (SELECT min(seq) FROM records) AS first,
         (SELECT max(seq) FROM records) AS last FROM head WHERE one = 1`,
    )
    .get();
  const { count, hash } = bounds ?? readHead(handle);
  const head: AuditHead = { count, hash };
  return { head, outside: judgeBounds(bounds?.first ?? null, bounds?.last ?? null, head) };
}

/** Nothing follows a record that is not there: whatever does is found to be misplaced. */
function hashAt(handle: Database, seq: number): Uint8Array {
  if (seq === 0) return GENESIS_HASH;
  const row = handle
    .query<{ readonly hash: Uint8Array }, [number]>("SELECT hash FROM records WHERE seq = ?")
    .get(seq);
  return row?.hash ?? new Uint8Array();
}

interface Judged {
  readonly place: ChainPlace;
  readonly problem?: ChainProblem;
  /** There were no more records up to the head. */
  readonly isEnd: boolean;
}

function judgeChunk(handle: Database, start: ChainPlace, lastSeq: number, limit: number): Judged {
  const select = handle.query<ChainedRecord, [number, number, number]>(
    `SELECT ${RECORD_COLUMNS} FROM records WHERE seq >= ? AND seq <= ? ORDER BY seq LIMIT ?`,
  );
  let place = start;
  let bytes = 0;
  for (const record of select.iterate(start.seq, lastSeq, limit)) {
    const problem = judgeRecord(place, record);
    if (problem !== undefined) return { place, problem, isEnd: false };
    place = { seq: place.seq + 1, prev: record.hash };
    bytes += record.frame.length;
    if (bytes >= SCAN_BYTES_MAX) return { place, isEnd: false };
  }
  return { place, isEnd: place.seq - start.seq < limit };
}
