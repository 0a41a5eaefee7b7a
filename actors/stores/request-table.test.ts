/**
 * The numbers of requests under way, against a map that never gives one twice.
 *
 * No I/O.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import { assert } from "../../runtime/errors.ts";
import { RequestTable } from "./request-table.ts";

test("each answer is taken by who asked, once, in whatever order they come", () => {
  const steps = fc.array(fc.oneof(fc.constant("add" as const), fc.nat({ max: 40 })), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(steps, (script) => {
      const table = new RequestTable<{ readonly name: number }>(8);
      const model = new Map<number, object>();
      const given: number[] = [];
      for (const step of script) {
        if (step === "add") {
          const who = { name: given.length };
          const request = table.add(who);
          expect(request === undefined).toBe(model.size === 8);
          if (request === undefined) continue;
          expect(given).not.toContain(request);
          given.push(request);
          model.set(request, who);
        } else {
          const request = given[step % Math.max(1, given.length)] ?? 77;
          expect(table.take(request)).toBe(model.get(request) as never);
          model.delete(request);
        }
        expect(table.size).toBe(model.size);
      }
      expect(new Set(table.takeAll())).toEqual(new Set(model.values()) as never);
      expect(table.size).toBe(0);
    }),
  );
});

test("a number stays within 32 bits however often its place is used", () => {
  const table = new RequestTable<object>(1);
  const who = {};
  for (let use = 0; use < 70_000; use++) {
    const request = table.add(who);
    assert(request !== undefined, "there is room");
    if (request > 0xffff_ffff || request < 0 || table.take(request) !== who) {
      throw new Error(`use ${use} had number ${request}`);
    }
  }
  expect(table.size).toBe(0);
});
