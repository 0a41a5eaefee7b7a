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

test("an item that leaves twice is a bug and says so", () => {
  const lanes = createLanes<Item>();
  const item = { lane: "a", number: 1 };
  lanes.add(item);
  lanes.remove(item);
  expect(() => lanes.remove(item)).toThrow("left its lane twice");
});
