/**
 * Who gets which slots: evenly, as before, and never to a member that may not own them.
 *
 * Tables for what a person can check, properties for the rest. No I/O.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { Candidate } from "./slot-assigner.ts";

import { assignGroup, assignSlots, decodeWish, encodeWish } from "./slot-assigner.ts";

function member(id: string, wish: Partial<Candidate> = {}): Candidate {
  return { id, owned: [], avoids: [], ...wish };
}

function assigned(members: readonly Candidate[], slots: number): Record<string, readonly number[]> {
  return Object.fromEntries(assignSlots(members, slots));
}

describe("slots", () => {
  test.each<[string, readonly Candidate[], number, Record<string, number[]>]>([
    ["go to nobody when there is nobody", [], 4, {}],
    ["all go to the only member", [member("a")], 3, { a: [0, 1, 2] }],
    ["are shared evenly", [member("a"), member("b")], 4, { a: [0, 2], b: [1, 3] }],
    [
      "stay where they are when one joins, but for what it takes to be even",
      [member("a", { owned: [0, 1, 2, 3] }), member("b")],
      4,
      { a: [0, 1], b: [2, 3] },
    ],
    [
      "of one that left go to the others, who keep theirs",
      [member("a", { owned: [0, 3] }), member("b", { owned: [1, 4] })],
      6,
      { a: [0, 2, 3], b: [1, 4, 5] },
    ],
    [
      "that a member names are its own",
      [member("a", { slots: [0, 1, 2] }), member("b", { slots: [3] })],
      5,
      { a: [0, 1, 2], b: [3] },
    ],
    [
      "that a member cannot cope with go to another",
      [member("a", { owned: [0, 1], avoids: [0] }), member("b", { owned: [2, 3] })],
      4,
      { a: [1, 3], b: [0, 2] },
    ],
    [
      "that nobody can cope with go to somebody all the same",
      [member("a", { avoids: [0, 1] })],
      2,
      { a: [0, 1] },
    ],
  ])("%s", (_what, members, slots, expected) => {
    expect(assigned(members, slots)).toEqual(expected);
  });

  const slotNumbers = fc.uniqueArray(fc.nat(15), { maxLength: 16 });
  const members = fc.uniqueArray(
    fc.record({
      id: fc.string({ minLength: 1, maxLength: 3 }),
      owned: slotNumbers,
      avoids: slotNumbers,
      slots: fc.option(slotNumbers, { nil: undefined }),
    }),
    { maxLength: 6, selector: ({ id }) => id },
  );
  const toCandidate = ({
    slots,
    ...rest
  }: {
    readonly id: string;
    readonly owned: number[];
    readonly avoids: number[];
    readonly slots: number[] | undefined;
  }): Candidate => (slots === undefined ? rest : { ...rest, slots });

  test("have one owner each that may own them, whatever members say", () => {
    fc.assert(
      fc.property(members, fc.integer({ min: 1, max: 16 }), (said, slots) => {
        const candidates = said.map(toCandidate);
        const hands = assignSlots(candidates, slots);
        const all = [...hands.values()].flat();
        expect(new Set(all).size).toBe(all.length);
        for (let slot = 0; slot < slots; slot++) {
          const able = candidates.filter((each) => each.slots?.includes(slot) ?? true);
          expect(all.includes(slot)).toBe(able.length > 0);
        }
        for (const { id, slots: named } of candidates) {
          for (const slot of hands.get(id) ?? []) expect(named?.includes(slot) ?? true).toBe(true);
        }
        expect(Object.fromEntries(assignSlots(candidates.toReversed(), slots))).toEqual(
          Object.fromEntries(hands),
        );
      }),
    );
  });

  test("of members without wishes differ by one at most, and stay with who has them", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 64 }),
        (count, slots) => {
          const first = Array.from({ length: count }, (_, index) => member(`m${index}`));
          const hands = assignSlots(first, slots);
          const sizes = [...hands.values()].map(({ length }) => length);
          expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
          const again = first.map(({ id }) => member(id, { owned: hands.get(id) ?? [] }));
          expect(Object.fromEntries(assignSlots(again, slots))).toEqual(Object.fromEntries(hands));
        },
      ),
    );
  });
});

describe("the answer to the group", () => {
  test("gives partition i of every topic to one member, as far as the topic goes", () => {
    const joined = ["a", "b"].map((id) => ({
      id,
      userData: encodeWish({ owned: [], avoids: [] }),
    }));
    const answer = assignGroup(
      joined,
      new Map([
        ["x", 4],
        ["y", 2],
      ]),
    );
    expect(answer.get("a")).toEqual(
      new Map([
        ["x", [0, 2]],
        ["y", [0]],
      ]),
    );
    expect(answer.get("b")).toEqual(
      new Map([
        ["x", [1, 3]],
        ["y", [1]],
      ]),
    );
  });

  test("gives nobody what another has not let go of", () => {
    const joined = [
      { id: "a", userData: encodeWish({ owned: [0, 1, 2, 3], avoids: [] }) },
      { id: "b", userData: encodeWish({ owned: [], avoids: [] }) },
    ];
    const answer = assignGroup(joined, new Map([["x", 4]]));
    expect(answer.get("a")).toEqual(new Map([["x", [0, 1]]]));
    expect(answer.get("b")).toEqual(new Map([["x", []]]));
    const later = [
      { ...joined[0]!, userData: encodeWish({ owned: [0, 1], avoids: [] }) },
      joined[1]!,
    ]; // `!`: two above
    expect(assignGroup(later, new Map([["x", 4]])).get("b")).toEqual(new Map([["x", [2, 3]]]));
  });

  test("wishes go round, and what is none counts as none", () => {
    const wish = { owned: [1], avoids: [2], slots: [1, 2] };
    expect(decodeWish(encodeWish(wish))).toEqual(wish);
    for (const text of ["", "7", "null", '{"owned":"x"}', '{"owned":[1.5,"a"]}']) {
      expect(decodeWish(new TextEncoder().encode(text))).toEqual({ owned: [], avoids: [] });
    }
  });
});
