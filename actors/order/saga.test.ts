/**
 * The saga under every schedule: payment, reservation, cancellation, expiry and parcels in any
 * order the queues allow, with messages coming again at any time.
 *
 * The judge knows nothing of the deciders. Each of them is also broken on purpose, and the judge
 * must find out.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import type { OrderState } from "../contracts/order-state.ts";
import type { Rules, SagaWorld } from "./saga-world.suite.ts";
import type { Decision } from "./order.ts";

import { createSagaWorld, RULES } from "./saga-world.suite.ts";

const STEPS_MAX = 2_000;

const LEGAL: Readonly<Record<OrderState["status"], readonly OrderState["status"][]>> = {
  pending: ["pending", "ready_to_ship", "cancelled"],
  ready_to_ship: ["ready_to_ship", "shipped", "cancelled"],
  shipped: ["shipped", "delivered"],
  delivered: ["delivered"],
  cancelled: ["cancelled"],
};

const plan = fc.record({
  quantity: fc.integer({ min: 1, max: 3 }),
  payment: fc.constantFrom("captured", "captured", "declined", "answer_lost", "never_asked"),
  cancels: fc.constantFrom(0, 0, 1, 2),
  cancelFromVersion: fc.integer({ min: 1, max: 6 }),
} as const);

function property(rules: Rules) {
  return fc.property(
    fc.array(plan, { minLength: 1, maxLength: 3 }),
    fc.integer({ min: 0, max: 7 }),
    fc.array(fc.nat(), { maxLength: 60 }),
    (plans, available, choices) => {
      const world = createSagaWorld(plans, available, rules);
      for (const choice of choices) {
        world.step(choice, true);
        checkStep(world, available);
      }
      let steps = 0;
      while (world.step(steps, false)) {
        checkStep(world, available);
        expect(++steps).toBeLessThan(STEPS_MAX);
      }
      expect(world.orders.size).toBe(plans.length);
      for (const order of world.orders.values()) checkEnd(world, order);
      expect(world.stock?.reserved).toBe(0);
    },
  );
}

/** What must hold at any moment. */
function checkStep(world: SagaWorld, available: number): void {
  const { stock } = world;
  if (stock === undefined) throw new Error("no stock");
  expect(stock.available + stock.reserved + stock.shipped).toBe(available);
  expect(Math.min(stock.available, stock.reserved, stock.shipped)).toBeGreaterThanOrEqual(0);
  const last = world.steps.at(-1);
  if (last === undefined) return;
  const { before, after } = last;
  expect(LEGAL[before?.status ?? "pending"]).toContain(after.status);
  expect(world.timelines.get(after.id)?.length).toBe(after.version);
  if (before?.paymentStatus === "completed" && before.status !== "cancelled") {
    expect(after.cancelReason).not.toBe("reservation_expired");
  }
  for (const { captures } of world.accounts.values()) expect(captures).toBeLessThanOrEqual(1);
}

/** What must hold when nothing more can happen. */
function checkEnd(world: SagaWorld, order: OrderState): void {
  const account = world.accounts.get(order.id);
  const reservation = world.reservations.get(order.id);
  const shipment = world.shipments.get(order.id);
  const types = (world.timelines.get(order.id) ?? []).map((event) => event.type);
  expect(new Set(types).size).toBe(types.length);
  expect(types.includes("order.shipped") && types.includes("order.cancelled")).toBe(false);
  if (order.status === "delivered") {
    expect(account).toEqual({ captured: true, refunded: false, captures: 1 });
    expect(order.paymentStatus).toBe("completed");
    expect(reservation?.status).toBe("shipped");
    expect(shipment?.status).toBe("delivered");
    return;
  }
  expect(order.status).toBe("cancelled");
  expect(account?.captured).toBe(account?.refunded);
  expect(order.paymentStatus).not.toBe("completed");
  expect(order.paymentStatus === "refunded").toBe(
    world.payments.get(order.id)?.status === "refunded",
  );
  expect(reservation?.status).toBeOneOf(["failed", "released"]);
  expect(order.inventoryStatus).toBe(reservation?.status === "failed" ? "failed" : "released");
  expect(shipment?.status).toBeOneOf(["cancelled", undefined]);
}

test("every schedule ends with each order delivered and paid, or cancelled and undone", () => {
  fc.assert(property(RULES), { numRuns: 3_000 });
});

const cancelRule: Rules["decide"] = (input, state) => {
  const isOpen = state?.status === "pending" || state?.status === "ready_to_ship";
  if (input.type !== "reservation.lapsed" || !isOpen) return RULES.decide(input, state);
  const { orderId } = input;
  const reason = "reservation_expired";
  return { events: [{ type: "order.cancelled", orderId, reason }] } satisfies Decision;
};

const MUTANTS: Readonly<Record<string, Partial<Rules>>> = {
  "forgets to refund": {
    nextStep: (input, payment) =>
      input.type === "order.cancelled" ? "none" : RULES.nextStep(input, payment),
  },
  "does not ask for money back whose capture was never answered": {
    nextStep: (input, payment) =>
      payment?.status === "abandoned" ? "none" : RULES.nextStep(input, payment),
  },
  "captures whenever it is told of an order": {
    nextStep: (input, payment) =>
      input.type === "order.created" ? "capture" : RULES.nextStep(input, payment),
  },
  "forgets to release stock": {
    applyToStock: (input, snapshot, terms) =>
      input.type === "order.cancelled"
        ? { kind: "nothing" }
        : RULES.applyToStock(input, snapshot, terms),
  },
  "reserves again when an order is announced again": {
    applyToStock: (input, snapshot, terms) => {
      if (input.type === "order.created") snapshot.reservations.delete(input.orderId);
      return RULES.applyToStock(input, snapshot, terms);
    },
  },
  "ships what was cancelled": {
    decide: (input, state) =>
      input.type === "shipment.packed" && state?.status === "cancelled"
        ? { events: [{ ...input, type: "order.shipped" }] }
        : RULES.decide(input, state),
  },
  "cancels what is on its way": {
    decide: (input, state) =>
      input.type === "order.cancel" && state?.status === "shipped"
        ? RULES.decide(input, { ...state, status: "pending" })
        : RULES.decide(input, state),
  },
  "lets a paid order expire": { decide: cancelRule },
  "counts a repeated payment twice": {
    decide: (input, state) =>
      input.type === "payment.processed" && state?.status === "cancelled"
        ? { events: [input] }
        : RULES.decide(input, state),
  },
  "ships before both payment and stock are there": {
    decide: (input, state) =>
      input.type === "inventory.reserved" && state !== undefined
        ? RULES.decide(input, { ...state, paymentStatus: "completed" })
        : RULES.decide(input, state),
  },
  "forgets the parcel of a cancelled order": {
    decideShipment: (input, shipment, terms) =>
      input.type === "order.cancelled" ? undefined : RULES.decideShipment(input, shipment, terms),
  },
};

for (const [name, mutant] of Object.entries(MUTANTS)) {
  test(`the judge finds a saga that ${name}`, () => {
    const result = fc.check(property({ ...RULES, ...mutant }), {
      numRuns: 3_000,
      endOnFailure: true,
    });
    expect(result.failed).toBe(true);
  });
}
