/**
 * The payment of one order as a table: what is due in each state, and what each answer means.
 */

import { describe, expect, test } from "bun:test";

import type { EventOf } from "../contracts/messages.ts";
import type { Payment, PaymentRowStatus } from "./payment.ts";

import { gatewayFor } from "./gateways.ts";
import { afterBlock, afterCapture, afterRefund, closedPayment, nextStep } from "./payment.ts";

const created: EventOf<"order.created"> = {
  type: "order.created",
  orderId: "o1",
  customerId: "ada",
  items: [{ productId: "tea", quantity: 1, priceMinor: 100_001 }],
  totalMinor: 100_001,
  currency: "USD",
};
const cancelled = { type: "order.cancelled", orderId: "o1", reason: "requested" } as const;
const charge = { orderId: "o1", amountMinor: 100_001, currency: "USD" } as const;

function paymentIn(status: PaymentRowStatus): Payment {
  return { ...charge, gateway: "premium", status, reference: "c1" };
}

describe("what is due", () => {
  const rows = [
    [undefined, "capture", "close"],
    ["completed", "none", "refund"],
    ["declined", "none", "none"],
    ["blocked", "none", "refund"],
    ["abandoned", "none", "refund"],
    ["refunded", "none", "none"],
    ["voided", "none", "none"],
  ] as const;
  for (const [status, onCreated, onCancelled] of rows) {
    test(`with the payment ${status ?? "not begun"}: ${onCreated}, ${onCancelled}`, () => {
      const payment = status === undefined ? undefined : paymentIn(status);
      expect(nextStep(created, payment)).toBe(onCreated);
      expect(nextStep(cancelled, payment)).toBe(onCancelled);
    });
  }
});

describe("a capture", () => {
  test("that was answered completes the payment", () => {
    expect(afterCapture(created, { status: "captured", reference: "c1" })).toEqual({
      payment: { ...charge, gateway: "premium", status: "completed", reference: "c1" },
      event: {
        type: "payment.processed",
        ...charge,
        gateway: "premium",
        status: "completed",
        reference: "c1",
      },
    });
  });
  test("that was declined fails it, with the provider's reason", () => {
    const change = afterCapture(created, { status: "declined", reason: "no funds" });
    expect(change.payment.status).toBe("declined");
    expect(change.event).toMatchObject({ status: "failed", reason: "no funds" });
  });
  test("that was never answered fails it as unavailable", () => {
    const change = afterCapture(created, { status: "unanswered" });
    expect(change.payment.status).toBe("abandoned");
    expect(change.event).toMatchObject({ status: "failed", reason: "unavailable" });
  });
});

describe("the fraud check's verdict", () => {
  const risk = { score: 90, rules: ["card_many_customers", "customer_velocity"] };
  const block = { decision: "block", ...risk } as const;
  const captured = { status: "captured", reference: "c1" } as const;
  test("against a capture fails the payment and says why", () => {
    expect(afterBlock(created, block)).toEqual({
      payment: { ...charge, gateway: "premium", status: "blocked" },
      event: {
        type: "payment.processed",
        ...charge,
        gateway: "premium",
        status: "failed",
        reason: "fraud",
        risk,
      },
      flag: {
        type: "fraud.flagged",
        orderId: created.orderId,
        customerId: created.customerId,
        decision: "block",
        ...risk,
      },
    });
  });
  test("against a capture leaves the payment open to a refund: it may have happened", () => {
    expect(nextStep(cancelled, afterBlock(created, block).payment)).toBe("refund");
  });
  test("is reported with a capture when any rule fired, and else is not", () => {
    const pass = { decision: "pass", score: 5, rules: ["address_place_mismatch"] } as const;
    expect(afterCapture(created, captured, pass).event).toMatchObject({
      status: "completed",
      risk: { score: 5, rules: ["address_place_mismatch"] },
    });
    expect(afterCapture(created, captured, pass).flag).toMatchObject({
      decision: "pass",
      score: 5,
      rules: ["address_place_mismatch"],
    });
    const silent = { decision: "pass", score: 0, rules: [] } as const;
    expect(afterCapture(created, captured, silent)).toEqual(afterCapture(created, captured));
  });
});

describe("a refund", () => {
  test("of a completed payment is reported with its amount", () => {
    expect(afterRefund(paymentIn("completed"), { status: "refunded", reference: "r1" })).toEqual({
      payment: { ...paymentIn("completed"), status: "refunded", refundReference: "r1" },
      event: { type: "payment.refunded", ...charge, reference: "r1" },
    });
  });
  test("of a payment that was never reported as completed is not reported either", () => {
    for (const status of ["refunded", "nothing_to_refund"] as const) {
      const rows = [
        ["abandoned", "voided"],
        ["blocked", "blocked"],
      ] as const;
      for (const [before, after] of rows) {
        const change = afterRefund(paymentIn(before), { status, reference: "r1" });
        const payment = { ...paymentIn(before), status: after, refundReference: "r1" };
        expect(change).toEqual({ payment });
        expect(nextStep(cancelled, change.payment)).toBe("none");
      }
    }
  });
  test("of anything else is a bug", () => {
    const result = { status: "refunded", reference: "r1" } as const;
    expect(() => afterRefund(paymentIn("declined"), result)).toThrow("declined");
    expect(() => afterRefund(paymentIn("refunded"), result)).toThrow("refunded");
  });
});

test("an order that was cancelled before it was seen is never captured", () => {
  expect(nextStep(created, closedPayment("o1"))).toBe("none");
});

test("premium takes what is strictly above 1000.00", () => {
  expect([0, 99_999, 100_000, 100_001].map(gatewayFor)).toEqual([
    "standard",
    "standard",
    "standard",
    "premium",
  ]);
});
