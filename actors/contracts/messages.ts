/**
 * Every command and event of the order pipeline.
 *
 * Amounts are minor units, times are milliseconds since the epoch, ids are UUIDv7 text. Unknown
 * fields are refused, so that a producer's misspelling is found at once.
 */

import type { Static, TSchema } from "@sinclair/typebox";
import { Type } from "@sinclair/typebox";

import { defineContract } from "./contract.ts";
import { AMOUNT_MINOR_MAX } from "./money.ts";

export const ITEMS_MAX = 100;
export const QUANTITY_MAX = 10_000;

const closed = { additionalProperties: false } as const;
const Id = Type.String({ minLength: 1, maxLength: 128 });
const Amount = Type.Integer({ minimum: 0, maximum: AMOUNT_MINOR_MAX });
const Time = Type.Integer({ minimum: 0 });
const Quantity = Type.Integer({ minimum: 1, maximum: QUANTITY_MAX });
const Text = Type.String({ minLength: 1, maxLength: 500 });

export const Address = Type.Object(
  {
    name: Type.Optional(Text),
    line1: Text,
    line2: Type.Optional(Text),
    city: Text,
    postalCode: Type.String({ minLength: 1, maxLength: 20 }),
    country: Type.String({ pattern: "^[A-Z]{2}$" }),
  },
  closed,
);
export const PaymentMethod = Type.Object(
  {
    type: Type.Union([Type.Literal("card"), Type.Literal("invoice"), Type.Literal("wallet")]),
    /** A provider's token. Card numbers are never taken. */
    token: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
  },
  closed,
);
export const Item = Type.Object({ productId: Id, quantity: Quantity, priceMinor: Amount }, closed);
const ItemCount = Type.Object({ productId: Id, quantity: Quantity }, closed);
const Currency = Type.String({ pattern: "^[A-Z]{3}$" });

const orderFields = {
  orderId: Id,
  customerId: Id,
  items: Type.Array(Item, { minItems: 1, maxItems: ITEMS_MAX }),
  totalMinor: Amount,
  currency: Currency,
  shippingAddress: Type.Optional(Address),
  paymentMethod: Type.Optional(PaymentMethod),
};

const CancelReason = Type.Union([
  Type.Literal("payment_failed"),
  Type.Literal("out_of_stock"),
  Type.Literal("reservation_expired"),
  Type.Literal("requested"),
]);
export type CancelReason = Static<typeof CancelReason>;

function event<const Name extends string, Schema extends TSchema>(
  number: number,
  type: Name,
  topic: string,
  schema: Schema,
) {
  return defineContract({ type, number, version: 1, topic, schema });
}

export const OrderCreated = event(1, "order.created", "orders", Type.Object(orderFields, closed));
export const OrderReadyToShip = event(
  2,
  "order.ready_to_ship",
  "orders",
  Type.Object(
    {
      orderId: Id,
      customerId: Id,
      items: Type.Array(ItemCount, { minItems: 1, maxItems: ITEMS_MAX }),
      shippingAddress: Type.Optional(Address),
    },
    closed,
  ),
);
export const OrderShipped = event(
  3,
  "order.shipped",
  "orders",
  Type.Object({ orderId: Id, trackingNumber: Id, carrier: Id }, closed),
);
export const OrderDelivered = event(
  4,
  "order.delivered",
  "orders",
  Type.Object({ orderId: Id, trackingNumber: Id }, closed),
);
export const OrderCancelled = event(
  5,
  "order.cancelled",
  "orders",
  Type.Object({ orderId: Id, reason: CancelReason, detail: Type.Optional(Text) }, closed),
);
export const PaymentProcessed = event(
  6,
  "payment.processed",
  "payments",
  Type.Object(
    {
      orderId: Id,
      status: Type.Union([Type.Literal("completed"), Type.Literal("failed")]),
      amountMinor: Amount,
      currency: Currency,
      gateway: Type.Union([Type.Literal("premium"), Type.Literal("standard")]),
      /** The provider's own reference; present when completed. */
      reference: Type.Optional(Id),
      /** Why it failed: `declined`, `unavailable`, … */
      reason: Type.Optional(Text),
    },
    closed,
  ),
);
export const PaymentRefunded = event(
  7,
  "payment.refunded",
  "payments",
  Type.Object({ orderId: Id, amountMinor: Amount, currency: Currency, reference: Id }, closed),
);
export const InventoryReserved = event(
  8,
  "inventory.reserved",
  "inventory",
  Type.Object(
    {
      orderId: Id,
      status: Type.Union([Type.Literal("reserved"), Type.Literal("failed")]),
      /** When an unpaid reservation lapses; present when reserved. */
      expiresAtMs: Type.Optional(Time),
      /** What could not be had; present when failed. */
      failedItems: Type.Optional(
        Type.Array(
          Type.Object(
            {
              productId: Id,
              /** Summed over the order's lines, so it may exceed what one line may ask for. */
              requested: Type.Integer({ minimum: 1, maximum: ITEMS_MAX * QUANTITY_MAX }),
              available: Type.Integer({ minimum: 0 }),
            },
            closed,
          ),
        ),
      ),
    },
    closed,
  ),
);
export const InventoryReleased = event(
  9,
  "inventory.released",
  "inventory",
  Type.Object({ orderId: Id, items: Type.Array(ItemCount) }, closed),
);
/** The order's own timer: its reservation has lapsed unless it was paid. */
export const ReservationLapsed = event(
  10,
  "reservation.lapsed",
  "inventory",
  Type.Object({ orderId: Id }, closed),
);
/** The parcel is packed and labelled; the order decides whether it may leave. */
export const ShipmentPacked = event(
  11,
  "shipment.packed",
  "shipping",
  Type.Object({ orderId: Id, trackingNumber: Id, carrier: Id }, closed),
);
/** The carrier reports the parcel as handed over. */
export const ShipmentDelivered = event(
  12,
  "shipment.delivered",
  "shipping",
  Type.Object({ orderId: Id, trackingNumber: Id }, closed),
);

function command<const Name extends string, Schema extends TSchema>(
  number: number,
  type: Name,
  schema: Schema,
) {
  return defineContract({ type, number, version: 1, schema });
}

/** `idempotency`: key and a fingerprint of the body it came with. */
export const CreateOrder = command(
  101,
  "order.create",
  Type.Object(
    {
      ...orderFields,
      idempotency: Type.Optional(
        Type.Object(
          { key: Type.String({ minLength: 1, maxLength: 255 }), fingerprint: Id },
          closed,
        ),
      ),
    },
    closed,
  ),
);
export const CancelOrder = command(102, "order.cancel", Type.Object({ orderId: Id }, closed));
/** Sets what is available. `expectedVersion` 0 creates; otherwise the version must be that. */
export const SetStock = command(
  103,
  "inventory.set",
  Type.Object(
    {
      productId: Id,
      available: Type.Integer({ minimum: 0, maximum: 1_000_000_000 }),
      expectedVersion: Type.Optional(Type.Integer({ minimum: 0 })),
    },
    closed,
  ),
);

export const EVENTS = [
  OrderCreated,
  OrderReadyToShip,
  OrderShipped,
  OrderDelivered,
  OrderCancelled,
  PaymentProcessed,
  PaymentRefunded,
  InventoryReserved,
  InventoryReleased,
  ReservationLapsed,
  ShipmentPacked,
  ShipmentDelivered,
] as const;
export const COMMANDS = [CreateOrder, CancelOrder, SetStock] as const;

type Payload<C> = C extends {
  readonly type: infer Name extends string;
  readonly schema: infer S extends TSchema;
}
  ? Static<S> & { readonly type: Name }
  : never;

/** Any event, with its type beside its fields: what deciders take and give. */
export type ShopEvent = Payload<(typeof EVENTS)[number]>;
/** Any command, likewise. */
export type ShopCommand = Payload<(typeof COMMANDS)[number]>;
export type EventOf<Name extends ShopEvent["type"]> = Extract<ShopEvent, { type: Name }>;
export type CommandOf<Name extends ShopCommand["type"]> = Extract<ShopCommand, { type: Name }>;
export type OrderItem = Static<typeof Item>;
