/**
 * What the endpoints of behaviour and analytics take and give, as TypeBox schemas.
 *
 * Objects are closed. A rate or an average of nothing is null, never 0; amounts always stand beside
 * their currency.
 */

import { Type } from "@sinclair/typebox";

import { BEHAVIOR_EVENTS_MAX } from "../../actors/contracts/fields.ts";
import { IdSchema } from "./api-schemas.ts";

const closed = { additionalProperties: false } as const;

const Instant = Type.String({ format: "date-time", description: "UTC, RFC 3339." });
const Count = Type.Integer({ minimum: 0 });
const Amount = Type.Number({ description: "A decimal amount." });
const Currency = Type.String({ pattern: "^[A-Z]{3}$", description: "ISO 4217, upper case." });
const Rate = Type.Union([Type.Number({ minimum: 0 }), Type.Null()]);

/** The form of a time that is taken; whether there is such a day is checked besides. */
export const INSTANT_PATTERN =
  "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?" +
  "(Z|[+-][0-9]{2}:[0-9]{2})$";

export const InstantParameter = Type.String({
  pattern: INSTANT_PATTERN,
  description: "RFC 3339, with its offset.",
});

const NewEventSchema = Type.Object(
  {
    event: Type.String({
      minLength: 1,
      maxLength: 64,
      pattern: "^[^\\u0000-\\u001f\\u007f]+$",
      description: "The caller's own name of what happened.",
    }),
    customerId: IdSchema,
    productId: Type.Optional(IdSchema),
    at: Type.Optional(
      Type.String({ pattern: INSTANT_PATTERN, description: "RFC 3339; when absent: on arrival." }),
    ),
  },
  closed,
);

export const NewEventsSchema = Type.Array(NewEventSchema, {
  minItems: 1,
  maxItems: BEHAVIOR_EVENTS_MAX,
});

export const EventsAcceptedSchema = Type.Object(
  { accepted: Type.Integer({ minimum: 1, maximum: BEHAVIOR_EVENTS_MAX }), batchId: Type.String() },
  closed,
);

const money = { currency: Currency, orders: Count, payments: Count };

export const AnalyticsRealtimeSchema = Type.Object(
  {
    from: Instant,
    to: Instant,
    asOf: Type.Union([Instant, Type.Null()], {
      description: "When the newest message counted here was stored; null before the first.",
    }),
    orders: Count,
    payments: Type.Integer({ minimum: 0, description: "Completed ones." }),
    conversionRate: Type.Union(Rate.anyOf, { description: "Payments of orders." }),
    visitors: Type.Integer({ minimum: 0, description: "Different customers seen, within 3 %." }),
    visitorConversionRate: Type.Union(Rate.anyOf, { description: "Orders of visitors." }),
    currencies: Type.Array(
      Type.Object(
        {
          ...money,
          orderValue: Amount,
          revenue: Amount,
          averageOrderValue: Type.Union([Amount, Type.Null()], {
            description: "Revenue by completed payment.",
          }),
        },
        closed,
      ),
    ),
    hours: Type.Array(
      Type.Object(
        {
          start: Instant,
          orders: Count,
          payments: Count,
          conversionRate: Rate,
          amounts: Type.Array(
            Type.Object({ ...money, orderValue: Amount, revenue: Amount }, closed),
          ),
        },
        closed,
      ),
      { description: "24, oldest first; the last is the present one." },
    ),
    topProducts: Type.Object(
      {
        byUnits: Type.Array(Type.Object({ productId: Type.String(), units: Count }, closed)),
        byRevenue: Type.Array(
          Type.Object({ productId: Type.String(), currency: Currency, revenue: Amount }, closed),
        ),
      },
      closed,
    ),
    behavior: Type.Array(Type.Object({ event: Type.String(), count: Count }, closed)),
  },
  closed,
);

export const AnalyticsRowsSchema = Type.Object(
  {
    metric: Type.String(),
    granularity: Type.String(),
    groupBy: Type.Optional(Type.String()),
    from: Instant,
    to: Instant,
    rows: Type.Array(
      Type.Object(
        {
          start: Instant,
          value: Type.Optional(Type.String({ description: "Of the dimension grouped by." })),
          currency: Type.Optional(Currency),
          count: Type.Optional(Count),
          sum: Type.Optional(Amount),
          avg: Type.Optional(Amount),
          p50: Type.Optional(Amount),
          p90: Type.Optional(Amount),
          p95: Type.Optional(Amount),
          p99: Type.Optional(Amount),
        },
        closed,
      ),
      { description: "Windows without events have no row." },
    ),
  },
  closed,
);
