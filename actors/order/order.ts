/**
 * The order saga as a pure decider: `decide(input, state) → events`, `evolve(state, event) →
 * state`.
 *
 * No clock, no chance, no I/O. Every event it gives is one entry of the order's timeline; those of
 * topic `orders` are also published. A message that changes nothing (a duplicate, a report that
 * comes too late to matter) gives no events; one about an order that is not there is refused.
 */

import type { CancelReason, CommandOf, EventOf } from "../contracts/messages.ts";
import type { OrderState } from "../contracts/order-state.ts";

import { assert, ShopError } from "../../runtime/errors.ts";

/** What an order can be told: commands, and what the services and its own timer report. */
export type OrderInput =
  | CommandOf<"order.create" | "order.cancel">
  | EventOf<
      | "payment.processed"
      | "payment.refunded"
      | "inventory.reserved"
      | "inventory.released"
      | "reservation.lapsed"
      | "shipment.packed"
      | "shipment.delivered"
    >;

/** What an order itself decides; published on topic `orders`. */
export type OrderDecided = EventOf<
  "order.created" | "order.ready_to_ship" | "order.shipped" | "order.delivered" | "order.cancelled"
>;

/** An entry of the timeline: a decision, or a report as it was received. */
export type OrderEvent =
  | OrderDecided
  | EventOf<"payment.processed" | "payment.refunded" | "inventory.reserved" | "inventory.released">;

export interface Refusal {
  readonly code: "not_found" | "not_cancellable";
  readonly detail: string;
}

/** Timeline entries in order, perhaps none; `refusal` only when there are none. */
export interface Decision {
  readonly events: readonly OrderEvent[];
  readonly refusal?: Refusal;
}

/** What a step does to the order's reservation timer. */
export type TimerChange = "start" | "cancel" | "none";

const DETAIL_CHARS_MAX = 500;
const NOTHING: Decision = { events: [] };

/** An order that nobody has created yet. */
export const initial: OrderState | undefined = undefined;

/** What follows from `input`. Throws `BAD_MESSAGE` for a reservation without its expiry. */
export function decide(input: OrderInput, state: OrderState | undefined): Decision {
  if (input.type === "order.create") return state === undefined ? create(input) : NOTHING;
  if (state === undefined) {
    return refuse("not_found", `there is no order ${input.orderId}`);
  }
  switch (input.type) {
    case "order.cancel":
      return cancel(state);
    case "payment.processed":
      return payment(input, state);
    case "payment.refunded":
      return isUndone(state, state.paymentStatus, "completed") ? { events: [input] } : NOTHING;
    case "inventory.reserved":
      return reservation(input, state);
    case "inventory.released":
      return isUndone(state, state.inventoryStatus, "reserved") ? { events: [input] } : NOTHING;
    case "reservation.lapsed":
      return awaitsPayment(state) ? { events: [cancelled(state, "reservation_expired")] } : NOTHING;
    case "shipment.packed":
      return state.status === "ready_to_ship"
        ? { events: [{ ...input, type: "order.shipped" }] }
        : NOTHING;
    case "shipment.delivered":
      return state.status === "shipped"
        ? { events: [{ ...input, type: "order.delivered" }] }
        : NOTHING;
  }
}

/** The order after `event`, which `decide` gave for `state`, happened at `atMs`. */
export function evolve(state: OrderState | undefined, event: OrderEvent, atMs: number): OrderState {
  if (event.type === "order.created") {
    assert(state === undefined, `order ${event.orderId} is created twice`);
    return created(event, atMs);
  }
  assert(state !== undefined, `${event.type} before order ${event.orderId} was created`);
  return {
    ...state,
    ...changes(event),
    // A wall clock may step back; an order's own history never does.
    updatedAtMs: Math.max(state.updatedAtMs, atMs),
    version: state.version + 1,
  };
}

/** True for the events that are published; the others only stand in the timeline. */
export function isDecided(event: OrderEvent): event is OrderDecided {
  return event.type.startsWith("order.");
}

/** The timer runs exactly while stock is held for an order whose payment is still open. */
export function reservationTimer(before: OrderState | undefined, after: OrderState): TimerChange {
  const ran = before !== undefined && awaitsPayment(before);
  const runs = awaitsPayment(after);
  if (ran === runs) return "none";
  return runs ? "start" : "cancel";
}

function create(command: CommandOf<"order.create">): Decision {
  const { idempotency: _, ...fields } = command;
  return { events: [{ ...fields, type: "order.created" }] };
}

function cancel(state: OrderState): Decision {
  switch (state.status) {
    case "pending":
    case "ready_to_ship":
      return { events: [cancelled(state, "requested")] };
    case "cancelled":
      return NOTHING;
    case "shipped":
    case "delivered":
      return refuse("not_cancellable", `order ${state.id} is already ${state.status}`);
  }
}

function payment(report: EventOf<"payment.processed">, state: OrderState): Decision {
  if (state.paymentStatus !== "pending") return NOTHING;
  if (state.status !== "pending") return { events: [report] };
  if (report.status === "failed") {
    return { events: [report, cancelled(state, "payment_failed", report.reason)] };
  }
  if (state.inventoryStatus !== "reserved") return { events: [report] };
  return { events: [report, readyToShip(state)] };
}

function reservation(report: EventOf<"inventory.reserved">, state: OrderState): Decision {
  if (state.inventoryStatus !== "pending") return NOTHING;
  if (report.status === "reserved" && report.expiresAtMs === undefined) {
    throw new ShopError("BAD_MESSAGE", "inventory.reserved does not say when it expires", "never");
  }
  if (state.status !== "pending") return { events: [report] };
  if (report.status === "failed") {
    return { events: [report, cancelled(state, "out_of_stock", describeFailed(report))] };
  }
  if (state.paymentStatus !== "completed") return { events: [report] };
  return { events: [report, readyToShip(state)] };
}

function awaitsPayment(state: OrderState): boolean {
  return (
    state.status === "pending" &&
    state.inventoryStatus === "reserved" &&
    state.paymentStatus === "pending"
  );
}

/**
 * What was done is undone; so is, for a cancelled order, what the order never heard was done: that
 * report is among the dead letters, and must find the order closed should it be put back.
 */
function isUndone<Status>(state: OrderState, status: Status | "pending", done: Status): boolean {
  return status === done || (status === "pending" && state.status === "cancelled");
}

function readyToShip(state: OrderState): EventOf<"order.ready_to_ship"> {
  const { id: orderId, customerId, shippingAddress } = state;
  const items = state.items.map(({ productId, quantity }) => ({ productId, quantity }));
  const event = { type: "order.ready_to_ship", orderId, customerId, items } as const;
  return shippingAddress === undefined ? event : { ...event, shippingAddress };
}

function cancelled(
  state: OrderState,
  reason: CancelReason,
  detail?: string,
): EventOf<"order.cancelled"> {
  const event = { type: "order.cancelled", orderId: state.id, reason } as const;
  return detail === undefined ? event : { ...event, detail };
}

function describeFailed(report: EventOf<"inventory.reserved">): string | undefined {
  const items = report.failedItems ?? [];
  if (items.length === 0) return undefined;
  const text = items
    .map((item) => `${item.productId}: ${item.requested} wanted, ${item.available} available`)
    .join("; ");
  return text.length <= DETAIL_CHARS_MAX ? text : `${text.slice(0, DETAIL_CHARS_MAX - 1)}…`;
}

function refuse(code: Refusal["code"], detail: string): Decision {
  return { events: [], refusal: { code, detail } };
}

function created(event: EventOf<"order.created">, atMs: number): OrderState {
  // The order has no use for them once it was announced: less to write with every step.
  const { type: _type, contact: _contact, billingAddress: _address, orderId, ...fields } = event;
  return {
    id: orderId,
    ...fields,
    status: "pending",
    paymentStatus: "pending",
    inventoryStatus: "pending",
    createdAtMs: atMs,
    updatedAtMs: atMs,
    version: 1,
  };
}

function changes(event: Exclude<OrderEvent, EventOf<"order.created">>): Partial<OrderState> {
  switch (event.type) {
    case "order.ready_to_ship":
      return { status: "ready_to_ship" };
    case "order.shipped":
      return { status: "shipped", trackingNumber: event.trackingNumber };
    case "order.delivered":
      return { status: "delivered" };
    case "order.cancelled":
      return { status: "cancelled", cancelReason: event.reason };
    case "payment.processed":
      return { paymentStatus: event.status };
    case "payment.refunded":
      return { paymentStatus: "refunded" };
    case "inventory.reserved":
      return { inventoryStatus: event.status };
    case "inventory.released":
      return { inventoryStatus: "released" };
  }
}
