/**
 * Columns say what the events said, and columns that do not fit each other are refused.
 *
 * Counting by columns is compared with counting the events one by one.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { BehaviorColumns } from "./behavior-columns.ts";

import { UserBehavior } from "../contracts/platform-messages.ts";
import { behaviorColumns, checkColumns, countColumns } from "./behavior-columns.ts";

const events = fc.array(
  fc.record({
    event: fc.constantFrom("page.viewed", "cart.added", "search"),
    customerId: fc.constantFrom("ada", "bob", "eve"),
    productId: fc.option(fc.constantFrom("p-1", "p-2"), { nil: undefined }),
    atMs: fc.integer({ min: 0, max: 500 }),
  }),
  { minLength: 1, maxLength: 60 },
);

/** Windows of 100 ms; what is below 100 is called early. */
function place(atMs: number) {
  const startMs = atMs - (atMs % 100);
  const kind = startMs === 0 ? ("early" as const) : ("counted" as const);
  return { kind, startMs, fromMs: startMs, toMs: startMs + 100 };
}

describe("columns", () => {
  test("fit their contract and hold the events in their order", () => {
    fc.assert(
      fc.property(events, (given) => {
        const columns = behaviorColumns(given);
        checkColumns(columns);
        UserBehavior.check({ batchId: "b", ...columns });
        const back = columns.offsetMs.map((offsetMs, at) => ({
          event: columns.events[columns.event[at]!]!,
          customerId: columns.customers[columns.customer[at]!]!,
          productId: columns.products[columns.product[at]! - 1],
          atMs: columns.baseMs + offsetMs,
        }));
        expect(back).toEqual(given.map((one) => ({ ...one, productId: one.productId })));
      }),
    );
  });

  test("are counted by window as the events would be, one by one", () => {
    fc.assert(
      fc.property(events, (given) => {
        const counted = new Map<string, number>();
        const columns = behaviorColumns(given);
        for (const { kind, startMs, byEvent, byCustomer, byProduct } of countColumns(
          columns,
          place,
        )) {
          const note = (name: string, count: number) => {
            if (count > 0) counted.set(`${kind} ${startMs} ${name}`, count);
          };
          columns.events.forEach((name, at) => note(`event ${name}`, byEvent[at]!));
          columns.customers.forEach((name, at) => note(`customer ${name}`, byCustomer[at]!));
          columns.products.forEach((name, at) => note(`product ${name}`, byProduct[at + 1]!));
        }
        const expected = new Map<string, number>();
        for (const { event, customerId, productId, atMs } of given) {
          const { kind, startMs } = place(atMs);
          const names = [`event ${event}`, `customer ${customerId}`];
          if (productId !== undefined) names.push(`product ${productId}`);
          for (const name of names) {
            const key = `${kind} ${startMs} ${name}`;
            expected.set(key, (expected.get(key) ?? 0) + 1);
          }
        }
        expect([...counted].sort()).toEqual([...expected].sort());
      }),
    );
  });

  const whole = behaviorColumns([
    { event: "a", customerId: "c", productId: "p", atMs: 5 },
    { event: "b", customerId: "c", atMs: 6 },
  ]);
  const broken: readonly (readonly [what: string, change: Partial<BehaviorColumns>])[] = [
    ["a column of names that is shorter", { event: [0] }],
    ["a column of customers that is longer", { customer: [0, 0, 0] }],
    ["a column of products that is shorter", { product: [1] }],
    ["a name that is not in the dictionary", { event: [0, 2] }],
    ["a customer that is not in the dictionary", { customer: [0, 1] }],
    ["a product that is not in the dictionary", { product: [2, 0] }],
  ];
  for (const [what, change] of broken) {
    test(`with ${what} are refused`, () => {
      expect(() => checkColumns({ ...whole, ...change })).toThrow("does not fit");
    });
  }
});
