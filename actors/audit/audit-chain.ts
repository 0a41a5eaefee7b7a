/**
 * Whether records are the chain they claim to be: the judgement behind `verify`.
 *
 * Found by the chain alone: a column that was changed, a record that was removed, put elsewhere or
 * put in. Found with the sealed head: records cut off at the end, or added behind it. Not found
 * without a head that was kept elsewhere: a rewriting of everything from some record on, the head
 * included. It judges records only, not the indexes by which they are found.
 */

import type { ChainedRecord } from "./audit-record.ts";

import { recordHash } from "./audit-record.ts";

export type ChainFault =
  /** A record's content is not what its hash was made of. */
  | "altered"
  /** There is no record where one must be. */
  | "removed"
  /** The record belongs to another place. */
  | "moved"
  /** It is whole in itself, but the one before it is not the one it followed. */
  | "replaced"
  /** The chain ends before the head says it does. */
  | "tail_cut"
  /** There are records outside the places that the head knows. */
  | "inserted"
  /** The last record is not the one that the head was sealed with. */
  | "head_mismatch";

export interface ChainProblem {
  /** The first place that is wrong. */
  readonly seq: number;
  readonly fault: ChainFault;
  readonly detail: string;
}

/** Number of records and the hash of the last one: what is kept elsewhere as an anchor. */
export interface AuditHead {
  readonly count: number;
  readonly hash: Uint8Array;
}

/** What must come next: the place, and the hash of the record before. */
export interface ChainPlace {
  readonly seq: number;
  readonly prev: Uint8Array;
}

/** What is wrong with `record` at `place`; `undefined` when it is the right one. */
export function judgeRecord(place: ChainPlace, record: ChainedRecord): ChainProblem | undefined {
  const { seq, prev } = place;
  if (record.seq !== seq) {
    return problem(seq, "removed", `the next record that is there is ${record.seq}`);
  }
  const followsPlace = isEqual(record.prev, prev);
  if (isEqual(recordHash(prev, record), record.hash)) {
    return followsPlace ? undefined : problem(seq, "altered", "its previous hash was changed");
  }
  if (followsPlace) return problem(seq, "altered", "its content does not give its hash");
  return isEqual(recordHash(record.prev, record), record.hash)
    ? problem(seq, "replaced", `it follows another record than the one at ${seq - 1}`)
    : problem(seq, "moved", "neither its content nor its previous hash belongs here");
}

/** What is wrong with the end: `place` is where the chain as it was read would go on. */
export function judgeEnd(place: ChainPlace, head: AuditHead): ChainProblem | undefined {
  const last = place.seq - 1;
  if (last < head.count) {
    return problem(place.seq, "tail_cut", `the head was sealed at ${head.count} records`);
  }
  return isEqual(place.prev, head.hash)
    ? undefined
    : problem(last, "head_mismatch", "the last hash is not the one the head was sealed with");
}

/** What is wrong with the outermost places that are taken; both absent when there is no record. */
export function judgeBounds(
  firstSeq: number | null,
  lastSeq: number | null,
  head: AuditHead,
): ChainProblem | undefined {
  if (firstSeq !== null && firstSeq < 1) {
    return problem(firstSeq, "inserted", "records start at 1");
  }
  return lastSeq !== null && lastSeq > head.count
    ? problem(lastSeq, "inserted", `the head was sealed at ${head.count} records`)
    : undefined;
}

function problem(seq: number, fault: ChainFault, detail: string): ChainProblem {
  return { seq, fault, detail };
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
