/**
 * Who is in a group and who should own what, by what members say of themselves.
 *
 * Views are fed by hand; time is a number.
 */

import { expect, test } from "bun:test";

import type { Beat } from "./membership.ts";

import { isSettledGroup, Membership, parseBeat, rosterOf, shareOf } from "./membership.ts";

function beat(id: string, changes: Partial<Beat> = {}): Beat {
  const nothing = { shunned: {}, held: {}, roster: 0, isSettled: true };
  return { kind: "beat", id, topics: ["t"], ...nothing, ...changes };
}

test("a member is new once, changed when it says something else, and gone after its bye", () => {
  const view = new Membership();
  expect(view.hear(beat("a", { kind: "hello" }), 1)).toBe("new");
  expect(view.hear(beat("a"), 2)).toBe("same");
  expect(view.hear(beat("a", { held: { t: [1] } }), 3)).toBe("changed");
  expect(view.hear(beat("a", { kind: "bye" }), 4)).toBe("changed");
  expect(view.hear(beat("a", { kind: "bye" }), 5)).toBe("same");
  expect(view.others).toEqual([]);
});

test("shares depend on who is there and what they may own, not on what they hold", () => {
  const view = new Membership();
  const versions = [view.version];
  const note = (): void => void versions.push(view.version);
  view.hear(beat("a"), 1);
  note();
  view.hear(beat("a", { held: { t: [1, 2] }, roster: 7, isSettled: false }), 2);
  expect(view.version).toBe(versions.at(-1) ?? -1);
  view.hear(beat("a", { shunned: { t: [1] } }), 3);
  note();
  view.drop("a");
  note();
  expect(new Set(versions).size).toBe(4);
});

test("whoever was not heard for longer is silent, unless nobody could be heard", () => {
  const view = new Membership();
  view.hear(beat("a"), 1_000);
  view.hear(beat("b"), 2_000);
  expect(view.silent(3_500, 2_000)).toEqual(["a"]);
  view.excuse(3_500);
  expect(view.silent(3_600, 2_000)).toEqual([]);
});

test("listening begins anew after a time in which nobody could be heard", () => {
  const view = new Membership();
  view.excuse(1_000);
  expect(view.hasListened(3_000, 2_000)).toBe(false);
  expect(view.hasListened(3_001, 2_000)).toBe(true);
  view.excuse(3_001);
  expect(view.hasListened(3_002, 2_000)).toBe(false);
});

test("what others consume is known by topic", () => {
  const view = new Membership();
  view.hear(beat("a", { held: { t: [1, 2] } }), 1);
  view.hear(beat("b", { held: { t: [3], u: [4] } }), 1);
  expect([...view.heldElsewhere("t")].toSorted()).toEqual([1, 2, 3]);
  expect([...view.heldElsewhere("v")]).toEqual([]);
});

test("a partition that is shunned goes to another, unless all shun it", () => {
  const all = [0, 1, 2, 3];
  const lone = beat("a", { shunned: { t: [0, 1] } });
  expect(shareOf("a", "t", 4, [lone])).toEqual(all);
  const other = beat("b");
  const mine = shareOf("a", "t", 4, [lone, other]);
  const theirs = shareOf("b", "t", 4, [lone, other]);
  expect(theirs).toContain(0);
  expect(theirs).toContain(1);
  expect([...mine, ...theirs].toSorted()).toEqual(all);
  const both = [lone, beat("b", { shunned: { t: [0, 1] } })];
  expect([...shareOf("a", "t", 4, both), ...shareOf("b", "t", 4, both)].toSorted()).toEqual(all);
});

test("a partition of all topics has one owner, also when it is shunned for one of them", () => {
  const topics = ["t", "u"];
  const beats = [beat("a", { topics, shunned: { t: [0] } }), beat("b", { topics })];
  for (const me of ["a", "b"]) {
    expect(shareOf(me, "u", 8, beats)).toEqual(shareOf(me, "t", 8, beats));
  }
  expect(shareOf("b", "u", 8, beats)).toContain(0);
});

test("a member has no share of a topic it does not read, nor of partitions it did not name", () => {
  const beats = [beat("a", { topics: ["u"] }), beat("b", { partitions: [2, 3] })];
  expect(shareOf("a", "t", 4, beats)).toEqual([]);
  expect(shareOf("b", "t", 4, beats)).toEqual([2, 3]);
});

test("a group is at rest when all know the same members and each has what it should", () => {
  const roster = rosterOf(["a", "b"]);
  expect(roster).toBe(rosterOf(["b", "a"]));
  const mine = beat("a", { roster });
  expect(isSettledGroup(mine, [beat("b", { roster })])).toBe(true);
  expect(isSettledGroup(mine, [beat("b", { roster: rosterOf(["b"]) })])).toBe(false);
  expect(isSettledGroup(mine, [beat("b", { roster, isSettled: false })])).toBe(false);
  expect(isSettledGroup({ ...mine, isSettled: false }, [])).toBe(false);
});

test("what is no beat is nothing", () => {
  expect(parseBeat(JSON.stringify(beat("a")))).toEqual(beat("a"));
  const { held: _held, ...without } = beat("a");
  for (const text of ["", "{", "null", "{}", JSON.stringify(without)]) {
    expect(parseBeat(text)).toBeUndefined();
  }
});
