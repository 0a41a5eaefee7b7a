/**
 * The fields that messages are made of, each bounded, as TypeBox schemas.
 *
 * Amounts are minor units, times are milliseconds since the epoch. Refuses texts without an end
 * and numbers without a bound.
 */

import { Type } from "@sinclair/typebox";

import { AMOUNT_MINOR_MAX } from "./money.ts";

export const ITEMS_MAX = 100;
export const QUANTITY_MAX = 10_000;
export const BEHAVIOR_EVENTS_MAX = 1_000;

/**
 * Fields that identify a means of payment or reach a person. Whoever shows an event hides them,
 * wherever they stand: who may read an order may neither charge its customer nor write to them.
 */
export const HIDDEN_FIELDS: ReadonlySet<string> = new Set([
  "token",
  "fingerprint",
  "contact",
  "email",
  "phone",
  "pushToken",
]);

export const closed = { additionalProperties: false } as const;
export const Id = Type.String({ minLength: 1, maxLength: 128 });
export const Amount = Type.Integer({ minimum: 0, maximum: AMOUNT_MINOR_MAX });
export const Time = Type.Integer({ minimum: 0 });
export const Quantity = Type.Integer({ minimum: 1, maximum: QUANTITY_MAX });
export const Text = Type.String({ minLength: 1, maxLength: 500 });

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
    /** The provider's fingerprint of the card: the same for every token of one card. */
    fingerprint: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
  },
  closed,
);

/** How to reach the customer about this order; a channel without an address here is not used. */
export const Contact = Type.Object(
  {
    email: Type.Optional(
      Type.String({ maxLength: 254, pattern: '^[^\\s@<>"]{1,64}@[^\\s@<>"]{1,189}$' }),
    ),
    phone: Type.Optional(Type.String({ pattern: "^\\+[1-9][0-9]{6,14}$" })),
    pushToken: Type.Optional(Type.String({ minLength: 1, maxLength: 500 })),
    /** BCP 47, the language alone or with a region; templates fall back to English. */
    language: Type.Optional(Type.String({ pattern: "^[a-z]{2,3}(-[A-Z]{2})?$" })),
  },
  closed,
);
export const Item = Type.Object({ productId: Id, quantity: Quantity, priceMinor: Amount }, closed);
export const ItemCount = Type.Object({ productId: Id, quantity: Quantity }, closed);
export const Currency = Type.String({ pattern: "^[A-Z]{3}$" });
