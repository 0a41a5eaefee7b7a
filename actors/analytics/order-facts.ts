/**
 * What an event of the order pipeline says about the shop, as facts to be counted.
 *
 * Decisions only: who remembers orders and customers is given. Revenue, by whatever dimension, is
 * counted when a payment completes, with segment, size and lines as they were when the order was
 * created; a payment of an order that is not known any more is counted under `unknown` and by no
 * product.
 */

import type { EventOf } from "../contracts/messages.ts";
import type { CategorySettings } from "./analytics-tuning.ts";
import type { AddFact } from "./pending-cells.ts";

export type CountedOrderEvent = EventOf<
  "order.created" | "payment.processed" | "inventory.reserved" | "order.shipped"
>;

export interface OrderLine {
  readonly productId: string;
  readonly quantity: number;
  readonly amountMinor: number;
}

/** What must be known of an order when its payment ends. */
export interface OpenOrder {
  readonly segment: string;
  readonly size: string;
  readonly currency: string;
  /** One for each product. */
  readonly lines: readonly OrderLine[];
}

export interface OrderMemory {
  /** Counts an order of `customerId` and says how many there were, this one included. */
  countOrder(customerId: string, atMs: number): number;
  remember(orderId: string, order: OpenOrder, atMs: number): void;
  /** What was remembered, for the last time. */
  take(orderId: string): OpenOrder | undefined;
}

const UNKNOWN = "unknown";
/** A reason is a provider's text: enough of it to tell them apart. */
const REASON_CHARS_MAX = 64;

export function segmentOf(orders: number, { frequentFrom }: CategorySettings): string {
  if (orders >= frequentFrom) return "frequent";
  return orders <= 1 ? "new" : "returning";
}

export function sizeOf(totalMinor: number, settings: CategorySettings): string {
  if (totalMinor >= settings.xlFromMinor) return "xl";
  if (totalMinor >= settings.largeFromMinor) return "large";
  return totalMinor >= settings.mediumFromMinor ? "medium" : "small";
}

/** Keeps what later events need, also when the event itself came too late to be counted. */
export function openOrder(
  event: EventOf<"order.created">,
  atMs: number,
  memory: OrderMemory,
  settings: CategorySettings,
): OpenOrder {
  const order = {
    segment: segmentOf(memory.countOrder(event.customerId, atMs), settings),
    size: sizeOf(event.totalMinor, settings),
    currency: event.currency,
    lines: linesOf(event),
  };
  memory.remember(event.orderId, order, atMs);
  return order;
}

export function addCreated(event: EventOf<"order.created">, order: OpenOrder, add: AddFact): void {
  const { currency, totalMinor } = event;
  const money = { currency, amountMinor: totalMinor };
  add("orders", "all", "", 1, money);
  add("orders", "segment", order.segment, 1, money);
  add("orders", "size", order.size, 1, money);
  for (const { productId, amountMinor } of order.lines) {
    add("orders", "product", productId, 1, { currency, amountMinor });
  }
}

/** `order`: as it was opened, when that is known. */
export function addPayment(
  event: EventOf<"payment.processed">,
  order: OpenOrder | undefined,
  add: AddFact,
): void {
  const { status, currency, amountMinor } = event;
  const money = { currency, amountMinor };
  add("payments", "all", "", 1, money);
  add("payments", "status", status, 1, money);
  if (status === "failed") {
    add("payments", "reason", (event.reason ?? UNKNOWN).slice(0, REASON_CHARS_MAX), 1, money);
    return;
  }
  add("revenue", "all", "", 1, money);
  add("revenue", "segment", order?.segment ?? UNKNOWN, 1, money);
  add("revenue", "size", order?.size ?? UNKNOWN, 1, money);
  for (const line of order?.lines ?? []) {
    const { productId } = line;
    add("revenue", "product", productId, 1, { currency, amountMinor: line.amountMinor });
    add("units", "product", productId, line.quantity);
    add("units", "all", "", line.quantity);
  }
}

export function addReserved(event: EventOf<"inventory.reserved">, add: AddFact): void {
  add("reservations", "all", "", 1);
  add("reservations", "status", event.status, 1);
}

export function addShipped(event: EventOf<"order.shipped">, add: AddFact): void {
  add("shipments", "all", "", 1);
  add("shipments", "carrier", event.carrier, 1);
}

function linesOf({ items }: EventOf<"order.created">): readonly OrderLine[] {
  const lines = new Map<string, { productId: string; quantity: number; amountMinor: number }>();
  for (const { productId, quantity, priceMinor } of items) {
    const line = lines.get(productId);
    if (line === undefined) {
      lines.set(productId, { productId, quantity, amountMinor: quantity * priceMinor });
    } else {
      line.quantity += quantity;
      line.amountMinor += quantity * priceMinor;
    }
  }
  return [...lines.values()];
}
