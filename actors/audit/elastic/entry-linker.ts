/**
 * What is to be written for the records of one partition that were given together.
 *
 * Decides from what is known of the chain and of documents that are there: it neither asks nor
 * writes. Refuses no record: one that stands where another message stands already is kept outside
 * the chain, so that nothing is lost when a topic was made anew.
 */

import type { AuditEntry } from "../audit-entry.ts";
import type { AuditDocument, Placed } from "./audit-document.ts";
import type { DocumentWrite } from "./bulk-body.ts";
import type { ElasticSettings } from "./elastic-settings.ts";
import type { ChainState } from "./record-chain.ts";

import {
  bytes,
  chainedDocument,
  chainedId,
  indexOf,
  unchainedDocument,
  unchainedId,
} from "./audit-document.ts";
import { linkEntry } from "./record-chain.ts";

export interface EntryWrite extends DocumentWrite {
  readonly entry: AuditEntry;
  readonly document: AuditDocument;
}

export interface LinkedEntries {
  readonly writes: readonly EntryWrite[];
  /** The last of the chain, once all writes are done. */
  readonly end: ChainState;
  /** Records that are known to be there. */
  readonly repeats: number;
  /** Records whose place another message has. */
  readonly conflicts: number;
}

type Naming = Pick<ElasticSettings, "prefix" | "period">;

/** In the order of the partition. Records of it that come twice follow each other. */
export function inOrder(entries: readonly AuditEntry[]): readonly AuditEntry[] {
  return entries.toSorted((one, other) => one.sequence - other.sequence);
}

/** `entries` in order, after `previous`; `known` are documents by their id. */
export function linkEntries(
  entries: readonly AuditEntry[],
  previous: ChainState,
  known: ReadonlyMap<string, Placed>,
  naming: Naming,
): LinkedEntries {
  const writes: EntryWrite[] = [];
  const placed = new Map<string, Placed>(known);
  let end = previous;
  let repeats = 0;
  let conflicts = 0;
  for (const entry of entries) {
    const id = chainedId(entry);
    const there = placed.get(id);
    if (there === undefined) {
      const next = linkEntry(end, entry);
      const document = chainedDocument(entry, end, next);
      writes.push({ index: indexOf(naming, entry.storedAtMs), id, document, entry });
      placed.set(id, document);
      end = next;
    } else if (isSame(there, entry)) {
      repeats++;
      end = stateOf(there);
    } else {
      conflicts++;
      writes.push(unchainedWrite(entry, naming));
      end = stateOf(there);
    }
  }
  return { writes, end, repeats, conflicts };
}

export function unchainedWrite(entry: AuditEntry, naming: Naming): EntryWrite {
  const index = indexOf(naming, entry.storedAtMs);
  return { index, id: unchainedId(entry), document: unchainedDocument(entry), entry };
}

/** True when the document is a copy of what `entry` says. */
export function isSame(there: Placed, entry: AuditEntry): boolean {
  const { identity, content } = unchainedDocument(entry);
  return there.identity === identity && there.content === content;
}

export function stateOf({ place, sequence, seq, hash }: Placed): ChainState {
  return { place, sequence, seq, hash: bytes(hash) };
}
