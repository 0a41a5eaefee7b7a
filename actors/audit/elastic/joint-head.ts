/**
 * One head for all chains: how many records they have together, and a hash over their heads.
 *
 * The hash changes when any chain does, and does not depend on the order in which chains are known.
 * Refuses nothing: no chains at all are the empty audit.
 */

import type { AuditHead } from "../audit-chain.ts";
import type { ChainState } from "./record-chain.ts";

import { GENESIS_HASH, HASH_BYTES } from "../audit-record.ts";

export function headOf(heads: ReadonlyMap<string, ChainState>): AuditHead {
  if (heads.size === 0) return { count: 0, hash: GENESIS_HASH };
  const lines = [...heads]
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([chain, { place, hash }]) => `${chain} ${place} ${Buffer.from(hash).toString("hex")}\n`);
  const hash = new Uint8Array(HASH_BYTES);
  Bun.SHA256.hash(lines.join(""), hash);
  const count = [...heads.values()].reduce((sum, { place }) => sum + place, 0);
  return { count, hash };
}
