/**
 * The index of a partition is compared with an array of ids, over pushes, pops and shifts. Growing
 * and shrinking must not be noticed.
 */

import { expect, test } from "bun:test";
import * as fc from "fast-check";

import { createPartitionIndex } from "./partition-index.ts";

const operation = fc.oneof(
  { weight: 6, arbitrary: fc.constant("push" as const) },
  { weight: 1, arbitrary: fc.constant("pop" as const) },
  { weight: 4, arbitrary: fc.constant("shift" as const) },
  { weight: 1, arbitrary: fc.constant("unshift" as const) },
);

test("ids are found by sequence while records come and go at both ends", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 800 }), (operations) => {
      const index = createPartitionIndex(5);
      const model: number[] = [];
      const shifted: number[] = [];
      let first = 5;
      let nextId = 1;
      for (const one of operations) {
        if (one === "push") {
          index.push(nextId);
          model.push(nextId++);
        } else if (one === "unshift") {
          const id = shifted.pop();
          if (id === undefined) continue;
          index.unshift(id);
          model.unshift(id);
          first--;
        } else if (model.length > 0 && one === "pop") {
          index.pop();
          model.pop();
        } else if (model.length > 0) {
          index.shift();
          shifted.push(model.shift() ?? 0);
          first++;
        }
      }
      expect(index.first()).toBe(first);
      expect(index.last()).toBe(first + model.length - 1);
      expect(index.idOf(first - 1)).toBeUndefined();
      expect(index.idOf(first + model.length)).toBeUndefined();
      expect(model.map((_, at) => index.idOf(first + at))).toEqual(model);
    }),
    { numRuns: 60 },
  );
});

test("a large backlog that drains is forgotten and can grow again", () => {
  const index = createPartitionIndex(1);
  for (let round = 0; round < 3; round++) {
    const from = index.last() + 1;
    for (let id = from; id < from + 5_000; id++) index.push(id);
    expect(index.idOf(from + 4_999)).toBe(from + 4_999);
    while (index.first() <= from + 4_990) index.shift();
    expect(index.idOf(from + 4_995)).toBe(from + 4_995);
    while (index.first() <= index.last()) index.shift();
  }
  expect([index.first(), index.last()]).toEqual([15_001, 15_000]);
});
