/**
 * What is in hand of a partition, against a `Map`: any sequence may go, in any order.
 *
 * The sequences have gaps, since those that are settled are not handed out.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import { InvariantError } from "../../runtime/errors.ts";
import { PartitionHand } from "./partition-hand.ts";

const steps = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ add: fc.integer({ min: 1, max: 3 }) }) },
    { weight: 4, arbitrary: fc.record({ take: fc.nat({ max: 300 }) }) },
    { weight: 1, arbitrary: fc.record({ renew: fc.nat({ max: 300 }) }) },
  ),
  { maxLength: 300 },
);

test("a hand has what was added and not taken, with its bytes and its lease", () => {
  fc.assert(
    fc.property(steps, (script) => {
      const hand = new PartitionHand();
      const model = new Map<number, { bytes: number; fromMs: number }>();
      let sequence = 0;
      for (const [nowMs, step] of script.entries()) {
        if ("add" in step) {
          sequence += step.add;
          hand.add(sequence, nowMs + 80, nowMs);
          model.set(sequence, { bytes: nowMs + 80, fromMs: nowMs });
        } else if ("take" in step) {
          const taken = step.take % (sequence + 2);
          expect(hand.take(taken)).toBe(model.get(taken)?.bytes);
          model.delete(taken);
          expect(hand.has(taken)).toBe(false);
        } else {
          const renewed = step.renew % (sequence + 2);
          const held = model.get(renewed);
          expect(hand.renew(renewed, nowMs)).toBe(held !== undefined);
          if (held !== undefined) held.fromMs = nowMs;
        }
        expect(hand.size).toBe(model.size);
        expect([...hand.entries()]).toEqual([...model].map(([at, { bytes }]) => [at, bytes]));
        const oldestMs = Math.min(...[...model.values()].map(({ fromMs }) => fromMs));
        expect(hand.hasLeaseBefore(oldestMs)).toBe(false);
        if (model.size > 0) expect(hand.hasLeaseBefore(oldestMs + 1)).toBe(true);
      }
    }),
  );
});

test("a sequence below one that is in is refused", () => {
  const hand = new PartitionHand();
  hand.add(7, 100, 0);
  expect(() => hand.add(7, 100, 0)).toThrow(InvariantError);
});
