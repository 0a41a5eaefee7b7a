/**
 * The default thresholds of the fraud check leave the load script's own orders alone. They come
 * from customers who order once, and from customers who are back a hundred times within seconds.
 */

import { expect, test } from "bun:test";

import type { FraudOrder } from "../actors/fraud/fraud-check.ts";

import { fraudOrderOf } from "../actors/fraud/fraud-check.ts";
import { createBatchScorer } from "../actors/fraud/score-batch.ts";
import { FRAUD_THRESHOLDS } from "../actors/fraud/thresholds.ts";
import { createOrderPlan } from "./order-plan.ts";

const START_MS = 1_700_000_000_000;
const ORDERS = 10_000;
const BATCH = 100;
/** 1,000 orders a second. */
const BATCH_MS = 100;

function plannedOrders(customers: number, card: boolean): readonly FraudOrder[] {
  const plan = createOrderPlan({ seed: 1, runId: "r", ordersExpected: ORDERS });
  return Array.from({ length: ORDERS }, (_, index) => {
    const { idempotencyKey: orderId, items, totalMinor, currency } = plan.order(index);
    const customerId = `c${index % customers}`;
    const order = { orderId, customerId, items: [...items], totalMinor, currency };
    const fingerprint = `fp${index % customers}`;
    return fraudOrderOf({
      type: "order.created",
      ...order,
      ...(card ? { paymentMethod: { type: "card", fingerprint } } : {}),
    });
  });
}

test.each([
  ["customers who come once", ORDERS, true],
  ["a hundred customers with a card each, a hundred times", 100, true],
  ["one customer ten thousand times", 1, false],
])("the orders of %s all pass", (_who, customers, card) => {
  const score = createBatchScorer(FRAUD_THRESHOLDS);
  const rows = new Map<string, Uint8Array>();
  const orders = plannedOrders(customers, card);
  for (let from = 0; from < ORDERS; from += BATCH) {
    const batch = orders.slice(from, from + BATCH);
    const nowMs = START_MS + (from / BATCH) * BATCH_MS;
    const { verdicts, profiles } = score({ nowMs, orders: batch, profiles: [...rows] });
    for (const [key, data] of profiles) rows.set(key, data);
    const blocked = verdicts.filter(({ decision }) => decision === "block");
    expect(blocked).toEqual([]);
  }
});
