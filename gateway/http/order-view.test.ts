/**
 * What of a timeline is shown: decimals, times, and nothing that is not the customer's business.
 * The ports around it have tests of their own.
 */

import { expect, test } from "bun:test";

import type { ShopEvent } from "../../actors/contracts/messages.ts";

import { encodeValue } from "../../actors/contracts/codec.ts";
import { timelineEntryJson, timelineJson } from "./order-view.ts";

const blocked: ShopEvent = {
  type: "payment.processed",
  orderId: "o1",
  status: "failed",
  reason: "fraud",
  amountMinor: 1_900,
  currency: "USD",
  gateway: "standard",
  risk: { score: 100, rules: ["deny_customer"] },
};

test("a payment that was blocked has its reason, and not how it was judged", () => {
  const { type } = blocked;
  const entry = { orderId: "o1", version: 2, type, atMs: 0, data: encodeValue(blocked) };
  const expected = {
    version: 2,
    type,
    at: "1970-01-01T00:00:00.000Z",
    data: {
      orderId: "o1",
      status: "failed",
      reason: "fraud",
      amount: 19,
      currency: "USD",
      gateway: "standard",
    },
  };
  // The second is what event streams send.
  expect(JSON.parse(timelineJson([entry]))).toEqual({ events: [expected] });
  expect(JSON.parse(timelineEntryJson(entry))).toEqual(expected);
});
