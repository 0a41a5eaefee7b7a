/**
 * Who owns what, as a table and as laws that hold for any crew. No I/O, no clock.
 */

import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";

import type { ShareMember } from "./fair-share.ts";

import { fairShare } from "./fair-share.ts";

const EIGHT = [0, 1, 2, 3, 4, 5, 6, 7];

function loads(share: ReadonlyMap<number, string>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const id of share.values()) counts[id] = (counts[id] ?? 0) + 1;
  return counts;
}

function all(id: string): ReadonlyMap<number, string> {
  return new Map(EIGHT.map((partition) => [partition, id]));
}

describe("shares", () => {
  test("go to the only member there is", () => {
    expect(fairShare(EIGHT, [{ id: "a" }], new Map())).toEqual(all("a"));
  });
  test("are halved when a second member comes", () => {
    const share = fairShare(EIGHT, [{ id: "a" }, { id: "b" }], all("a"));
    expect(loads(share)).toEqual({ a: 4, b: 4 });
  });
  test("do not change when they are as even as they can be", () => {
    const members = [{ id: "a" }, { id: "b" }, { id: "c" }];
    const first = fairShare(EIGHT, members, all("c"));
    expect(loads(first)).toEqual({ a: 3, b: 2, c: 3 });
    expect(fairShare(EIGHT, members, first)).toEqual(first);
  });
  test("of a member that is gone are spread over those who stay, who keep theirs", () => {
    const before = fairShare(EIGHT, [{ id: "a" }, { id: "b" }, { id: "c" }], new Map());
    const after = fairShare(EIGHT, [{ id: "a" }, { id: "b" }], before);
    expect(loads(after)).toEqual({ a: 4, b: 4 });
    for (const [partition, id] of before) if (id !== "c") expect(after.get(partition)).toBe(id);
  });
  test("are of partitions that a member may own", () => {
    const low = { id: "low", partitions: new Set([0, 1, 2]) };
    const high = { id: "high", partitions: new Set([3, 4, 5, 6]) };
    const share = fairShare(EIGHT, [low, high], new Map());
    expect(loads(share)).toEqual({ low: 3, high: 4 });
    expect(share.has(7)).toBe(false);
  });
  test("of an unwell member go to the others, unless nobody else may own them", () => {
    const unwell = { id: "a", isUnwell: true };
    expect(fairShare(EIGHT, [unwell, { id: "b" }], all("a"))).toEqual(all("b"));
    expect(fairShare(EIGHT, [unwell], all("a"))).toEqual(all("a"));
    const choosy = { id: "b", partitions: new Set([0]) };
    expect(loads(fairShare(EIGHT, [unwell, choosy], all("a")))).toEqual({ a: 7, b: 1 });
  });
  test("of nobody are nobody's", () => {
    expect(fairShare(EIGHT, [], all("a")).size).toBe(0);
  });
});

describe("for any crew", () => {
  const crews = fc.record({
    partitions: fc.integer({ min: 0, max: 40 }),
    members: fc.uniqueArray(fc.integer({ min: 0, max: 12 }), { minLength: 1, maxLength: 8 }),
    owners: fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 40 }),
  });
  test("shares differ by one at most, are complete, stable, and the same for everybody", () => {
    fc.assert(
      fc.property(crews, ({ partitions, members, owners }) => {
        const slots = Array.from({ length: partitions }, (_, slot) => slot);
        const crew: ShareMember[] = members.map((id) => ({ id: `m${id}` }));
        const before = new Map(owners.map((id, slot) => [slot, `m${id}`] as const));
        const share = fairShare(slots, crew, before);
        const counts = crew.map(({ id }) => [...share.values()].filter((own) => own === id).length);
        expect(share.size).toBe(partitions);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
        expect(fairShare(slots, crew.toReversed(), before)).toEqual(share);
        expect(fairShare(slots, crew, share)).toEqual(share);
      }),
    );
  });
});
