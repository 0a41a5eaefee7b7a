/**
 * The roster against a plain list: what is in it, and in which order, whatever drops out.
 *
 * Things drop out one by one and in bulk, and some are taken from the front meanwhile.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import { Roster } from "./roster.ts";

interface Thing {
  readonly number: number;
  isIn: boolean;
}

const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ add: fc.integer({ min: 1, max: 40 }) }) },
    { weight: 3, arbitrary: fc.record({ drop: fc.nat({ max: 200 }) }) },
    { weight: 1, arbitrary: fc.record({ take: fc.integer({ min: 1, max: 60 }) }) },
  ),
  { maxLength: 80 },
);

test("a roster has what was added and has not dropped out or been taken, in order", () => {
  fc.assert(
    fc.property(steps, (script) => {
      const roster = new Roster<Thing>(({ isIn }) => isIn);
      let model: Thing[] = [];
      let number = 0;
      for (const step of script) {
        if ("add" in step) {
          for (let left = step.add; left > 0; left--) {
            const thing = { number: number++, isIn: true };
            roster.add(thing);
            model.push(thing);
          }
        } else if ("take" in step) {
          for (let left = step.take; left > 0; left--) {
            expect(roster.first()).toBe(model[0]);
            expect(roster.take()).toBe(model.shift());
          }
        } else {
          const dropped = model[step.drop % Math.max(1, model.length)];
          if (dropped === undefined) continue;
          dropped.isIn = false;
          model = model.filter(({ isIn }) => isIn);
          roster.droppedOut();
        }
        expect([...roster]).toEqual(model);
      }
    }),
  );
});

test("everything may drop out while the roster is gone through", () => {
  const roster = new Roster<Thing>(({ isIn }) => isIn);
  for (let number = 0; number < 100; number++) roster.add({ number, isIn: true });
  const seen: number[] = [];
  for (const thing of roster) {
    seen.push(thing.number);
    thing.isIn = false;
    roster.droppedOut();
  }
  expect(seen).toHaveLength(100);
  roster.add({ number: 100, isIn: true });
  expect([...roster].map(({ number }) => number)).toEqual([100]);
});
