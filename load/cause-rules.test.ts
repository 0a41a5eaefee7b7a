/**
 * The rules about needless cancellation, on forged orders. That the judge asks them is shown by the
 * run of a shop that ships nothing.
 */

import { expect, test } from "bun:test";

import type { ObservedOrder, StockObservation, TimelineEvent } from "./evidence.ts";

import { needlessCancel, spareOf, tooFewShipped } from "./cause-rules.ts";
import { verify } from "./verify-orders.ts";

const ORDER: ObservedOrder = {
  id: "o",
  customerId: "c",
  items: [],
  status: "cancelled",
  paymentStatus: "refunded",
  inventoryStatus: "failed",
  totalMinor: 1,
  currency: "USD",
  version: 1,
};

function judge(
  reason: string,
  data: Record<string, unknown>,
  left: number,
  mayDecline = true,
  others: readonly ObservedOrder[] = [],
) {
  const timeline: TimelineEvent[] = [
    { version: 1, type: "inventory.reserved", atMs: 0, data },
    { version: 2, type: "payment.processed", atMs: 0, data },
    { version: 3, type: "order.cancelled", atMs: 0, data: { reason } },
  ];
  const cup: StockObservation = {
    productId: "cup",
    initial: 10,
    available: left,
    reserved: 0,
    shipped: 10 - left,
  };
  return needlessCancel(ORDER, timeline, spareOf([cup], others), mayDecline);
}

const FAILED = { failedItems: [{ productId: "cup" }] };

test("goods that are sold out at the end may have been out of stock", () => {
  expect(judge("out_of_stock", FAILED, 0)).toBeUndefined();
});

test("goods that are left at the end were never out of stock", () => {
  expect(judge("out_of_stock", FAILED, 3)).toContain("of which 3 were there");
  expect(judge("out_of_stock", {}, 0)).toContain("no item is named");
});

test("goods that another order had and gave back may have been out of stock meanwhile", () => {
  const items = [{ productId: "cup", quantity: 2, priceMinor: 1 }];
  const other: ObservedOrder = { ...ORDER, items, inventoryStatus: "released" };
  const judgeWith = (left: number) => judge("out_of_stock", FAILED, left, true, [other]);
  expect(judgeWith(2)).toBeUndefined();
  expect(judgeWith(3)).toContain("of which 1 were there");
  const kept = { ...other, inventoryStatus: "reserved" };
  expect(judge("out_of_stock", FAILED, 2, true, [kept])).toContain("of which 2 were there");
});

test("a payment may fail only where a provider declines, and not by being given up", () => {
  expect(judge("payment_failed", { reason: "declined" }, 0)).toBeUndefined();
  expect(judge("payment_failed", { reason: "declined" }, 0, false)).toContain("no provider");
  expect(judge("payment_failed", { reason: "unavailable" }, 0)).toContain("given up");
});

test("what a client asked for is no fault, what lapsed is", () => {
  expect(judge("requested", {}, 0)).toBeUndefined();
  expect(judge("reservation_expired", {}, 0)).toContain("which nobody asked for");
});

test("a run in which most was cancelled is not believed", () => {
  const shipped = { ...ORDER, status: "delivered" };
  const run = (cancelled: number) =>
    Array.from({ length: 200 }, (_, index) => (index < cancelled ? ORDER : shipped));
  expect(tooFewShipped(run(40))).toBeUndefined();
  expect(tooFewShipped(run(41))).toBe("only 159 of 200 orders were shipped");
  expect(tooFewShipped(run(0).slice(0, 5))).toBeUndefined();
});

test("the judge asks these rules: a shop that cancels everything does not pass", () => {
  const verdict = verify({
    attempts: [
      {
        order: {
          customerId: "c",
          idempotencyKey: "k",
          items: [],
          totalMinor: 1,
          currency: "USD",
        },
        outcome: { kind: "acknowledged", orderIds: ["o"], totalMinor: 1 },
        intendedAtMs: 0,
      },
    ],
    listedByCustomer: new Map([["c", ["o"]]]),
    orders: new Map([["o", ORDER]]),
    timelines: new Map([["o", []]]),
    stock: [],
  });
  expect(verdict.violations.map(({ check }) => check)).toContain("cause");
});
