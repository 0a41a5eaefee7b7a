/**
 * Shares of a group: even, complete, the same for everybody, and steady.
 *
 * Properties over groups of many sizes; nothing is expected of a particular member.
 */

import { expect, test } from "bun:test";

import type { ShareMember } from "./member-shares.ts";

import { memberShares } from "./member-shares.ts";

function group(count: number, mayOwn: ShareMember["mayOwn"] = () => true): ShareMember[] {
  return Array.from({ length: count }, (_, index) => ({ id: `member-${index}`, mayOwn }));
}

function ownersOf(shares: ReadonlyMap<string, readonly number[]>): Map<number, string> {
  const owners = new Map<number, string>();
  for (const [id, partitions] of shares) {
    for (const partition of partitions) {
      expect(owners.has(partition)).toBe(false);
      owners.set(partition, id);
    }
  }
  return owners;
}

test("every partition has one owner, and no member has two more than another", () => {
  for (const partitions of [1, 7, 8, 64]) {
    for (let members = 1; members <= 70; members++) {
      const shares = memberShares(partitions, group(members));
      expect(ownersOf(shares).size).toBe(partitions);
      const sizes = [...shares.values()].map(({ length }) => length);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
    }
  }
});

test("members agree, in whatever order they heard of each other", () => {
  const members = group(9);
  expect(memberShares(64, members.toReversed())).toEqual(memberShares(64, members));
});

test("a member that comes or goes moves a small part of what others have", () => {
  for (const count of [2, 3, 8, 16]) {
    const before = ownersOf(memberShares(64, group(count)));
    const after = ownersOf(memberShares(64, group(count + 1)));
    const moved = [...before].filter(([partition, id]) => after.get(partition) !== id).length;
    expect(moved).toBeGreaterThan(0);
    expect(moved).toBeLessThan(64 / 2 + 8);
  }
});

test("a member owns nothing that it may not, and what nobody may own is nobody's", () => {
  const low = { id: "low", mayOwn: (partition: number) => partition < 4 };
  const high = { id: "high", mayOwn: (partition: number) => partition >= 4 && partition < 7 };
  const shares = memberShares(8, [low, high]);
  expect(shares.get("low")).toEqual([0, 1, 2, 3]);
  expect(shares.get("high")).toEqual([4, 5, 6]);
});

test("a member that is the only one able takes more than its share", () => {
  const shares = memberShares(8, [
    { id: "able", mayOwn: () => true },
    { id: "unable", mayOwn: () => false },
  ]);
  expect(shares.get("able")).toHaveLength(8);
  expect(shares.get("unable")).toEqual([]);
});

test("a group without members has no shares", () => {
  expect(memberShares(8, []).size).toBe(0);
});
