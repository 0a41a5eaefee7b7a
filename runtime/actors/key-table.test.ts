/**
 * The table of keyed things, against a map.
 *
 * No I/O.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import { InvariantError } from "../errors.ts";
import type { Keyed } from "./key-table.ts";
import { KeyTable } from "./key-table.ts";

class Thing implements Keyed<Thing> {
  readonly key: string;
  nextOfBucket: Thing | undefined;

  constructor(key: string) {
    this.key = key;
  }
}

test("holds what a map would hold, however it churns", () => {
  const step = fc.record({ key: fc.nat({ max: 300 }), isAdded: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 600, size: "max" }), (steps) => {
      const table = new KeyTable<Thing>();
      const model = new Map<string, Thing>();
      for (const { key: number, isAdded } of steps) {
        const key = String(number);
        const known = model.get(key);
        expect(table.get(key)).toBe(known as never);
        if (isAdded && known === undefined) {
          const thing = new Thing(key);
          table.add(thing);
          model.set(key, thing);
        } else if (!isAdded && known !== undefined) {
          expect(table.remove(known)).toBe(true);
          expect(table.remove(known)).toBe(false);
          model.delete(key);
        }
        expect(table.itemCount).toBe(model.size);
      }
      expect(new Set(table.values())).toEqual(new Set(model.values()));
      table.clear();
      expect(table.values()).toEqual([]);
    }),
  );
});

test("a second thing of a key is refused", () => {
  const table = new KeyTable<Thing>();
  table.add(new Thing("a"));
  expect(() => table.add(new Thing("a"))).toThrow(InvariantError);
});
