/**
 * What a member does about its partitions, as a table of how the group stands. No I/O, no clock.
 */

import { describe, expect, test } from "bun:test";

import type { GroupSnapshot } from "./membership-plan.ts";

import { encodeMember, fenceOf, planOf, snapshotOf, typesName } from "./membership-plan.ts";

const FOUR = [0, 1, 2, 3];

function snapshot(ids: readonly string[], fences: Record<number, string>): GroupSnapshot {
  return {
    members: ids.map((id) => ({ id })),
    fences: new Map(Object.entries(fences).map(([at, fence]) => [Number(at), fence])),
  };
}

function plan(
  ids: readonly string[],
  fences: Record<number, string>,
  held: Record<number, string>,
) {
  const mine = new Map(Object.entries(held).map(([at, fence]) => [Number(at), fence]));
  return planOf("me", FOUR, mine, snapshot(ids, fences));
}

const NOTHING = { lost: [], claim: [], give: [], release: [], isHungry: false };

describe("a member", () => {
  test("takes everything when it is alone", () => {
    expect(plan(["me"], {}, {})).toEqual({ ...NOTHING, claim: FOUR });
  });
  test("takes what belonged to one that is gone", () => {
    const fences = { 0: "me:1", 1: "gone:4", 2: "me:1", 3: "gone:2" };
    expect(plan(["me"], fences, { 0: "me:1", 2: "me:1" })).toEqual({ ...NOTHING, claim: [1, 3] });
  });
  test("waits for its share while others hold it", () => {
    const fences = { 0: "you:1", 1: "you:1", 2: "you:1", 3: "you:1" };
    expect(plan(["me", "you"], fences, {})).toEqual({ ...NOTHING, isHungry: true });
  });
  test("gives up what is more than its share", () => {
    const all = { 0: "me:1", 1: "me:1", 2: "me:1", 3: "me:1" };
    const { give, ...rest } = plan(["me", "you"], all, all);
    expect(give).toHaveLength(2);
    expect({ ...rest, give: [] }).toEqual(NOTHING);
  });
  test("has lost what is another's, or was claimed again under its own name", () => {
    const fences = { 0: "me:1", 1: "you:2", 2: "me:9", 3: "you:1" };
    const { lost, claim } = plan(["me", "you"], fences, { 0: "me:1", 1: "me:1", 2: "me:1" });
    expect(lost).toEqual([1, 2]);
    expect(claim).toEqual([2]);
  });
  test("claims again what the server still has as its own, and it has forgotten", () => {
    const fences = { 0: "me:1", 1: "me:1", 2: "you:1", 3: "you:1" };
    expect(plan(["me", "you"], fences, {})).toEqual({ ...NOTHING, claim: [0, 1] });
  });
  test("releases what it has forgotten and should not have", () => {
    const fences = { 0: "me:1", 1: "me:1", 2: "me:5", 3: "you:1" };
    const { release, claim } = plan(["me", "you"], fences, { 0: "me:1", 1: "me:1" });
    expect(release).toEqual([[2, "me:5"]]);
    expect(claim).toEqual([]);
  });
  test("does nothing when it has its share", () => {
    const fences = { 0: "me:1", 1: "me:1", 2: "you:1", 3: "you:1" };
    expect(plan(["me", "you"], fences, { 0: "me:1", 1: "me:1" })).toEqual(NOTHING);
  });
});

describe("the server's answer", () => {
  test("is read as members, what they may own, and fences", () => {
    const told = encodeMember([1, 2], true);
    const reply = ["all", ["a", told, "b", encodeMember(undefined, false), "c", ""], ["7", "a:3"]];
    expect(snapshotOf(reply)).toEqual({
      members: [{ id: "a", partitions: new Set([1, 2]), isUnwell: true }, { id: "b" }, { id: "c" }],
      fences: new Map([[7, fenceOf("a", 3)]]),
    });
  });
  test("that others name other types is no snapshot", () => {
    expect(snapshotOf(["1,2"])).toBeUndefined();
  });
});

test("types have one name whatever their order, and all of them another", () => {
  expect(typesName([3, 1, 1])).toBe(typesName([1, 3]));
  expect(typesName(undefined)).not.toBe(typesName([]));
});
