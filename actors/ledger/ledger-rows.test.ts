/**
 * Rows that are too many: what is left out is in the sums, and what is wrong is left out last.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import type { LedgerRow } from "../contracts/order-state.ts";

import { foldRows, OTHER_PARTITIONS, sumOfRows } from "./ledger-rows.ts";

const count = fc.nat(1_000);
const row: fc.Arbitrary<LedgerRow> = fc.record(
  {
    group: fc.constantFrom("order", "payment"),
    topic: fc.constantFrom("orders", "payments"),
    partition: fc.nat(63),
    published: count,
    acked: count,
    dead: count,
    inFlight: count,
    parked: count,
    waiting: count,
    redriven: count,
    imbalance: fc.constantFrom("a", "b"),
  },
  {
    requiredKeys: [
      "group",
      "topic",
      "partition",
      "published",
      "acked",
      "dead",
      "inFlight",
      "parked",
      "waiting",
      "redriven",
    ],
  },
);

test("few rows stay as they are", () => {
  fc.assert(
    fc.property(fc.array(row, { maxLength: 5 }), (rows) => {
      expect(foldRows(rows, 5)).toEqual(rows);
    }),
  );
});

test("folding changes no sum, keeps to its length, and hides no imbalance", () => {
  fc.assert(
    fc.property(fc.array(row, { maxLength: 40 }), fc.integer({ min: 0, max: 10 }), (rows, max) => {
      const folded = foldRows(rows, max);
      expect(sumOfRows(folded)).toEqual(sumOfRows(rows));
      expect(folded.filter(({ partition }) => partition !== OTHER_PARTITIONS).length).toBeLessThan(
        max + 1,
      );
      const isWrong = (one: LedgerRow): boolean => one.imbalance !== undefined;
      expect(folded.some(isWrong)).toBe(rows.some(isWrong));
      const listed = folded.slice(0, max);
      if (rows.filter(isWrong).length >= max) expect(listed.every(isWrong)).toBe(true);
    }),
  );
});
