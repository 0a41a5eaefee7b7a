/**
 * What a member does about its partitions, given how the group stands: data to data.
 *
 * It refuses nothing and asks nobody; the server has the last word on every claim.
 */

import type { ShareMember } from "./fair-share.ts";

import { fairShare } from "./fair-share.ts";
import { list, pairs, text } from "./redis-reply.ts";

/** As every member of the group sees it. */
export interface GroupSnapshot {
  readonly members: readonly ShareMember[];
  /** `member:epoch` by partition; the member may be gone. */
  readonly fences: ReadonlyMap<number, string>;
}

export interface MembershipPlan {
  /** Held here, by the server another's. */
  readonly lost: readonly number[];
  /** To be taken. */
  readonly claim: readonly number[];
  /** Held here, and to go to another. */
  readonly give: readonly number[];
  /** Not held here, but by the server still this member's: partition and fence. */
  readonly release: readonly (readonly [number, string])[];
  /** Others still hold some of its share. */
  readonly isHungry: boolean;
}

export function planOf(
  me: string,
  partitions: readonly number[],
  held: ReadonlyMap<number, string>,
  { members, fences }: GroupSnapshot,
): MembershipPlan {
  const alive = new Set(members.map(({ id }) => id));
  const owners = new Map<number, string>();
  for (const [partition, fence] of fences) {
    const owner = ownerIn(fence);
    if (alive.has(owner)) owners.set(partition, owner);
  }
  const share = fairShare(partitions, members, owners);
  const isMine = (partition: number) => share.get(partition) === me;
  const lost = [...held].flatMap(([partition, fence]) =>
    fences.get(partition) === fence ? [] : [partition],
  );
  const kept = new Set([...held.keys()].filter((partition) => !lost.includes(partition)));
  const missing = partitions.filter((partition) => isMine(partition) && !kept.has(partition));
  const claim = missing.filter((partition) => (owners.get(partition) ?? me) === me);
  const release = [...fences].filter(
    ([partition, fence]) => ownerIn(fence) === me && !kept.has(partition) && !isMine(partition),
  );
  return {
    lost,
    claim,
    give: [...kept].filter((partition) => !isMine(partition)),
    release,
    isHungry: claim.length < missing.length,
  };
}

/** What a member tells the others of itself. */
export function encodeMember(partitions: readonly number[] | undefined, isUnwell: boolean): string {
  return JSON.stringify({ partitions, isUnwell });
}

function decodeMember(id: string, told: string): ShareMember {
  // Written by `encodeMember`; empty when the member has left in between.
  const { partitions, isUnwell } = (told === "" ? {} : JSON.parse(told)) as {
    readonly partitions?: readonly number[];
    readonly isUnwell?: boolean;
  };
  return {
    id,
    ...(partitions === undefined ? {} : { partitions: new Set(partitions) }),
    ...(isUnwell === true ? { isUnwell } : {}),
  };
}

/** The answer to a sign of life; `undefined` when others of the group name other types. */
export function snapshotOf(reply: unknown): GroupSnapshot | undefined {
  const [, members, owners] = list(reply);
  if (members === undefined) return undefined;
  return {
    members: pairs(members).map(([id, told]) => decodeMember(id, told)),
    fences: new Map(pairs(owners).map(([partition, fence]) => [Number(partition), fence])),
  };
}

/** One name for each set of types; absent is a name of its own: all. */
export function typesName(types: readonly number[] | undefined): string {
  if (types === undefined) return "all";
  return [...new Set(types)].toSorted((one, other) => one - other).join(",");
}

export function fenceOf(member: string, epoch: number): string {
  return `${member}:${epoch}`;
}

function ownerIn(fence: string): string {
  return fence.slice(0, fence.lastIndexOf(":"));
}

/** Whether the same members were there before. */
export function crewName({ members }: GroupSnapshot): string {
  return text(members.map(({ id, isUnwell }) => `${id}${isUnwell === true ? "!" : ""}`).join(" "));
}
