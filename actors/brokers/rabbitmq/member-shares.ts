/**
 * Who of a group's members should own which partition, worked out by each for itself.
 *
 * It depends on nothing but the names of the members and what each may own, so that members who
 * know of each other agree without asking. Every member owns as many partitions as any other, give
 * or take one, as far as what they may own allows; a member that comes or goes moves few of the
 * others' partitions. Refuses no input: a partition that nobody may own is nobody's.
 */

import { murmur2 } from "../../../runtime/frames/murmur2.ts";

export interface ShareMember {
  /** Distinct within the group. */
  readonly id: string;
  readonly mayOwn: (partition: number) => boolean;
}

/** Of each member, its partitions in ascending order; the order of `members` does not matter. */
export function memberShares(
  partitions: number,
  members: readonly ShareMember[],
): ReadonlyMap<string, readonly number[]> {
  const sorted = [...members].sort((a, b) => (a.id < b.id ? -1 : 1));
  const shares = new Map(sorted.map(({ id }) => [id, new Array<number>()]));
  const capacities = capacitiesOf(partitions, sorted);
  const sizeOf = ({ id }: ShareMember): number => shares.get(id)?.length ?? 0;
  const homeless: number[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const open = sorted.filter(
      (member) => member.mayOwn(partition) && sizeOf(member) < (capacities.get(member.id) ?? 0),
    );
    const owner = fondest(partition, open);
    if (owner === undefined) homeless.push(partition);
    else shares.get(owner.id)?.push(partition);
  }
  for (const partition of homeless) {
    const able = sorted.filter((member) => member.mayOwn(partition));
    const least = Math.min(...able.map(sizeOf));
    const owner = fondest(
      partition,
      able.filter((member) => sizeOf(member) === least),
    );
    if (owner !== undefined) shares.get(owner.id)?.push(partition);
  }
  for (const share of shares.values()) share.sort((a, b) => a - b);
  return shares;
}

/** The first members take one more where the division leaves a rest. */
function capacitiesOf(
  partitions: number,
  sorted: readonly ShareMember[],
): ReadonlyMap<string, number> {
  const least = Math.floor(partitions / Math.max(1, sorted.length));
  const rest = partitions - least * sorted.length;
  return new Map(sorted.map(({ id }, index) => [id, index < rest ? least + 1 : least]));
}

/** Highest random weight: each partition ranks the members in an order of its own. */
function fondest(partition: number, members: readonly ShareMember[]): ShareMember | undefined {
  let best: ShareMember | undefined;
  let bestWeight = 0;
  for (const member of members) {
    const weight = murmur2(`${partition}/${member.id}`);
    if (best !== undefined && weight <= bestWeight) continue;
    best = member;
    bestWeight = weight;
  }
  return best;
}
