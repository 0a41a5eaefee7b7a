/**
 * Orders, stock and timelines as the API shows them.
 *
 * Amounts leave as decimals that always have two places, times as UTC text. What
 * identifies a means of payment or reaches the customer is never shown.
 */

import { decodeValue } from "../../actors/contracts/codec.ts";
import { HIDDEN_FIELDS } from "../../actors/contracts/fields.ts";
import { toDecimal } from "../../actors/contracts/money.ts";
import type { OrderItem } from "../../actors/contracts/messages.ts";
import type { OrderState, StockState } from "../../actors/contracts/order-state.ts";
import type { Row, TimelineEntry } from "../../actors/stores/unit-of-work.ts";
import { assert } from "../../runtime/errors.ts";

/**
 * Of a timeline besides: how suspicious an order was, and to which rules, is nothing for whoever
 * placed it. The reason stays, and the audit tells the rest.
 */
const TIMELINE_HIDDEN: ReadonlySet<string> = new Set([...HIDDEN_FIELDS, "risk"]);

/** A number with its own spelling, for JSON.stringify (ECMA-262, JSON.rawJSON). */
interface RawJson {
  readonly rawJSON: string;
}
type WithRawJson = JSON & { rawJSON(text: string): RawJson };
const raw = JSON as WithRawJson; // Bun has it; its types do not declare it yet

/** Written by hand: this is on the path of every order, and a third of the cost of a view. */
export function orderJson(order: OrderState): string {
  const createdAt = isoTime(order.createdAtMs);
  const updatedAt =
    order.updatedAtMs === order.createdAtMs ? createdAt : isoTime(order.updatedAtMs);
  const items = order.items.map((item) => itemJson(item)).join(",");
  return (
    `{"id":${JSON.stringify(order.id)},"customerId":${JSON.stringify(order.customerId)},` +
    `"items":[${items}],"status":"${order.status}","paymentStatus":"${order.paymentStatus}",` +
    `"inventoryStatus":"${order.inventoryStatus}","total":${toDecimal(order.totalMinor)},` +
    `"currency":${JSON.stringify(order.currency)},${optionalJson(order)}` +
    `"createdAt":"${createdAt}","updatedAt":"${updatedAt}","version":${order.version}}`
  );
}

export function orderPageJson(
  orders: readonly OrderState[],
  nextCursor: string | undefined,
): string {
  const next = nextCursor === undefined ? "" : `,"nextCursor":${JSON.stringify(nextCursor)}`;
  return `{"orders":[${orders.map((order) => orderJson(order)).join(",")}]${next}}`;
}

export function stockJson(stock: StockState): string {
  const { productId, available, reserved, shipped, version } = stock;
  return JSON.stringify({ productId, available, reserved, shipped, version });
}

export function timelineJson(entries: readonly TimelineEntry[]): string {
  return JSON.stringify({ events: entries.map((entry) => viewEntry(entry)) });
}

export function timelineEntryJson(entry: TimelineEntry): string {
  return JSON.stringify(viewEntry(entry));
}

/** The order in a row of table `orders`. */
export function orderOfRow(row: Row): OrderState {
  const value = decodeValue(row.data);
  assert(typeof value === "object" && value !== null, `order ${row.key} is not an object`);
  return value as OrderState; // only the order actor writes this table, and always this shape
}

/** The stock in a row of table `stock`. */
export function stockOfRow(row: Row): StockState {
  const value = decodeValue(row.data);
  assert(typeof value === "object" && value !== null, `stock ${row.key} is not an object`);
  return value as StockState; // only the inventory service writes this table, always this shape
}

/** True when nothing will be added to the timeline: delivered, or cancelled and all undone. */
export function isSettled(order: OrderState): boolean {
  if (order.status === "delivered") return true;
  if (order.status !== "cancelled") return false;
  const paid = order.paymentStatus === "pending" || order.paymentStatus === "completed";
  const held = order.inventoryStatus === "pending" || order.inventoryStatus === "reserved";
  return !paid && !held;
}

export function isoTime(atMs: number): string {
  return new Date(atMs).toISOString();
}

function itemJson({ productId, quantity, priceMinor }: OrderItem): string {
  const price = toDecimal(priceMinor);
  return `{"productId":${JSON.stringify(productId)},"quantity":${quantity},"price":${price}}`;
}

/** The members that not every order has, each with a comma behind it. */
function optionalJson(order: OrderState): string {
  const { shippingAddress, paymentMethod, cancelReason, trackingNumber } = order;
  let text = "";
  if (shippingAddress !== undefined) {
    text += `"shippingAddress":${JSON.stringify(shippingAddress)},`;
  }
  if (paymentMethod !== undefined) text += `"paymentMethod":{"type":"${paymentMethod.type}"},`;
  if (cancelReason !== undefined) text += `"cancelReason":"${cancelReason}",`;
  if (trackingNumber !== undefined) {
    text += `"trackingNumber":${JSON.stringify(trackingNumber)},`;
  }
  return text;
}

function viewEntry(entry: TimelineEntry) {
  const { version, type, atMs } = entry;
  const data = decodeValue(entry.data);
  assert(typeof data === "object" && data !== null, `${type} of ${entry.orderId} is no object`);
  const { type: _, ...fields } = data as Record<string, unknown>; // any object with string keys
  return { version, type, at: isoTime(atMs), data: viewData(fields) };
}

/** An event's fields: `…Minor` becomes a decimal, `…AtMs` a time, at any depth. */
function viewData(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => viewData(item));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => !TIMELINE_HIDDEN.has(name))
      .map(([name, field]) => viewField(name, field)),
  );
}

function viewField(name: string, field: unknown): [string, unknown] {
  if (typeof field === "number" && name.endsWith("Minor"))
    return [name.slice(0, -5), amount(field)];
  if (typeof field === "number" && name.endsWith("AtMs"))
    return [name.slice(0, -2), isoTime(field)];
  return [name, viewData(field)];
}

function amount(minor: number): RawJson {
  return raw.rawJSON(toDecimal(minor));
}
