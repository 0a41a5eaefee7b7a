/**
 * Whether a document is the next of its chain, and whether the chains end where they were sealed.
 *
 * The words are those of the embedded audit (`audit-chain.ts`); the number of a problem is the one
 * by which a record is shown, and its detail names chain and place. It judges records only, not the
 * fields by which they are found.
 */

import type { ChainFault, ChainProblem } from "../audit-chain.ts";
import type { AuditDocument } from "./audit-document.ts";
import type { ChainState } from "./record-chain.ts";

import { judgeRecord } from "../audit-chain.ts";
import { bytes, recordOf } from "./audit-document.ts";
import { chainName, CHAIN_START, nextSeq } from "./record-chain.ts";

/** `floor`: the first place of the chain that must be there. */
export function judgeLink(
  previous: ChainState | undefined,
  floor: number,
  document: AuditDocument,
): ChainProblem | undefined {
  const { seq, place, topic, partition, storedAt } = document;
  const chain = chainName(topic, partition);
  // Whatever came before has gone for its age, and can only be believed.
  const isFirstKept = previous === undefined && place > 1 && place <= floor;
  const before = isFirstKept
    ? { ...CHAIN_START, place: place - 1, hash: bytes(document.prev) }
    : (previous ?? CHAIN_START);
  const wanted = { seq: before.place + 1, prev: before.hash };
  const found = judgeRecord(wanted, recordOf(document, place));
  if (found !== undefined) return problem(seq, found.fault, chain, wanted.seq, found.detail);
  if (document.chain !== chain) {
    return problem(seq, "altered", chain, place, `it is filed under ${document.chain ?? "none"}`);
  }
  if (isFirstKept || seq === nextSeq(before, chain, storedAt)) return undefined;
  return problem(seq, "altered", chain, place, "its number does not follow from the one before");
}

/** `states` are the last records that were found. */
export function judgeEnds(
  states: ReadonlyMap<string, ChainState>,
  heads: ReadonlyMap<string, ChainState>,
  floors: ReadonlyMap<string, number>,
): ChainProblem | undefined {
  for (const [chain, head] of heads) {
    const last = states.get(chain) ?? CHAIN_START;
    const isGone = last.place === 0 && (floors.get(chain) ?? 1) > head.place;
    if (isGone) continue;
    if (last.place < head.place) {
      const detail = `the head was sealed at place ${head.place}`;
      return problem(head.seq, "tail_cut", chain, last.place + 1, detail);
    }
    if (last.place === head.place && Buffer.compare(last.hash, head.hash) !== 0) {
      const detail = "the last hash is not the one the head was sealed with";
      return problem(head.seq, "head_mismatch", chain, last.place, detail);
    }
  }
  return undefined;
}

function problem(
  seq: number,
  fault: ChainFault,
  chain: string,
  place: number,
  detail: string,
): ChainProblem {
  return { seq, fault, detail: `${chain}, place ${place}: ${detail}` };
}
