/**
 * Lanes against a model: whatever is added and taken out, exactly the first of each key is head.
 *
 * The model is an ordered list; a lane's head is the first item of its key in that list.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import { createLanes } from "./lanes.ts";

interface Item {
  readonly lane: string;
  readonly number: number;
}

const steps = fc.array(
  fc.oneof(
    fc.record({ add: fc.constantFrom("a", "b", "c") }),
    fc.record({ removeAt: fc.nat({ max: 20 }) }),
  ),
  { maxLength: 60 },
);

test("the head of a lane is the oldest of its key that is still there", () => {
  fc.assert(
    fc.property(steps, (script) => {
      const lanes = createLanes<Item>();
      const model: Item[] = [];
      const headOf = (lane: string): Item | undefined => model.find((item) => item.lane === lane);
      for (const [number, step] of script.entries()) {
        if ("add" in step) {
          const item = { lane: step.add, number };
          expect(lanes.add(item)).toBe(headOf(item.lane) === undefined);
          model.push(item);
        } else {
          const item = model[step.removeAt % Math.max(1, model.length)];
          if (item === undefined) continue;
          const wasHead = headOf(item.lane) === item;
          model.splice(model.indexOf(item), 1);
          const next = lanes.remove(item);
          expect(next).toBe(wasHead ? headOf(item.lane) : undefined);
        }
      }
    }),
  );
});

test("lanes are kept apart however many there are, and however alike their keys", () => {
  const lanes = createLanes<Item>();
  const many = Array.from({ length: 5_000 }, (_, number) => ({
    lane: `${"x".repeat(number % 3 === 0 ? 0 : 100)}${number >> 1}`,
    number,
  }));
  const seconds = many.filter((item) => !lanes.add(item));
  // Two numbers make a pair where both have the same prefix.
  const pairs = Map.groupBy(many, ({ lane }) => lane);
  expect(seconds).toEqual([...pairs.values()].flatMap(([, second]) => second ?? []));
  for (const [first, second] of pairs.values()) {
    if (first !== undefined) expect(lanes.remove(first)).toBe(second);
    if (second !== undefined) expect(lanes.remove(second)).toBeUndefined();
  }
  expect(many.filter((item) => lanes.add(item))).toHaveLength(pairs.size);
});

test("an item that leaves twice is a bug and says so", () => {
  const lanes = createLanes<Item>();
  const item = { lane: "a", number: 1 };
  lanes.add(item);
  lanes.remove(item);
  expect(() => lanes.remove(item)).toThrow("left its lane twice");
});
