/**
 * What is read back of orders and stock, and when: a made-up shop says what it is told to say.
 */

import { expect, test } from "bun:test";

import { collectEvidence } from "./collect-evidence.ts";
import { ShopError } from "../runtime/errors.ts";
import type { Attempt, ObservedOrder, TimelineEvent } from "./evidence.ts";
import type { ShopClient, StockCount } from "./shop-client.ts";

const ITEMS = [{ productId: "cup", quantity: 2, priceMinor: 500 }];
const ORDER: ObservedOrder = {
  id: "o1",
  customerId: "ada",
  items: ITEMS,
  status: "delivered",
  paymentStatus: "completed",
  inventoryStatus: "reserved",
  totalMinor: 1_000,
  currency: "USD",
  version: 0,
};
const ATTEMPT: Attempt = {
  order: {
    customerId: "ada",
    idempotencyKey: "k1",
    items: ITEMS,
    totalMinor: 1_000,
    currency: "USD",
  },
  outcome: { kind: "acknowledged", orderIds: ["o1"], totalMinor: 1_000 },
  intendedAtMs: 0,
};
const HELD: StockCount = { available: 8, reserved: 2, shipped: 0 };
const GONE: StockCount = { available: 8, reserved: 0, shipped: 2 };

function refuse(): never {
  throw new ShopError("CLOSED", "the judge only reads", "never");
}

/** Its stock is `counts` one after the other, and the last of them for ever. */
function shopWith(...counts: readonly StockCount[]): ShopClient & { counted(): number } {
  let counted = 0;
  return {
    counted: () => counted,
    postOrder: refuse,
    createStock: refuse,
    readMetrics: refuse,
    readIllParts: refuse,
    sabotage: refuse,
    readOrder: async () => ORDER,
    listOrders: async ({ status }) => (status === undefined ? [ORDER] : []),
    readTimeline: async (): Promise<TimelineEvent[]> => [],
    readStock: async () => counts[Math.min(counted++, counts.length - 1)] ?? GONE,
  };
}

/** What no shipment that inventory has still to hear of can explain. */
const WRONG: readonly (readonly [string, StockCount])[] = [
  ["a piece too many", { available: 9, reserved: 0, shipped: 2 }],
  ["a piece too few, and one that is held", { available: 7, reserved: 2, shipped: 0 }],
  ["less than nothing", { available: -1, reserved: 9, shipped: 2 }],
  ["a piece that nobody ordered and that left", { available: 7, reserved: 0, shipped: 3 }],
];

const SHELF = new Map([["cup", 10]]);
const OPTIONS = { restDeadlineMs: 60_000, concurrency: 2 };

test("the stock is counted until it has heard of what was shipped", async () => {
  const shop = shopWith(HELD, HELD, GONE);
  const { stock, orders } = await collectEvidence(shop, [ATTEMPT], SHELF, OPTIONS);
  expect(orders.get("o1")).toEqual(ORDER);
  expect(stock).toEqual([{ productId: "cup", initial: 10, ...GONE }]);
  expect(shop.counted()).toBe(3);
});

test.each(WRONG)("%s is wrong at first sight, although it heals", async (_what, count) => {
  const shop = shopWith(count, GONE);
  const { stock } = await collectEvidence(shop, [ATTEMPT], SHELF, OPTIONS);
  expect(stock).toEqual([{ productId: "cup", initial: 10, ...count }]);
  expect(shop.counted()).toBe(1);
});

test("stock that never agrees is reported as it is when the time is over", async () => {
  const shop = shopWith(HELD);
  const over = { ...OPTIONS, stockDeadlineMs: 0 };
  const { stock } = await collectEvidence(shop, [ATTEMPT], SHELF, over);
  expect(stock).toEqual([{ productId: "cup", initial: 10, ...HELD }]);
  expect(shop.counted()).toBe(1);
});
