/**
 * Batches of orders over time: windows that slide, amounts that are learned, rows that stay small.
 */

import { describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import type { FraudOrder } from "./fraud-check.ts";
import type { FraudThresholds } from "./thresholds.ts";

import { fraudOrder } from "./fraud-order.suite.ts";
import {
  cardKeyOf,
  customerKeyOf,
  decodeCard,
  decodeCustomer,
  deviationMinor,
  encodeCard,
  encodeCustomer,
  learnAmount,
  NEW_CUSTOMER,
} from "./fraud-profile.ts";
import { createBatchScorer } from "./score-batch.ts";
import { FRAUD_THRESHOLDS, RECENT_MAX } from "./thresholds.ts";

const START_MS = 1_700_000_000_000;

/** Batches one after another, with the rows of the one before. */
function createHistory(changes: Partial<FraudThresholds> = {}) {
  const score = createBatchScorer({ ...FRAUD_THRESHOLDS, ...changes });
  const rows = new Map<string, Uint8Array>();
  return {
    rows,
    score(nowMs: number, orders: readonly FraudOrder[]) {
      const { verdicts, profiles } = score({ nowMs, orders, profiles: [...rows] });
      for (const [key, data] of profiles) rows.set(key, data);
      return verdicts;
    },
    customer(customerId = "ada") {
      const data = rows.get(customerKeyOf(customerId));
      return data === undefined ? NEW_CUSTOMER : decodeCustomer(data);
    },
  };
}

describe("the velocity of a customer and of a card", () => {
  test("is the number of orders in the window that ends with the order", () => {
    const step = fc.record({
      waitMs: fc.integer({ min: 0, max: 700 }),
      customers: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 4 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const customer = { windowMs: 1_000, ordersMax: 3 };
        const card = { windowMs: 500, ordersMax: 2, customersMax: 2 };
        const history = createHistory({ customer, card });
        const past: { readonly atMs: number; readonly who: number }[] = [];
        let nowMs = START_MS;
        for (const { waitMs, customers } of steps) {
          nowMs += waitMs;
          const orders = customers.map((who) => fraudOrder({ customerId: `c${who}`, card: "f" }));
          const verdicts = history.score(nowMs, orders);
          for (const [at, who] of customers.entries()) {
            past.push({ atMs: nowMs, who });
            const mine = past.filter((each) => each.who === who && nowMs - each.atMs < 1_000);
            const uses = past.filter((each) => nowMs - each.atMs < 500);
            const expected = [
              ...(new Set(uses.map((each) => each.who)).size > 2 ? ["card_many_customers"] : []),
              ...(mine.length > 3 ? ["customer_velocity"] : []),
              ...(uses.length > 2 ? ["card_velocity"] : []),
            ];
            expect(verdicts[at]?.rules).toEqual(expected);
          }
        }
      }),
    );
  });

  test("counts blocked orders as well", () => {
    const deny = { ...FRAUD_THRESHOLDS.deny, customers: ["eve"] };
    const history = createHistory({ deny, customer: { windowMs: 1_000, ordersMax: 1 } });
    const order = fraudOrder({ customerId: "eve" });
    expect(history.score(START_MS, [order])[0]?.rules).toEqual(["deny_customer"]);
    expect(history.score(START_MS, [order])[0]?.rules).toContain("customer_velocity");
  });
});

describe("what a customer usually pays", () => {
  test("is mean and standard deviation of the amounts (Welford against the definition)", () => {
    const amounts = fc.array(fc.integer({ min: 0, max: 1e11 }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(amounts, (all) => {
        const profile = all.reduce(
          (known, amountMinor) => learnAmount(known, amountMinor, "USD"),
          NEW_CUSTOMER,
        );
        const [history] = profile.histories;
        const mean = all.reduce((sum, each) => sum + each, 0) / all.length;
        const variance = all.reduce((sum, each) => sum + (each - mean) ** 2, 0) / all.length;
        expect(history?.count).toBe(all.length);
        expect(Math.abs((history?.meanMinor ?? 0) - mean)).toBeLessThan(1);
        const deviation = history === undefined ? 0 : deviationMinor(history);
        expect(Math.abs(deviation - Math.sqrt(variance))).toBeLessThan(1 + 1e-6 * deviation);
      }),
    );
  });

  test("is not learned from orders that were blocked", () => {
    const history = createHistory({ blockScore: 30 });
    for (let at = 0; at < 6; at++) history.score(START_MS, [fraudOrder({ amountMinor: 50_000 })]);
    const before = history.customer().histories;
    const [verdict] = history.score(START_MS, [fraudOrder({ amountMinor: 9_000_000 })]);
    expect(verdict).toEqual({ decision: "block", score: 30, rules: ["amount_spike"] });
    expect(history.customer().histories).toEqual(before);
    // Nor does it make the next one look usual.
    const [again] = history.score(START_MS, [fraudOrder({ amountMinor: 9_000_000 })]);
    expect(again?.decision).toBe("block");
  });

  test("is known per currency, for a bounded number of them", () => {
    let profile = NEW_CUSTOMER;
    for (let at = 0; at < 20; at++) {
      profile = learnAmount(profile, 100, `X${String.fromCharCode(65 + at)}X`);
      profile = learnAmount(profile, 100, "USD");
    }
    expect(profile.histories).toHaveLength(8);
    expect(profile.histories.at(-1)).toMatchObject({ currency: "USD", count: 20 });
  });
});

describe("a profile", () => {
  test("survives its row", () => {
    const customer = {
      recentMs: [START_MS - 500, START_MS],
      histories: [{ currency: "USD", count: 2, meanMinor: 1.5, squares: 0.25 }],
    };
    expect(decodeCustomer(encodeCustomer(customer))).toEqual(customer);
    expect(decodeCustomer(encodeCustomer(NEW_CUSTOMER))).toEqual(NEW_CUSTOMER);
    const uses = ["ada", "bob", "ada"].map((customerId, at) => ({
      atMs: START_MS + at,
      customerId,
    }));
    expect(decodeCard(encodeCard({ recent: uses }))).toEqual({ recent: uses });
  });

  test("survives a wall clock that steps back", () => {
    const history = createHistory();
    history.score(START_MS, [fraudOrder()]);
    history.score(START_MS - 5_000, [fraudOrder()]);
    expect(history.customer().recentMs).toEqual([START_MS, START_MS - 5_000]);
  });

  test("of the busiest customer and card stays within a few KiB", () => {
    const history = createHistory();
    const orders = Array.from({ length: 3 * RECENT_MAX }, (_, at) =>
      fraudOrder({ orderId: `o${at}`, card: "f", customerId: at % 2 === 0 ? "ada" : "bob" }),
    );
    history.score(START_MS, orders);
    history.score(START_MS + 60_000, orders);
    expect(history.customer().recentMs).toHaveLength(RECENT_MAX);
    expect(history.rows.get(customerKeyOf("ada"))?.byteLength).toBeLessThan(4_096);
    expect(history.rows.get(cardKeyOf("f"))?.byteLength).toBeLessThan(4_096);
  });

  test("forgets what is older than its window", () => {
    const history = createHistory();
    history.score(START_MS, [fraudOrder()]);
    history.score(START_MS + FRAUD_THRESHOLDS.customer.windowMs, [fraudOrder()]);
    expect(history.customer().recentMs).toHaveLength(1);
  });

  test("of an order without a card is the customer's alone", () => {
    const history = createHistory();
    history.score(START_MS, [fraudOrder()]);
    expect([...history.rows.keys()]).toEqual([customerKeyOf("ada")]);
  });
});
