/**
 * Whether an order that was cancelled had to be: the judge of a shop that loses nothing because it
 * ships nothing.
 *
 * A load run gives reservations time, so unless a client asked for it there are two causes: goods
 * that really were sold out, and a capture that the provider really declined.
 */

import type { Evidence, ObservedOrder, TimelineEvent } from "./evidence.ts";

/** Of the orders found; the plan makes one in a hundred sold out and declines are rarer still. */
const SHIPPED_SHARE_MIN = 0.8;
/** Fewer orders say nothing about a share. */
const ORDERS_MIN = 100;

/** Pieces of each product that were on the shelf all along. */
export type Spare = ReadonlyMap<string, number>;

/**
 * What is on the shelf at the end, less what orders had and gave back: while they had it others may
 * have asked in vain. Nobody fills the shelves up.
 */
export function spareOf(stock: Evidence["stock"], orders: readonly ObservedOrder[]): Spare {
  const spare = new Map(stock.map(({ productId, available }) => [productId, available]));
  for (const { items, inventoryStatus } of orders) {
    if (inventoryStatus !== "released") continue;
    for (const { productId, quantity } of items) {
      spare.set(productId, (spare.get(productId) ?? 0) - quantity);
    }
  }
  return spare;
}

/** Why `order` should not have been cancelled; `undefined` when it should, or was not. */
export function needlessCancel(
  order: ObservedOrder,
  timeline: readonly TimelineEvent[],
  spare: Spare,
  mayDecline: boolean,
): string | undefined {
  if (order.status !== "cancelled") return undefined;
  const reason = timeline.find(({ type }) => type === "order.cancelled")?.data["reason"];
  if (reason === "requested") return undefined;
  if (reason === "out_of_stock") return wronglySoldOut(timeline, spare);
  if (reason !== "payment_failed") return `cancelled as ${String(reason)}, which nobody asked for`;
  const payment = timeline.find(({ type }) => type === "payment.processed")?.data["reason"];
  if (!mayDecline) return `payment failed as ${String(payment)}, and no provider declines here`;
  return payment === "unavailable" ? "payment given up, and the provider was up" : undefined;
}

/** Why the run as a whole cannot be believed; `undefined` when it can. */
export function tooFewShipped(orders: readonly ObservedOrder[]): string | undefined {
  const shipped = orders.filter(({ status }) => status === "shipped" || status === "delivered");
  if (orders.length < ORDERS_MIN) return undefined;
  if (shipped.length / orders.length >= SHIPPED_SHARE_MIN) return undefined;
  return `only ${shipped.length} of ${orders.length} orders were shipped`;
}

function wronglySoldOut(timeline: readonly TimelineEvent[], spare: Spare): string | undefined {
  const refusal = timeline.find(({ type }) => type === "inventory.reserved");
  const failed: unknown = refusal?.data["failedItems"];
  if (!Array.isArray(failed) || failed.length === 0) return "out of stock, and no item is named";
  for (const item of failed as readonly unknown[]) {
    const isNamed = typeof item === "object" && item !== null && "productId" in item;
    const productId = isNamed ? String(item.productId) : "";
    const left = spare.get(productId) ?? 0;
    if (left > 0) return `out of ${productId}, of which ${left} were there all along`;
  }
  return undefined;
}
