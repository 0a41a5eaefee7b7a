/**
 * A shipment step by step, its timers, and its service over a store in memory. A message that comes
 * twice, too early or too late changes nothing.
 */

import { beforeEach, describe, expect, test } from "bun:test";

import type { Outgoing } from "../brokers/broker.ts";
import type { EventOf, ShopEvent } from "../contracts/messages.ts";
import type { ShipmentStatus, ShippingInput } from "./shipping.ts";

import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { delivered, eventsOf, messageOf, SLOTS } from "../order/delivered.suite.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { createShippingService, decodeShipment, SHIPPING_SETTINGS } from "./shipping-actor.ts";
import { decideShipment, trackingNumberOf } from "./shipping.ts";

const ready: EventOf<"order.ready_to_ship"> = {
  type: "order.ready_to_ship",
  orderId: "o1",
  customerId: "ada",
  items: [{ productId: "tea", quantity: 1 }],
};
const parcel = { orderId: "o1", trackingNumber: "SS1", carrier: "simulated" };
const shipped: ShippingInput = { type: "order.shipped", ...parcel };
const handedOver: ShippingInput = {
  type: "order.delivered",
  orderId: "o1",
  trackingNumber: "SS1",
};
const cancelled: ShippingInput = { type: "order.cancelled", orderId: "o1", reason: "requested" };
const terms = { ...SHIPPING_SETTINGS, trackingNumber: "SS1" };

describe("a shipment", () => {
  const rows: readonly [ShipmentStatus | "none", readonly (ShipmentStatus | "none")[]][] = [
    // after:       ready, shipped, delivered, cancelled
    ["none", ["packing", "none", "none", "none"]],
    ["packing", ["none", "in_transit", "none", "cancelled"]],
    ["in_transit", ["none", "none", "delivered", "none"]],
    ["delivered", ["none", "none", "none", "none"]],
    ["cancelled", ["none", "none", "none", "none"]],
  ];
  for (const [status, expected] of rows) {
    test(`that is ${status} goes to ${expected.join(", ")}`, () => {
      const shipment = status === "none" ? undefined : { ...parcel, status };
      const after = [ready, shipped, handedOver, cancelled].map(
        (input) => decideShipment(input, shipment, terms)?.shipment.status ?? "none",
      );
      expect(after).toEqual([...expected]);
    });
  }
  test("reports that it is packed, unless it is cancelled before", () => {
    expect(decideShipment(ready, undefined, terms)?.report).toEqual({
      timerId: "pack:o1",
      delayMs: 200,
      event: { type: "shipment.packed", ...parcel },
    });
    const packing = { ...parcel, status: "packing" } as const;
    expect(decideShipment(cancelled, packing, terms)?.timerCancelled).toBe("pack:o1");
  });
  test("keeps its tracking number", () => {
    const packing = { ...parcel, trackingNumber: "SS7", status: "packing" } as const;
    expect(decideShipment(shipped, packing, terms)).toMatchObject({
      shipment: { trackingNumber: "SS7" },
      report: { event: { type: "shipment.delivered", trackingNumber: "SS7" } },
    });
  });
});

test("a tracking number is SS and the id in capitals", () => {
  expect(trackingNumberOf("0193abcd-1234-7000-8000-0000000000ef")).toBe(
    "SS0193ABCD1234700080000000000000EF",
  );
});

describe("the service", () => {
  function setUp() {
    const environment = createVirtualEnvironment();
    const outgoing: Outgoing[] = [];
    const onOutgoing = (each: Outgoing) => void outgoing.push(each);
    const store = createMemoryStore({ environment, onOutgoing });
    const service = createShippingService({ store, environment, slots: SLOTS });
    const tell = (event: ShopEvent) => service.handle(delivered(event, "shipping", environment));
    const shipment = () => store.rows("shipments").map((row) => decodeShipment(row.data))[0];
    return { environment, outgoing, store, service, tell, shipment };
  }
  let shop: ReturnType<typeof setUp>;
  beforeEach(() => {
    shop = setUp();
  });

  test("packs within the second and delivers five seconds after", async () => {
    await shop.tell(ready);
    await shop.environment.advance(199);
    expect(shop.outgoing).toHaveLength(0);
    await shop.environment.advance(1);
    const [packed] = eventsOf(shop.outgoing);
    if (packed?.type !== "shipment.packed") throw new Error("not packed");
    expect(shop.outgoing[0]?.topic).toBe("shipping");
    await shop.tell({ ...packed, type: "order.shipped" });
    await shop.environment.advance(4_999);
    expect(shop.outgoing).toHaveLength(1);
    await shop.environment.advance(1);
    const { trackingNumber } = packed;
    expect(eventsOf(shop.outgoing)[1]).toEqual({
      type: "shipment.delivered",
      orderId: "o1",
      trackingNumber,
    });
    await shop.tell({ type: "order.delivered", orderId: "o1", trackingNumber });
    expect(shop.shipment()).toEqual({ ...parcel, trackingNumber, status: "delivered" });
  });

  test("takes its timer back when the order is cancelled", async () => {
    await shop.tell(ready);
    await shop.tell(cancelled);
    expect(shop.store.timerIds()).toEqual([]);
    await shop.environment.advance(60_000);
    expect(shop.outgoing).toHaveLength(0);
    expect(shop.shipment()?.status).toBe("cancelled");
  });

  test("gives one parcel one number, however often it is told", async () => {
    const message = delivered(ready, "shipping", shop.environment);
    expect(await shop.service.handle(message)).toEqual({ kind: "settled" });
    expect(shop.store.hasMark("shipping", message.frame.id)).toBe(true);
    const first = shop.shipment();
    expect(await shop.service.handle(message)).toEqual({ kind: "ack" });
    await shop.tell(ready);
    expect(shop.shipment()).toEqual(first);
    await shop.environment.advance(1_000);
    expect(shop.outgoing).toHaveLength(1);
  });

  test("acknowledges what is not about shipping", async () => {
    const released = { type: "inventory.released", orderId: "o1", items: [] } as const;
    expect(await shop.tell({ ...released, items: [] })).toEqual({ kind: "ack" });
  });

  test("names the order's message as the cause of the report", async () => {
    const message = delivered(ready, "shipping", shop.environment);
    await shop.service.handle(message);
    await shop.environment.advance(200);
    const [packed] = shop.outgoing;
    if (packed === undefined) throw new Error("not packed");
    expect(messageOf(packed, "order").frame.headers).toMatchObject({
      causationid: message.frame.id,
    });
  });
});
