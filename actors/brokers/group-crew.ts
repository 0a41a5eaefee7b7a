/**
 * A member of a group as its coordinator sees it: what it asked for and how much credit is left.
 *
 * A member may hold one delivery however little its credit is, so that nothing is stuck. Refuses
 * nothing by itself; the coordinator decides.
 */

import type { Delivery } from "./broker.ts";
import type { Partition } from "./group-partition.ts";

export interface MemberOptions {
  readonly topics: readonly string[];
  readonly partitions?: readonly number[];
  readonly creditFrames: number;
  readonly creditBytes: number;
  readonly leaseMs: number;
  readonly types?: readonly number[];
  readonly deliver: (deliveries: readonly Delivery[]) => void;
  readonly revoked: (topic: string, partitions: readonly number[]) => void;
}

export interface Member {
  readonly options: MemberOptions;
  readonly owned: Set<Partition>;
  framesInHand: number;
  bytesInHand: number;
  paused: boolean;
  outbox: Delivery[];
}

export function newMember(options: MemberOptions): Member {
  return {
    options,
    owned: new Set(),
    framesInHand: 0,
    bytesInHand: 0,
    paused: false,
    outbox: [],
  };
}

export function hasCredit(member: Member): boolean {
  if (member.paused) return false;
  const { creditFrames, creditBytes } = member.options;
  if (member.framesInHand === 0) return true;
  return member.framesInHand < creditFrames && member.bytesInHand < creditBytes;
}

/** Do a group and one who joins it name the same types? Absent is a name of its own: all. */
export function hasSameTypes(
  types: ReadonlySet<number> | undefined,
  given: readonly number[] | undefined,
): boolean {
  if (types === undefined || given === undefined) return types === given;
  return types.size === new Set(given).size && given.every((type) => types.has(type));
}
