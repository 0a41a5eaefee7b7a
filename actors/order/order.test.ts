/**
 * The order's rules as given / when / leads to: what happened, what comes in, what follows.
 *
 * Every row names the whole list of events that follows, so an event too many fails as one too few
 * does.
 */

import { describe, expect, test } from "bun:test";

import type { EventOf } from "../contracts/messages.ts";
import type { OrderState } from "../contracts/order-state.ts";
import type { OrderEvent, OrderInput } from "./order.ts";

import { ShopError } from "../../runtime/errors.ts";
import { decide, evolve, initial, isDecided, reservationTimer } from "./order.ts";

const orderId = "order-1";
const items = [
  { productId: "tea", quantity: 2, priceMinor: 500 },
  { productId: "cup", quantity: 1, priceMinor: 900 },
];
const fields = { orderId, customerId: "ada", items, totalMinor: 1_900, currency: "USD" };
const create = { type: "order.create", ...fields } as const;
const cancel = { type: "order.cancel", orderId } as const;
const lapsed = { type: "reservation.lapsed", orderId } as const;
const created = { type: "order.created", ...fields } as const;
const parcel = { orderId, trackingNumber: "SS1", carrier: "simulated" };
const packed = { type: "shipment.packed", ...parcel } as const;
const shipped = { type: "order.shipped", ...parcel } as const;
const handedOver = { type: "shipment.delivered", orderId, trackingNumber: "SS1" } as const;
const delivered = { type: "order.delivered", orderId, trackingNumber: "SS1" } as const;
const charge = { orderId, amountMinor: 1_900, currency: "USD", gateway: "standard" } as const;
const paid = {
  type: "payment.processed",
  ...charge,
  status: "completed",
  reference: "c1",
} as const;
const declined = {
  type: "payment.processed",
  ...charge,
  status: "failed",
  reason: "declined",
} as const;
const refunded = {
  type: "payment.refunded",
  orderId,
  amountMinor: 1_900,
  currency: "USD",
  reference: "r1",
} as const;
const reserved = {
  type: "inventory.reserved",
  orderId,
  status: "reserved",
  expiresAtMs: 5_000,
} as const;
const soldOut: EventOf<"inventory.reserved"> = {
  type: "inventory.reserved",
  orderId,
  status: "failed",
  failedItems: [{ productId: "cup", requested: 1, available: 0 }],
};
const counts = items.map(({ productId, quantity }) => ({ productId, quantity }));
const released: EventOf<"inventory.released"> = {
  type: "inventory.released",
  orderId,
  items: counts,
};
const ready: EventOf<"order.ready_to_ship"> = {
  type: "order.ready_to_ship",
  orderId,
  customerId: "ada",
  items: counts,
};

function cancelled(
  reason: EventOf<"order.cancelled">["reason"],
  detail?: string,
): EventOf<"order.cancelled"> {
  const event = { type: "order.cancelled", orderId, reason } as const;
  return detail === undefined ? event : { ...event, detail };
}

function given(events: readonly OrderEvent[]) {
  let state: OrderState | undefined = initial;
  for (const [at, event] of events.entries()) state = evolve(state, event, 1_000 + at);
  return {
    state,
    when: (input: OrderInput) => {
      const decision = decide(input, state);
      return {
        leadsTo: (expected: readonly OrderEvent[]) =>
          expect({ ...decision }).toEqual({ events: expected }),
        refused: (code: string) => {
          expect(decision.events).toEqual([]);
          expect(decision.refusal?.code).toBe(code as never);
        },
      };
    },
  };
}

const unpaidHeld = [created, reserved];
const readyToShip = [created, paid, reserved, ready];
const onTheWay = [...readyToShip, shipped];
const arrived = [...onTheWay, delivered];
const cancelledFresh = [created, cancelled("requested")];
const cancelledPaid = [created, paid, cancelled("requested")];

describe("an order that nobody created", () => {
  test("is created by a create command", () => given([]).when(create).leadsTo([created]));
  test("leaves the idempotency key out of what it publishes", () =>
    given([])
      .when({ ...create, idempotency: { key: "k", fingerprint: "f" } })
      .leadsTo([created]));
  test("cannot be cancelled", () => given([]).when(cancel).refused("not_found"));
  test("takes no reports", () => given([]).when(paid).refused("not_found"));
});

describe("a pending order", () => {
  test("is created once", () => given([created]).when(create).leadsTo([]));
  test("waits for stock when it is paid", () => given([created]).when(paid).leadsTo([paid]));
  test("waits for payment when stock is held", () =>
    given([created]).when(reserved).leadsTo([reserved]));
  test("is ready once stock is held and then it is paid", () =>
    given(unpaidHeld).when(paid).leadsTo([paid, ready]));
  test("is ready once it is paid and then stock is held", () =>
    given([created, paid]).when(reserved).leadsTo([reserved, ready]));
  test("takes its address along when it is ready", () => {
    const shippingAddress = { line1: "1 Road", city: "Bath", postalCode: "B1", country: "GB" };
    given([{ ...created, shippingAddress }, paid])
      .when(reserved)
      .leadsTo([reserved, { ...ready, shippingAddress }]);
  });
  test("is cancelled by a declined payment", () =>
    given([created])
      .when(declined)
      .leadsTo([declined, cancelled("payment_failed", "declined")]));
  test("is cancelled by missing stock, naming it", () =>
    given([created, paid])
      .when(soldOut)
      .leadsTo([soldOut, cancelled("out_of_stock", "cup: 1 wanted, 0 available")]));
  test("is cancelled on request", () =>
    given([created])
      .when(cancel)
      .leadsTo([cancelled("requested")]));
  test("is cancelled when its reservation lapses unpaid", () =>
    given(unpaidHeld)
      .when(lapsed)
      .leadsTo([cancelled("reservation_expired")]));
  test("ignores a lapse of a reservation it does not have", () =>
    given([created]).when(lapsed).leadsTo([]));
  test("refuses a reservation without an end", () => {
    const { expiresAtMs: _, ...endless } = reserved;
    expect(() => decide(endless, given([created]).state)).toThrow(ShopError);
  });
  test("does not ship a parcel before it is ready", () =>
    given([created, paid]).when(packed).leadsTo([]));
  test("names at most 500 characters of missing items", () => {
    const failedItems = Array.from({ length: 100 }, (_, at) => ({
      productId: `product-${at}`,
      requested: 2,
      available: 1,
    }));
    const [, end] = decide({ ...soldOut, failedItems }, given([created]).state).events;
    expect(end?.type === "order.cancelled" && end.detail?.length).toBe(500);
  });
});

describe("a paid order", () => {
  test("is never cancelled by a lapse", () => {
    given([created, paid]).when(lapsed).leadsTo([]);
    given(readyToShip).when(lapsed).leadsTo([]);
  });
  test("counts one payment", () => given([created, paid]).when(paid).leadsTo([]));
  test("stays paid when a failure is reported late", () =>
    given([created, paid]).when(declined).leadsTo([]));
});

describe("an order ready to ship", () => {
  test("is shipped when its parcel is packed", () =>
    given(readyToShip).when(packed).leadsTo([shipped]));
  test("is cancelled on request", () =>
    given(readyToShip)
      .when(cancel)
      .leadsTo([cancelled("requested")]));
  test("ignores repeated reports", () => {
    given(readyToShip).when(paid).leadsTo([]);
    given(readyToShip).when(reserved).leadsTo([]);
  });
  test("is not delivered before it is shipped", () =>
    given(readyToShip).when(handedOver).leadsTo([]));
});

describe("a shipped order", () => {
  test("is delivered when the carrier says so", () =>
    given(onTheWay).when(handedOver).leadsTo([delivered]));
  test("is shipped once", () => given(onTheWay).when(packed).leadsTo([]));
  test("cannot be cancelled", () => given(onTheWay).when(cancel).refused("not_cancellable"));
  test("cannot be cancelled after delivery", () =>
    given(arrived).when(cancel).refused("not_cancellable"));
  test("is delivered once", () => given(arrived).when(handedOver).leadsTo([]));
});

describe("a cancelled order", () => {
  test("is cancelled once", () => given(cancelledFresh).when(cancel).leadsTo([]));
  test("is not shipped", () =>
    given([...readyToShip, cancelled("requested")])
      .when(packed)
      .leadsTo([]));
  test("notes a payment that came too late", () =>
    given(cancelledFresh).when(paid).leadsTo([paid]));
  test("notes a decline that came too late", () =>
    given(cancelledFresh).when(declined).leadsTo([declined]));
  test("notes a reservation that came too late", () =>
    given(cancelledFresh).when(reserved).leadsTo([reserved]));
  test("notes missing stock that came too late", () =>
    given(cancelledFresh).when(soldOut).leadsTo([soldOut]));
  test("notes its refund once", () => {
    given(cancelledPaid).when(refunded).leadsTo([refunded]);
    given([...cancelledPaid, refunded])
      .when(refunded)
      .leadsTo([]);
  });
  test("takes the refund of a payment that it was never told of, and then no payment", () => {
    given(cancelledFresh).when(refunded).leadsTo([refunded]);
    given([...cancelledFresh, refunded])
      .when(paid)
      .leadsTo([]);
  });
  test("takes the release of goods that it was never told of, and then no reservation", () => {
    given(cancelledFresh).when(released).leadsTo([released]);
    given([...cancelledFresh, released])
      .when(reserved)
      .leadsTo([]);
  });
  test("notes its release once", () => {
    given([...cancelledFresh, reserved])
      .when(released)
      .leadsTo([released]);
    given([...cancelledFresh, reserved, released])
      .when(released)
      .leadsTo([]);
  });
  test("ignores its lapse", () =>
    given([...cancelledFresh, reserved])
      .when(lapsed)
      .leadsTo([]));
});

describe("the state", () => {
  test("says what was ordered, and starts at version 1", () => {
    expect(given([created]).state).toEqual({
      id: orderId,
      customerId: "ada",
      items,
      totalMinor: 1_900,
      currency: "USD",
      status: "pending",
      paymentStatus: "pending",
      inventoryStatus: "pending",
      createdAtMs: 1_000,
      updatedAtMs: 1_000,
      version: 1,
    });
  });
  test("counts every event, and keeps the tracking number", () => {
    expect(given(arrived).state).toMatchObject({
      status: "delivered",
      paymentStatus: "completed",
      inventoryStatus: "reserved",
      trackingNumber: "SS1",
      updatedAtMs: 1_005,
      version: 6,
    });
  });
  test("shows why it was cancelled and what was undone", () => {
    const events = [...unpaidHeld, paid, ready, cancelled("requested"), refunded, released];
    expect(given(events).state).toMatchObject({
      status: "cancelled",
      cancelReason: "requested",
      paymentStatus: "refunded",
      inventoryStatus: "released",
    });
  });
  test("does not go back in time when the clock does", () => {
    const state = evolve(given([created]).state, paid, 10);
    expect(state.updatedAtMs).toBe(1_000);
  });
});

describe("the reservation timer", () => {
  function change(before: readonly OrderEvent[], more: readonly OrderEvent[]) {
    const after = given([...before, ...more]).state;
    if (after === undefined) throw new Error("no order");
    return reservationTimer(given(before).state, after);
  }
  test("starts when stock is held for an unpaid order", () =>
    expect(change([created], [reserved])).toBe("start"));
  test("does not start for a paid or a cancelled order", () => {
    expect(change([created, paid], [reserved, ready])).toBe("none");
    expect(change(cancelledFresh, [reserved])).toBe("none");
  });
  test("is cancelled by a payment, good or bad, and by a cancellation", () => {
    expect(change(unpaidHeld, [paid, ready])).toBe("cancel");
    expect(change(unpaidHeld, [declined, cancelled("payment_failed")])).toBe("cancel");
    expect(change(unpaidHeld, [cancelled("requested")])).toBe("cancel");
  });
  test("is left alone otherwise", () => {
    expect(change([], [created])).toBe("none");
    expect(change(readyToShip, [shipped])).toBe("none");
  });
});

test("only what the order decides is published", () => {
  const events = [...readyToShip, shipped, delivered, cancelled("requested"), refunded, released];
  expect(events.filter(isDecided).map((event) => event.type)).toEqual([
    "order.created",
    "order.ready_to_ship",
    "order.shipped",
    "order.delivered",
    "order.cancelled",
  ]);
});
