/**
 * Who should own which partition, given who owns what now.
 *
 * Every member computes it from the same snapshot and comes to the same answer, so nobody has to
 * decide for the others. What is owned stays where it is as far as the shares allow: members that
 * may own the same differ by one partition at most, and nothing moves without that being why. A
 * partition that no member may own is left out.
 */

export interface ShareMember {
  readonly id: string;
  /** Partitions it may own; absent: any. */
  readonly partitions?: ReadonlySet<number>;
  /** It let deliveries wait too long: it owns only what nobody else may. */
  readonly isUnwell?: boolean;
}

/** The owner of each of `partitions`. */
export function fairShare(
  partitions: readonly number[],
  members: readonly ShareMember[],
  owners: ReadonlyMap<number, string>,
): ReadonlyMap<number, string> {
  const ranked = members.toSorted((one, other) => (one.id < other.id ? -1 : 1));
  const held = new Map<string, number[]>(ranked.map(({ id }) => [id, []]));
  const mayOwn = eligibility(ranked);
  const orphans: number[] = [];
  for (const partition of partitions) {
    const owner = owners.get(partition);
    const stays = mayOwn(partition).some(({ id }) => id === owner);
    if (stays && owner !== undefined) held.get(owner)?.push(partition);
    else orphans.push(partition);
  }
  for (const partition of orphans) {
    const taker = leastLoaded(mayOwn(partition), held);
    if (taker !== undefined) held.get(taker.id)?.push(partition);
  }
  while (moveOne(ranked, held, mayOwn));
  const share = new Map<number, string>();
  for (const [id, own] of held) for (const partition of own) share.set(partition, id);
  return share;
}

type Eligible = (partition: number) => readonly ShareMember[];

function eligibility(members: readonly ShareMember[]): Eligible {
  const well = members.filter(({ isUnwell }) => isUnwell !== true);
  const isChoosy = members.some(({ partitions }) => partitions !== undefined);
  if (!isChoosy) return () => (well.length > 0 ? well : members);
  return (partition) => {
    const may = ({ partitions }: ShareMember) => partitions?.has(partition) ?? true;
    const fit = well.filter(may);
    return fit.length > 0 ? fit : members.filter(may);
  };
}

/** Moves one partition from who has more to who has less; false when that would not help. */
function moveOne(
  members: readonly ShareMember[],
  held: ReadonlyMap<string, number[]>,
  mayOwn: Eligible,
): boolean {
  const byLoad = members.toSorted((one, other) => load(held, other.id) - load(held, one.id));
  for (const giver of byLoad) {
    const own = held.get(giver.id) ?? [];
    for (let at = own.length - 1; at >= 0; at--) {
      const partition = own[at]!; // `!`: within the loop's bound
      const taker = leastLoaded(mayOwn(partition), held);
      if (taker === undefined || own.length - load(held, taker.id) < 2) continue;
      own.splice(at, 1);
      held.get(taker.id)?.push(partition);
      return true;
    }
  }
  return false;
}

function leastLoaded(
  members: readonly ShareMember[],
  held: ReadonlyMap<string, number[]>,
): ShareMember | undefined {
  let least: ShareMember | undefined;
  for (const member of members) {
    if (least === undefined || load(held, member.id) < load(held, least.id)) least = member;
  }
  return least;
}

function load(held: ReadonlyMap<string, number[]>, id: string): number {
  return held.get(id)?.length ?? 0;
}
