/**
 * Who gets which partitions of a group, decided by its leader: by slot, evenly, and as before.
 *
 * Partition i of every topic of the group goes to one member, so that a key has one owner whatever
 * topic it comes on. What moves goes by way of nobody: as long as its owner claims it, no other is
 * given it, and everybody else works on meanwhile (Kafka's KIP-429, in the assigner).
 * A slot stays with its owner unless that would leave the members uneven; a member that could not
 * cope with a slot gets it only if nobody else may have it. A slot that no member names is left to
 * nobody. Pure: the same members give the same answer, in any order.
 */

import type { GroupAssignment, JoinedMember } from "./kafka-driver.ts";

/** What a member tells the leader. */
export interface MemberWish {
  /** Slots it may own; absent: any. */
  readonly slots?: readonly number[];
  /** Slots it has and has not let go of. */
  readonly owned: readonly number[];
  /** Slots it held too long: better with another. */
  readonly avoids: readonly number[];
}

export interface Candidate extends MemberWish {
  readonly id: string;
}

const NO_WISH: MemberWish = { owned: [], avoids: [] };

/** Slots by member's id; every member has an entry. */
export function assignSlots(
  members: readonly Candidate[],
  slots: number,
): ReadonlyMap<string, readonly number[]> {
  const ordered = members.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const hands = new Map<string, number[]>(ordered.map(({ id }) => [id, []]));
  if (ordered.length === 0) return hands;
  const sizeMax = Math.ceil(slots / ordered.length);
  const open: number[] = [];
  for (let slot = 0; slot < slots; slot++) {
    const owner = eligible(ordered, slot).find(({ owned }) => owned.includes(slot));
    const hand = owner === undefined ? undefined : handOf(hands, owner.id);
    if (hand !== undefined && hand.length < sizeMax) hand.push(slot);
    else open.push(slot);
  }
  for (const slot of open) {
    const poorest = smallest(hands, eligible(ordered, slot));
    if (poorest !== undefined) handOf(hands, poorest.id).push(slot);
  }
  level(ordered, hands, slots);
  return new Map(ordered.map(({ id }) => [id, handOf(hands, id).toSorted((a, b) => a - b)]));
}

/** The answer to the group's leader, of all topics. */
export function assignGroup(
  members: readonly JoinedMember[],
  partitions: ReadonlyMap<string, number>,
): GroupAssignment {
  const slots = Math.max(0, ...partitions.values());
  const candidates = members.map(({ id, userData }) => ({ id, ...decodeWish(userData) }));
  const bySlot = assignSlots(candidates, slots);
  return new Map(
    [...bySlot].map(([id, target]) => {
      const free = target.filter((slot) => !isClaimed(candidates, slot, id));
      const byTopic = [...partitions].map(
        ([topic, count]) => [topic, free.filter((slot) => slot < count)] as const,
      );
      return [id, new Map(byTopic)];
    }),
  );
}

/** Another than `id` has not let go of it yet. */
function isClaimed(members: readonly Candidate[], slot: number, id: string): boolean {
  return members.some((each) => each.id !== id && each.owned.includes(slot));
}

export function encodeWish(wish: MemberWish): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(wish));
}

/** Of bytes that say nothing sound: no wish. */
export function decodeWish(bytes: Uint8Array): MemberWish {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof value !== "object" || value === null) return NO_WISH;
    const slots: unknown = Reflect.get(value, "slots");
    return {
      ...(slots === undefined ? {} : { slots: numbersOf(slots) }),
      owned: numbersOf(Reflect.get(value, "owned")),
      avoids: numbersOf(Reflect.get(value, "avoids")),
    };
  } catch {
    return NO_WISH;
  }
}

/** Moves slots from the largest hands to the smallest while that evens them out. */
function level(
  members: readonly Candidate[],
  hands: ReadonlyMap<string, number[]>,
  slots: number,
): void {
  // Each move brings two hands closer together, so there are fewer of them than slots.
  for (let moves = 0; moves < slots; moves++) {
    const move = moveOf(members, hands);
    if (move === undefined) return;
    const from = handOf(hands, move.from);
    from.splice(from.indexOf(move.slot), 1);
    handOf(hands, move.to).push(move.slot);
  }
}

function moveOf(
  members: readonly Candidate[],
  hands: ReadonlyMap<string, number[]>,
): { readonly from: string; readonly to: string; readonly slot: number } | undefined {
  const bySize = members.toSorted((a, b) => sizeOf(hands, b.id) - sizeOf(hands, a.id));
  for (const { id: from } of bySize) {
    // From the end: what was last to come is first to go.
    for (const slot of handOf(hands, from).toReversed()) {
      const to = smallest(hands, eligible(members, slot));
      if (to !== undefined && sizeOf(hands, to.id) < sizeOf(hands, from) - 1) {
        return { from, to: to.id, slot };
      }
    }
  }
  return undefined;
}

function eligible(members: readonly Candidate[], slot: number): readonly Candidate[] {
  const able = members.filter(({ slots }) => slots === undefined || slots.includes(slot));
  const willing = able.filter(({ avoids }) => !avoids.includes(slot));
  return willing.length > 0 ? willing : able;
}

function smallest(
  hands: ReadonlyMap<string, number[]>,
  candidates: readonly Candidate[],
): Candidate | undefined {
  let found: Candidate | undefined;
  for (const each of candidates) {
    if (found === undefined || sizeOf(hands, each.id) < sizeOf(hands, found.id)) found = each;
  }
  return found;
}

function handOf(hands: ReadonlyMap<string, number[]>, id: string): number[] {
  return hands.get(id) ?? [];
}

function sizeOf(hands: ReadonlyMap<string, number[]>, id: string): number {
  return handOf(hands, id).length;
}

function numbersOf(value: unknown): readonly number[] {
  if (!Array.isArray(value)) return [];
  return value.filter((each): each is number => Number.isSafeInteger(each));
}
