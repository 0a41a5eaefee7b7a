/**
 * Every command and event of the shop: those of the order pipeline here, the others by import.
 *
 * Amounts are minor units, times are milliseconds since the epoch, ids are UUIDv7 text. Unknown
 * fields are refused, so that a producer's misspelling is found at once.
 */

import type { Static, TSchema } from "@sinclair/typebox";

import { Type } from "@sinclair/typebox";

import { commandContract, eventContract } from "./contract.ts";
import {
  Address,
  Amount,
  closed,
  Contact,
  Currency,
  Id,
  Item,
  ItemCount,
  ITEMS_MAX,
  PaymentMethod,
  QUANTITY_MAX,
  Text,
  Time,
} from "./fields.ts";
import {
  DeadLetterDiscarded,
  DeadLetterRedriven,
  DiscardLetters,
  FraudFlagged,
  NotificationDue,
  ReadLedger,
  RecordBehavior,
  RedriveLetters,
  UserBehavior,
} from "./platform-messages.ts";

const orderFields = {
  orderId: Id,
  customerId: Id,
  items: Type.Array(Item, { minItems: 1, maxItems: ITEMS_MAX }),
  totalMinor: Amount,
  currency: Currency,
  shippingAddress: Type.Optional(Address),
  billingAddress: Type.Optional(Address),
  paymentMethod: Type.Optional(PaymentMethod),
  contact: Type.Optional(Contact),
};

const CancelReason = Type.Union([
  Type.Literal("payment_failed"),
  Type.Literal("out_of_stock"),
  Type.Literal("reservation_expired"),
  Type.Literal("requested"),
]);
export type CancelReason = Static<typeof CancelReason>;

export const OrderCreated = eventContract(
  1,
  "order.created",
  "orders",
  Type.Object(orderFields, closed),
);
export const OrderReadyToShip = eventContract(
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
export const OrderShipped = eventContract(
  3,
  "order.shipped",
  "orders",
  Type.Object({ orderId: Id, trackingNumber: Id, carrier: Id }, closed),
);
export const OrderDelivered = eventContract(
  4,
  "order.delivered",
  "orders",
  Type.Object({ orderId: Id, trackingNumber: Id }, closed),
);
export const OrderCancelled = eventContract(
  5,
  "order.cancelled",
  "orders",
  Type.Object({ orderId: Id, reason: CancelReason, detail: Type.Optional(Text) }, closed),
);
export const PaymentProcessed = eventContract(
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
      /** Why it failed: `declined`, `fraud`, `unavailable`, … */
      reason: Type.Optional(Text),
      /** What the fraud check said, when any of its rules fired. */
      risk: Type.Optional(
        Type.Object(
          {
            /** 0..100; blocked from the configured threshold on. */
            score: Type.Integer({ minimum: 0, maximum: 100 }),
            /** Names of the rules that fired, heaviest first. */
            rules: Type.Array(Id, { maxItems: 32 }),
          },
          closed,
        ),
      ),
    },
    closed,
  ),
);
export const PaymentRefunded = eventContract(
  7,
  "payment.refunded",
  "payments",
  Type.Object({ orderId: Id, amountMinor: Amount, currency: Currency, reference: Id }, closed),
);
export const InventoryReserved = eventContract(
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
export const InventoryReleased = eventContract(
  9,
  "inventory.released",
  "inventory",
  Type.Object({ orderId: Id, items: Type.Array(ItemCount) }, closed),
);
/** The order's own timer: its reservation has lapsed unless it was paid. */
export const ReservationLapsed = eventContract(
  10,
  "reservation.lapsed",
  "inventory",
  Type.Object({ orderId: Id }, closed),
);
/** The parcel is packed and labelled; the order decides whether it may leave. */
export const ShipmentPacked = eventContract(
  11,
  "shipment.packed",
  "shipping",
  Type.Object({ orderId: Id, trackingNumber: Id, carrier: Id }, closed),
);
/** The carrier reports the parcel as handed over. */
export const ShipmentDelivered = eventContract(
  12,
  "shipment.delivered",
  "shipping",
  Type.Object({ orderId: Id, trackingNumber: Id }, closed),
);

/** `idempotency`: key and a fingerprint of the body it came with. */
export const CreateOrder = commandContract(
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
export const CancelOrder = commandContract(
  102,
  "order.cancel",
  Type.Object({ orderId: Id }, closed),
);
/** Sets what is available. `expectedVersion` 0 creates; otherwise the version must be that. */
export const SetStock = commandContract(
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
  "productId",
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
  UserBehavior,
  DeadLetterRedriven,
  DeadLetterDiscarded,
  NotificationDue,
  FraudFlagged,
] as const;
export const COMMANDS = [
  CreateOrder,
  CancelOrder,
  SetStock,
  RecordBehavior,
  RedriveLetters,
  DiscardLetters,
  ReadLedger,
] as const;

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
/** An event about one order. */
export type OrderPipelineEvent = Extract<ShopEvent, { readonly orderId: string }>;
export type EventOf<Name extends ShopEvent["type"]> = Extract<ShopEvent, { type: Name }>;
export type CommandOf<Name extends ShopCommand["type"]> = Extract<ShopCommand, { type: Name }>;
export type OrderItem = Static<typeof Item>;
