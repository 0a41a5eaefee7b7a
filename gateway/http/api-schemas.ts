/**
 * What the API takes and gives, as TypeBox schemas: the checks and the OpenAPI document are both
 * made of these.
 *
 * Objects are closed and nothing is converted: an unknown field or `"1"` for 1 is refused. Amounts
 * are JSON numbers here and minor units everywhere behind.
 */

import { Type } from "@sinclair/typebox";

import {
  Address,
  Contact,
  ITEMS_MAX,
  PaymentMethod,
  QUANTITY_MAX,
} from "../../actors/contracts/fields.ts";
import { AMOUNT_MINOR_MAX } from "../../actors/contracts/money.ts";
import { ORDER_STATUSES } from "../../actors/contracts/order-state.ts";

export const PAGE_DEFAULT = 50;
export const PAGE_MAX = 200;
export const STOCK_MAX = 1_000_000_000;
export const CURRENCY_DEFAULT = "USD";

const closed = { additionalProperties: false } as const;

/** Ids come from callers and end up in logs and paths: no control characters. */
export const IdSchema = Type.String({
  minLength: 1,
  maxLength: 128,
  pattern: "^[^\\u0000-\\u001f\\u007f]+$",
});
const Amount = Type.Number({
  minimum: 0,
  maximum: AMOUNT_MINOR_MAX / 100,
  description: "A decimal amount with at most two places.",
});
const Currency = Type.String({ pattern: "^[A-Z]{3}$", description: "ISO 4217, upper case." });
const Version = Type.Integer({ minimum: 1 });
const Instant = Type.String({ format: "date-time", description: "UTC, RFC 3339." });
const Count = Type.Integer({ minimum: 0, maximum: STOCK_MAX });

const Item = Type.Object(
  {
    productId: IdSchema,
    quantity: Type.Integer({ minimum: 1, maximum: QUANTITY_MAX }),
    price: Amount,
  },
  closed,
);

/** A request that was taken on and whose outcome is not known yet. */
export const PendingSchema = Type.Object(
  { id: IdSchema, outcome: Type.Literal("pending") },
  closed,
);

export const NewOrderSchema = Type.Object(
  {
    customerId: IdSchema,
    items: Type.Array(Item, { minItems: 1, maxItems: ITEMS_MAX }),
    currency: Type.Optional(
      Type.String({ ...Currency, description: `ISO 4217; ${CURRENCY_DEFAULT} when absent.` }),
    ),
    shippingAddress: Type.Optional(Address),
    billingAddress: Type.Optional(Address),
    paymentMethod: Type.Optional(PaymentMethod),
    contact: Type.Optional(Contact),
  },
  closed,
);

export const StockChangeSchema = Type.Object({ available: Count }, closed);
export const EmptySchema = Type.Object({}, closed);

export const StatusSchema = Type.Union(ORDER_STATUSES.map((status) => Type.Literal(status)));

export const OrderSchema = Type.Object(
  {
    id: Type.String(),
    customerId: Type.String(),
    items: Type.Array(Item),
    status: StatusSchema,
    paymentStatus: literals("pending", "completed", "failed", "refunded"),
    inventoryStatus: literals("pending", "reserved", "failed", "released"),
    total: Amount,
    currency: Currency,
    shippingAddress: Type.Optional(Address),
    paymentMethod: Type.Optional(
      Type.Object(
        { type: PaymentMethod.properties.type },
        {
          ...closed,
          description: "Without the token: it is never given out.",
        },
      ),
    ),
    cancelReason: Type.Optional(
      literals("payment_failed", "out_of_stock", "reservation_expired", "requested"),
    ),
    trackingNumber: Type.Optional(Type.String()),
    createdAt: Instant,
    updatedAt: Instant,
    version: Version,
  },
  closed,
);

export const OrderPageSchema = Type.Object(
  {
    orders: Type.Array(OrderSchema, { maxItems: PAGE_MAX }),
    nextCursor: Type.Optional(Type.String({ description: "Absent on the last page." })),
  },
  closed,
);

export const TimelineSchema = Type.Object(
  {
    events: Type.Array(
      Type.Object(
        {
          version: Version,
          type: Type.String(),
          at: Instant,
          data: Type.Object({}, { description: "The event, by its type." }),
        },
        closed,
      ),
    ),
  },
  closed,
);

export const StockSchema = Type.Object(
  { productId: Type.String(), available: Count, reserved: Count, shipped: Count, version: Version },
  closed,
);

const ServiceStatus = literals("up", "degraded", "down");

export const HealthSchema = Type.Object(
  {
    status: ServiceStatus,
    services: Type.Array(
      Type.Object(
        {
          name: Type.String(),
          status: ServiceStatus,
          latencyMs: Type.Number({ minimum: 0 }),
          errorRate: Type.Number({ minimum: 0, maximum: 1 }),
          lastChecked: Instant,
          detail: Type.Optional(Type.String()),
        },
        closed,
      ),
    ),
  },
  closed,
);

export const ProblemSchema = Type.Object({
  type: Type.String({ description: "urn:shopstream:problem:<name>" }),
  title: Type.String(),
  status: Type.Integer({ minimum: 400, maximum: 599 }),
  detail: Type.String(),
  instance: Type.String({ description: "The path that was asked for." }),
  correlationId: Type.String(),
  errors: Type.Optional(
    Type.Array(
      Type.Object(
        {
          pointer: Type.Optional(
            Type.String({ description: "Into the body: RFC 6901, as a URI fragment." }),
          ),
          parameter: Type.Optional(Type.String()),
          header: Type.Optional(Type.String()),
          detail: Type.String(),
        },
        closed,
      ),
    ),
  ),
});

function literals<const Names extends readonly string[]>(...names: Names) {
  return Type.Union(names.map((name: Names[number]) => Type.Literal(name)));
}
