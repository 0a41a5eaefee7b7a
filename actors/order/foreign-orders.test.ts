/**
 * What strangers may say of the shop's orders: nothing that the store does not say as well.
 *
 * The handlers behind the check are counters; the store is in memory.
 */

import { describe, expect, test } from "bun:test";

import type { OrderStatus } from "../contracts/order-state.ts";
import type { ShopEvent } from "../contracts/messages.ts";
import type { HandleBatch, HandleOne, Message, Outcome } from "../delivery/outcome.ts";
import type { OrderDecided } from "./order.ts";

import { FLAG_JSON } from "../../runtime/frames/frame-header.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { encodeValue } from "../contracts/codec.ts";
import { ACK, SETTLED } from "../delivery/outcome.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { delivered } from "./delivered.suite.ts";
import { checkForeignOrders, judgeForeign } from "./foreign-orders.ts";

const { signal } = new AbortController();

async function createRig(known: Readonly<Record<string, OrderStatus>>) {
  const environment = createVirtualEnvironment();
  const store = createMemoryStore({ environment });
  const rows = Object.entries(known).map(([key, status]) => {
    const data = encodeValue({ id: key, status });
    return { table: "orders", key, expectedVersion: 0, data, index: indexOf(status) } as const;
  });
  if (rows.length > 0) await store.commit({ ...EMPTY_UNIT, rows }, []);
  let loads = 0;
  const { one, many } = checkForeignOrders({
    load(table, keys) {
      loads++;
      return store.load(table, keys);
    },
  });
  const seen: string[] = [];
  const serveOne: HandleOne<ShopEvent> = async ({ body }) => {
    seen.push(body.type);
    return SETTLED;
  };
  const serveMany: HandleBatch<ShopEvent> = async (messages) =>
    await Promise.all(messages.map((each) => serveOne(each, signal)));

  function message(event: ShopEvent, flags = FLAG_JSON): Message<ShopEvent> {
    const plain = delivered(event, "g", environment);
    return { ...plain, frame: { ...plain.frame, flags } };
  }

  return { one: one(serveOne), many: many(serveMany), message, seen, loads: () => loads };
}

function indexOf(status: OrderStatus) {
  return { customerId: "ada", status, createdAtMs: 1 };
}

function created(orderId: string): ShopEvent {
  return {
    type: "order.created",
    orderId,
    customerId: "ada",
    items: [{ productId: "tea", quantity: 1, priceMinor: 100 }],
    totalMinor: 100,
    currency: "USD",
  };
}
const cancelled = (orderId: string): ShopEvent => ({
  type: "order.cancelled",
  orderId,
  reason: "requested",
});
const paid = (orderId: string): ShopEvent => ({
  type: "payment.processed",
  orderId,
  status: "completed",
  amountMinor: 100,
  currency: "USD",
  reference: "r",
  gateway: "standard",
});

describe("what an order of such a status may be said to have gone through", () => {
  test.each<[OrderDecided["type"], OrderStatus | undefined, string]>([
    ["order.created", undefined, "unknown_order"],
    ["order.created", "pending", "ack"],
    ["order.created", "cancelled", "ack"],
    ["order.ready_to_ship", "pending", "contradicts_order"],
    ["order.ready_to_ship", "shipped", "ack"],
    ["order.shipped", "ready_to_ship", "contradicts_order"],
    ["order.shipped", "delivered", "ack"],
    ["order.delivered", "shipped", "contradicts_order"],
    ["order.delivered", "delivered", "ack"],
    ["order.cancelled", "delivered", "contradicts_order"],
    ["order.cancelled", "cancelled", "ack"],
    ["order.cancelled", undefined, "unknown_order"],
  ])("%s of one that is %s: %s", (type, status, expected) => {
    const outcome = judgeForeign(type, "o1", status);
    expect(outcome.kind === "bury" ? outcome.reason : outcome.kind).toBe(expected);
  });
});

describe("a service behind the check", () => {
  test("never hears of an order that a stranger made up", async () => {
    const { one, message, seen } = await createRig({});
    expect(await one(message(created("o1")), signal)).toMatchObject({
      kind: "bury",
      reason: "unknown_order",
    });
    expect(seen).toEqual([]);
  });

  test("hears the shop's own word once, not a stranger's copy of it", async () => {
    const { one, message, seen } = await createRig({ o1: "pending" });
    expect(await one(message(created("o1")), signal)).toEqual(ACK);
    expect(await one(message(created("o1"), 0), signal)).toEqual(SETTLED);
    expect(seen).toEqual(["order.created"]);
  });

  test("hears what strangers may know, and of the shop's own frames no row is read", async () => {
    const { one, many, message, seen, loads } = await createRig({ o1: "pending" });
    await one(message(paid("o1")), signal);
    await many([message(created("o1"), 0), message(cancelled("o2"), 0)], signal);
    expect(seen).toEqual(["payment.processed", "order.created", "order.cancelled"]);
    expect(loads()).toBe(0);
  });

  test("of a batch handles the rest, each with its own outcome", async () => {
    const { many, message, seen } = await createRig({ o1: "delivered" });
    const outcomes: readonly Outcome[] = await many(
      [
        message(created("o9")),
        message(paid("o1")),
        message(cancelled("o1")),
        message(created("o3"), 0),
        message(created("o1")),
      ],
      signal,
    );
    const kinds = outcomes.map((each) => (each.kind === "bury" ? each.reason : each.kind));
    expect(kinds).toEqual(["unknown_order", "settled", "contradicts_order", "settled", "ack"]);
    expect(seen).toEqual(["payment.processed", "order.created"]);
  });
});
