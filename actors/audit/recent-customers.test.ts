/** What of the orders heard of last is remembered. It is given more than the bound takes. */

import { expect, test } from "bun:test";

import { RecentCustomers } from "./recent-customers.ts";

test("as many orders as a generation holds are remembered, whatever came before", () => {
  const customers = new RecentCustomers(20);
  for (let number = 0; number < 100; number++) customers.set(`o-${number}`, `c-${number}`);
  for (let number = 90; number < 100; number++) {
    expect(customers.get(`o-${number}`)).toBe(`c-${number}`);
  }
});

test("no more orders are remembered than the bound says", () => {
  const customers = new RecentCustomers(20);
  for (let number = 0; number < 100; number++) customers.set(`o-${number}`, "c");
  const held = Array.from({ length: 100 }, (_, number) => `o-${number}`).filter(
    (orderId) => customers.get(orderId) !== undefined,
  );
  expect(held.length).toBeLessThanOrEqual(20);
});

test("an order that is asked for again and again stays, and its last customer holds", () => {
  const customers = new RecentCustomers(20);
  customers.set("o", "before");
  customers.set("o", "c");
  for (let number = 0; number < 100; number++) {
    customers.set(`o-${number}`, "other");
    expect(customers.get("o")).toBe("c");
  }
});
