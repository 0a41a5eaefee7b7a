/**
 * A settled set is compared with a plain `Set`, step by step, and through its bytes. It must never
 * forget a sequence, nor count one that was not settled.
 */

import { expect, test } from "bun:test";
import * as fc from "fast-check";

import type { SettledSet } from "./settled-set.ts";

import {
  addSettled,
  addSettledRange,
  decodeSettled,
  encodeSettled,
  hasSettled,
  nextUnsettled,
  settledAbove,
  settleThrough,
} from "./settled-set.ts";

const SEQUENCES_MAX = 40;
const sequences = fc.array(fc.integer({ min: 1, max: SEQUENCES_MAX }), { maxLength: 120 });

function setOf(position: number, added: readonly number[]): SettledSet {
  const set = { position, ranges: [] };
  for (const sequence of added) addSettled(set, sequence);
  return set;
}

test("acks in any order, repeated or not, are answered and kept as a plain set would", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 10 }), sequences, (start, added) => {
      const set: SettledSet = { position: start, ranges: [] };
      const model = new Set(Array.from({ length: start }, (_, index) => index + 1));
      for (const sequence of added) {
        expect(addSettled(set, sequence)).toBe(!model.has(sequence));
        model.add(sequence);
      }
      for (let at = 1; at <= SEQUENCES_MAX + 1; at++) {
        expect(hasSettled(set, at)).toBe(model.has(at));
      }
      const above = [...model].filter((sequence) => sequence > set.position);
      expect(settledAbove(set)).toEqual(above.toSorted((a, b) => a - b));
      expect(model.has(set.position + 1)).toBe(false);
    }),
  );
});

test("a range is added as its sequences one by one would be", () => {
  const edge = fc.integer({ min: 1, max: SEQUENCES_MAX });
  fc.assert(
    fc.property(sequences, edge, edge, (added, a, b) => {
      const [first, last] = [Math.min(a, b), Math.max(a, b)];
      const set = setOf(0, added);
      addSettledRange(set, first, last);
      const each = Array.from({ length: last - first + 1 }, (_, index) => first + index);
      expect(set).toEqual(setOf(0, [...added, ...each]));
    }),
  );
});

test("the next unsettled sequence is the lowest from there on that is not in the set", () => {
  fc.assert(
    fc.property(sequences, fc.integer({ min: 1, max: SEQUENCES_MAX }), (added, from) => {
      const set = setOf(0, added);
      let expected = from;
      while (hasSettled(set, expected)) expected++;
      expect(nextUnsettled(set, from)).toBe(expected);
    }),
  );
});

test("ranges never touch each other or the position, so their number is the least possible", () => {
  fc.assert(
    fc.property(sequences, (added) => {
      const { position, ranges } = setOf(0, added);
      let before = position;
      for (let at = 0; at < ranges.length; at += 2) {
        const start = ranges[at] ?? 0;
        const end = ranges[at + 1] ?? 0;
        expect(start).toBeGreaterThan(before + 1);
        expect(end).toBeGreaterThanOrEqual(start);
        before = end;
      }
    }),
  );
});

test("sets survive their bytes, positions beyond 32 bits included", () => {
  const position = fc.oneof(fc.nat(100), fc.integer({ min: 2 ** 31, max: 2 ** 52 }));
  const sets = fc.array(fc.tuple(position, sequences), { maxLength: 8 });
  fc.assert(
    fc.property(sets, (made) => {
      const before = made.map(([at, added]) =>
        setOf(
          at,
          added.map((sequence) => at + sequence),
        ),
      );
      expect(decodeSettled(encodeSettled(before), before.length)).toEqual(before);
    }),
  );
});

test("bytes that end early or go on too long are refused", () => {
  const bytes = encodeSettled([setOf(300, [305, 306, 400]), setOf(0, [2])]);
  expect(() => decodeSettled(bytes.subarray(0, bytes.length - 1), 2)).toThrow("end in the middle");
  expect(() => decodeSettled(Uint8Array.of(...bytes, 0), 2)).toThrow("left over");
});

test("settling all up to a sequence is settling each up to it", () => {
  fc.assert(
    fc.property(fc.nat(10), sequences, fc.nat(SEQUENCES_MAX), (start, added, through) => {
      const one = setOf(start, added);
      const each = setOf(start, added);
      for (let sequence = 1; sequence <= through; sequence++) addSettled(each, sequence);
      expect(settleThrough(one, through)).toBe(through > setOf(start, added).position);
      expect(one).toEqual(each);
    }),
  );
});
