/**
 * A shipment as a pure decider: from the order's word to a parcel that is packed, sent, delivered.
 *
 * The carrier is simulated by two durable timers: one reports the parcel as packed, the other as
 * delivered. Whether a packed parcel may leave is the order's decision alone; a shipment whose
 * order was cancelled takes its timer back and refuses everything after.
 */

import type { EventOf } from "../contracts/messages.ts";

export type ShipmentStatus = "packing" | "in_transit" | "delivered" | "cancelled";

/** The row of table `shipments`, by order id. */
export interface Shipment {
  readonly orderId: string;
  readonly trackingNumber: string;
  readonly carrier: string;
  readonly status: ShipmentStatus;
}

/** What shipping listens to. */
export type ShippingInput = EventOf<
  "order.ready_to_ship" | "order.shipped" | "order.delivered" | "order.cancelled"
>;

/** A report that is published after `delayMs`, unless its timer is cancelled. */
export interface Report {
  readonly timerId: string;
  readonly delayMs: number;
  readonly event: EventOf<"shipment.packed" | "shipment.delivered">;
}

export interface ShippingStep {
  readonly shipment: Shipment;
  readonly report?: Report;
  readonly timerCancelled?: string;
}

export interface ShippingTerms {
  readonly carrier: string;
  readonly trackingNumber: string;
  readonly packMs: number;
  readonly deliveryMs: number;
}

/** The shipment after `input`; `undefined` when nothing changes. */
export function decideShipment(
  input: ShippingInput,
  shipment: Shipment | undefined,
  terms: ShippingTerms,
): ShippingStep | undefined {
  switch (input.type) {
    case "order.ready_to_ship":
      return shipment === undefined ? pack(input.orderId, terms) : undefined;
    case "order.shipped":
      return shipment?.status === "packing" ? send(shipment, terms) : undefined;
    case "order.delivered":
      return shipment?.status === "in_transit"
        ? { shipment: { ...shipment, status: "delivered" } }
        : undefined;
    case "order.cancelled":
      return shipment?.status === "packing"
        ? {
            shipment: { ...shipment, status: "cancelled" },
            timerCancelled: packTimerId(shipment.orderId),
          }
        : undefined;
  }
}

/** The number on the parcel, made of a fresh UUID. */
export function trackingNumberOf(id: string): string {
  return `SS${id.replaceAll("-", "").toUpperCase()}`;
}

function pack(orderId: string, terms: ShippingTerms): ShippingStep {
  const { trackingNumber, carrier } = terms;
  return {
    shipment: { orderId, trackingNumber, carrier, status: "packing" },
    report: {
      timerId: packTimerId(orderId),
      delayMs: terms.packMs,
      event: { type: "shipment.packed", orderId, trackingNumber, carrier },
    },
  };
}

function send(shipment: Shipment, terms: ShippingTerms): ShippingStep {
  const { orderId, trackingNumber } = shipment;
  return {
    shipment: { ...shipment, status: "in_transit" },
    report: {
      timerId: `delivery:${orderId}`,
      delayMs: terms.deliveryMs,
      event: { type: "shipment.delivered", orderId, trackingNumber },
    },
  };
}

function packTimerId(orderId: string): string {
  return `pack:${orderId}`;
}
