/**
 * The chains of the audit on a server: one for each partition of a topic, linked by who feeds it.
 *
 * Where a record stands follows from the record before it and from itself alone, so that two
 * members who link the same records come to the same places and hashes. Refuses nothing: sequences
 * may have gaps, places have none.
 */

import type { AuditEntry } from "../audit-entry.ts";

import { GENESIS_HASH, recordHash } from "../audit-record.ts";

/** The last record of a chain, or the place before its first. */
export interface ChainState {
  /** Number of records up to it. */
  readonly place: number;
  /** Its position in the partition. */
  readonly sequence: number;
  /** Its number among the records of all chains. */
  readonly seq: number;
  readonly hash: Uint8Array;
}

export const CHAIN_START: ChainState = { place: 0, sequence: 0, seq: 0, hash: GENESIS_HASH };

/** From here on, and to the end of what a number can hold, there is a range for each ms. */
export const SEQ_EPOCH_MS = Date.UTC(2020, 0, 1);
const SEQS_PER_MS = 4_096;

export function chainName(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}

/**
 * The number by which records of all chains are ordered: by the time they were stored, those of
 * one ms scattered so that two rarely share one. Whoever pages must expect that they do.
 */
export function seqAt(storedAtMs: number, scatter: string): number {
  const sinceMs = Math.min(Math.max(storedAtMs - SEQ_EPOCH_MS, 0), SEQ_MS_MAX);
  return 1 + Math.floor(sinceMs) * SEQS_PER_MS + (Bun.hash.crc32(scatter) % SEQS_PER_MS);
}

const SEQ_MS_MAX = Math.floor(Number.MAX_SAFE_INTEGER / SEQS_PER_MS) - SEQS_PER_MS;

/** Later in a chain is higher, even when the clock was set back. */
export function nextSeq(previous: ChainState, chain: string, storedAtMs: number): number {
  return Math.max(previous.seq + 1, seqAt(storedAtMs, chain));
}

/** `entry` after `previous`. */
export function linkEntry(previous: ChainState, entry: AuditEntry): ChainState {
  const { texts: _unchained, ...content } = entry;
  const place = previous.place + 1;
  return {
    place,
    sequence: entry.sequence,
    seq: nextSeq(previous, chainName(entry.topic, entry.partition), entry.storedAtMs),
    hash: recordHash(previous.hash, { ...content, seq: place }),
  };
}

/** The place of `previous` is the only one from which `sequence` can go on without a look. */
export function follows(previous: ChainState | undefined, sequence: number): boolean {
  return previous !== undefined && previous.sequence + 1 === sequence;
}
