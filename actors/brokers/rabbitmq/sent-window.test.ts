/** What is sent and not answered: numbers of a channel, in any order, alone and all up to one. */

import { expect, test } from "bun:test";

import * as fc from "fast-check";

import { SentWindow } from "./sent-window.ts";

test("each is answered once, in order, whatever the server answers and how", () => {
  const step = fc.record({
    added: fc.nat(5),
    number: fc.integer({ min: -1, max: 60 }),
    isAllUpTo: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const window = new SentWindow<number>();
      const open = new Set<number>();
      let last = 0;
      for (const { added, number, isAllUpTo } of steps) {
        for (let more = 0; more < added; more++) {
          open.add(++last);
          window.add(last);
        }
        const seen: number[] = [];
        window.answer(number, isAllUpTo, (item) => void seen.push(item));
        const expected = [...open].filter((item) => (isAllUpTo ? item <= number : item === number));
        for (const item of expected) open.delete(item);
        expect(seen).toEqual(expected);
        expect(window.size).toBe(open.size);
        expect(window.find(number)).toBe(open.has(number) ? number : undefined);
      }
    }),
  );
});

test("places are given back once all before them are answered, alone or at once", () => {
  const window = new SentWindow<number>();
  const seen: number[] = [];
  const take = (item: number): void => void seen.push(item);
  for (let number = 1; number <= 5_000; number++) {
    window.add(number);
    if (number > 3_000) window.answer(number, false, take);
  }
  // The first is open, and all behind it keep their places.
  expect([window.size, window.places]).toEqual([3_000, 5_000]);
  window.answer(2_000, true, take);
  expect([window.size, window.places]).toEqual([1_000, 3_000]);
  expect(window.find(2_001)).toBe(2_001);
  window.answer(3_000, true, take);
  expect([window.size, window.places, seen.length]).toEqual([0, 0, 5_000]);
  window.clear();
  window.add(7);
  expect(window.find(1)).toBe(7);
});
