/**
 * The whole saga as one value: orders, payments, stock, shipments, their queues and their timers.
 *
 * Every step is a choice among what could happen next: the head of some queue is handled, a message
 * that was handled before comes again, a timer fires, somebody cancels. The deciders are passed in,
 * so that a test can also break one of them and see that it shows.
 */

import type { EventOf, OrderPipelineEvent as SagaEvent } from "../contracts/messages.ts";
import type { OrderState } from "../contracts/order-state.ts";
import type { Reservation, StockRow } from "../inventory/stock.ts";
import type { CaptureOutcome, Payment, PaymentChange } from "../payment/payment.ts";
import type { Shipment } from "../shipping/shipping.ts";
import type { OrderEvent, OrderInput } from "./order.ts";

import { applyToStock } from "../inventory/stock.ts";
import { afterCapture, afterRefund, closedPayment, nextStep } from "../payment/payment.ts";
import { decideShipment } from "../shipping/shipping.ts";
import { decide, evolve, isDecided, reservationTimer } from "./order.ts";

export const RULES = { decide, nextStep, applyToStock, decideShipment };
export type Rules = typeof RULES;

/** What a run starts from. `answerLost`: the provider captured, its answer never came. */
export interface OrderPlan {
  readonly quantity: number;
  readonly payment: "captured" | "declined" | "answer_lost" | "never_asked";
  readonly cancels: number;
  /** Nobody cancels before the order is at this version. */
  readonly cancelFromVersion: number;
}

export interface Account {
  captured: boolean;
  refunded: boolean;
  captures: number;
}

type Queue =
  "payment" | "inventory" | "shipping" | "order<payments" | "order<inventory" | "order<shipping";
const ORDERS_QUEUES: readonly Queue[] = ["payment", "inventory", "shipping"];
const PRICE_MINOR = 700;

export interface SagaWorld {
  /** Does one of the things that can happen next, `choice` says which. False: nothing can. */
  step(choice: number, mayRepeat: boolean): boolean;
  readonly orders: ReadonlyMap<string, OrderState>;
  readonly timelines: ReadonlyMap<string, readonly OrderEvent[]>;
  readonly steps: readonly { before: OrderState | undefined; after: OrderState }[];
  readonly accounts: ReadonlyMap<string, Account>;
  readonly payments: ReadonlyMap<string, Payment>;
  readonly shipments: ReadonlyMap<string, Shipment>;
  readonly reservations: ReadonlyMap<string, Reservation>;
  readonly stock: StockRow | undefined;
}

export function createSagaWorld(
  plans: readonly OrderPlan[],
  available: number,
  rules: Rules = RULES,
): SagaWorld {
  const plansById = new Map(plans.map((plan, at) => [`order-${at}`, plan]));
  const orders = new Map<string, OrderState>();
  const timelines = new Map<string, OrderEvent[]>();
  const steps: { before: OrderState | undefined; after: OrderState }[] = [];
  const accounts = new Map<string, Account>();
  const payments = new Map<string, Payment>();
  const shipments = new Map<string, Shipment>();
  const stockRow = { productId: "tea", available, reserved: 0, shipped: 0, version: 1 };
  const snapshot = {
    stock: new Map<string, StockRow>([["tea", stockRow]]),
    reservations: new Map<string, Reservation>(),
  };
  const queues = new Map<string, SagaEvent[]>();
  const timers = new Map<string, { queue: Queue; event: SagaEvent }>();
  const handled: { queue: Queue; event: SagaEvent }[] = [];
  const cancelsLeft = new Map([...plansById].map(([id, plan]) => [id, plan.cancels]));

  function send(queue: Queue, event: SagaEvent): void {
    const name = `${queue}/${event.orderId}`;
    queues.set(name, [...(queues.get(name) ?? []), event]);
  }

  function tellOrder(input: OrderInput): void {
    const before = orders.get(input.orderId);
    const { events } = rules.decide(input, before);
    let after = before;
    for (const event of events) {
      after = evolve(after, event, 1_000);
      timelines.set(after.id, [...(timelines.get(after.id) ?? []), event]);
      if (isDecided(event)) for (const queue of ORDERS_QUEUES) send(queue, event);
    }
    if (after === undefined || events.length === 0) return;
    orders.set(after.id, after);
    steps.push({ before, after });
    const timerId = `lapse:${after.id}`;
    const change = reservationTimer(before, after);
    if (change === "cancel") timers.delete(timerId);
    const event = { type: "reservation.lapsed", orderId: after.id } as const;
    if (change === "start") timers.set(timerId, { queue: "order<inventory", event });
  }

  function tellPayment(input: EventOf<"order.created" | "order.cancelled">): void {
    const { orderId } = input;
    const payment = payments.get(orderId);
    const account = accounts.get(orderId) ?? { captured: false, refunded: false, captures: 0 };
    accounts.set(orderId, account);
    let change: PaymentChange | undefined;
    const due = rules.nextStep(input, payment);
    if (due === "capture" && input.type === "order.created") {
      change = afterCapture(input, capture(account, plansById.get(orderId)?.payment));
    } else if (due === "refund" && payment !== undefined) {
      account.refunded = account.captured;
      const status = account.captured ? "refunded" : "nothing_to_refund";
      change = afterRefund(payment, { status, reference: "r" });
    } else if (due === "close") change = { payment: closedPayment(orderId) };
    if (change === undefined) return;
    payments.set(orderId, change.payment);
    if (change.event !== undefined) send("order<payments", change.event);
  }

  function tellShipping(input: SagaEvent): void {
    if (input.type === "order.created" || !input.type.startsWith("order.")) return;
    const terms = { carrier: "c", trackingNumber: `SS-${input.orderId}`, packMs: 1, deliveryMs: 1 };
    // Every other event of topic orders is one that shipping listens to.
    const parcel = input as Parameters<typeof decideShipment>[0];
    const next = rules.decideShipment(parcel, shipments.get(input.orderId), terms);
    if (next === undefined) return;
    shipments.set(input.orderId, next.shipment);
    if (next.timerCancelled !== undefined) timers.delete(next.timerCancelled);
    const { report } = next;
    if (report === undefined) return;
    timers.set(report.timerId, { queue: "order<shipping", event: report.event });
  }

  function tellInventory(input: SagaEvent): void {
    if (input.type !== "order.created" && input.type !== "order.cancelled") {
      if (input.type !== "order.shipped") return;
    }
    const terms = { nowMs: 1_000, reservationTtlMs: 10 };
    const outcome = rules.applyToStock(input, snapshot, terms);
    if (outcome.kind === "misplaced") throw new Error(outcome.detail);
    if (outcome.kind === "applied" && outcome.event !== undefined) {
      send("order<inventory", outcome.event);
    }
  }

  function handle(queue: Queue, event: SagaEvent): void {
    if (queue === "inventory") tellInventory(event);
    else if (queue === "shipping") tellShipping(event);
    else if (queue !== "payment")
      tellOrder(event as OrderInput); // only reports are sent there
    else if (event.type === "order.created" || event.type === "order.cancelled") {
      tellPayment(event);
    }
  }

  function actions(mayRepeat: boolean): (() => void)[] {
    const possible: (() => void)[] = [];
    for (const [id, plan] of plansById) {
      if (!orders.has(id)) possible.push(() => tellOrder(createOf(id, plan.quantity)));
      const left = cancelsLeft.get(id) ?? 0;
      const version = orders.get(id)?.version ?? 0;
      if (version >= plan.cancelFromVersion && left > 0) possible.push(() => cancel(id, left));
    }
    for (const [name, [event]] of queues) {
      // Names are made of a queue and an order id.
      const queue = name.split("/")[0] as Queue;
      if (event !== undefined) possible.push(() => takeHead(name, queue, event));
    }
    for (const [id, timer] of timers) possible.push(() => fire(id, timer.queue, timer.event));
    if (mayRepeat)
      for (const { queue, event } of handled) possible.push(() => handle(queue, event));
    return possible;
  }

  function cancel(orderId: string, left: number): void {
    cancelsLeft.set(orderId, left - 1);
    tellOrder({ type: "order.cancel", orderId });
  }

  function takeHead(name: string, queue: Queue, event: SagaEvent): void {
    queues.set(name, (queues.get(name) ?? []).slice(1));
    handled.push({ queue, event });
    handle(queue, event);
  }

  function fire(id: string, queue: Queue, event: SagaEvent): void {
    timers.delete(id);
    send(queue, event);
  }

  function step(choice: number, mayRepeat: boolean): boolean {
    const possible = actions(mayRepeat);
    possible[choice % possible.length]?.();
    return possible.length > 0;
  }

  return {
    step,
    orders,
    timelines,
    steps,
    accounts,
    payments,
    shipments,
    reservations: snapshot.reservations,
    get stock() {
      return snapshot.stock.get("tea");
    },
  };
}

function createOf(orderId: string, quantity: number): OrderInput {
  const items = [{ productId: "tea", quantity, priceMinor: PRICE_MINOR }];
  const totalMinor = quantity * PRICE_MINOR;
  return { type: "order.create", orderId, customerId: "ada", items, totalMinor, currency: "USD" };
}

function capture(account: Account, plan: OrderPlan["payment"] | undefined): CaptureOutcome {
  if (plan === "declined") return { status: "declined", reason: "declined" };
  if (plan !== "never_asked") {
    account.captured = true;
    account.captures++;
  }
  return plan === "captured" ? { status: "captured", reference: "c" } : { status: "unanswered" };
}
