/**
 * What a row of the route table says: which frames it is for, where they go, and by which policy.
 *
 * Rows are data, in the built-in table and in the configuration alike, and this schema is the one
 * definition of both. It bounds every number and every list; what only makes sense in relation to
 * the other rows is refused by `compile-routes.ts`.
 */

import type { Static } from "@sinclair/typebox";
import { Type } from "@sinclair/typebox";

const DAY_MS = 86_400_000;
const LIST_MAX = 64;
const closed = { additionalProperties: false };

const Name = Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$" });
const Text = Type.String({ minLength: 1, maxLength: 1_024 });
const Names = Type.Array(Name, { minItems: 1, maxItems: LIST_MAX, uniqueItems: true });
const Scalar = Type.Union([Text, Type.Number(), Type.Boolean()]);

/** `order.created`, or `order.*` for every type that begins so. */
const TypePattern = Type.String({ pattern: "^[a-z][a-z0-9_.]{0,98}(\\.\\*)?$" });

/** A step is a field's name, or the index in a list: `items.0.quantity`. */
const Path = Type.String({ pattern: "^[A-Za-z0-9_-]{1,64}(\\.[A-Za-z0-9_-]{1,64}){0,7}$" });

const PayloadTest = Type.Union([
  Type.Object({ path: Path, eq: Scalar }, closed),
  Type.Object({ path: Path, in: Type.Array(Scalar, { minItems: 1, maxItems: LIST_MAX }) }, closed),
  Type.Object({ path: Path, gte: Type.Number() }, closed),
  Type.Object({ path: Path, lte: Type.Number() }, closed),
]);

/** Everything that is given must hold; nothing given matches every frame. */
const Match = Type.Object(
  {
    /** Brokers it comes from; the local one is where the shop's own events are made. */
    from: Type.Optional(Names),
    topics: Type.Optional(Names),
    types: Type.Optional(
      Type.Array(TypePattern, { minItems: 1, maxItems: LIST_MAX, uniqueItems: true }),
    ),
    keyPrefix: Type.Optional(Text),
    headers: Type.Optional(Type.Record(Name, Text, { minProperties: 1, maxProperties: 16 })),
    priority: Type.Optional(Type.Union([Type.Literal("high"), Type.Literal("normal")])),
    payload: Type.Optional(Type.Array(PayloadTest, { minItems: 1, maxItems: 16 })),
  },
  closed,
);

const Place = Type.Object({ broker: Name, topic: Name }, closed);

/** `failover`: where frames go instead while the circuit of `broker` stays open. */
const Destination = Type.Object(
  { broker: Name, topic: Name, failover: Type.Optional(Place) },
  closed,
);

const Policy = Type.Object(
  {
    /** The lane of an egress; also written into the frame, as the header `priority`. */
    priority: Type.Optional(Type.Union([Type.Literal("high"), Type.Literal("normal")])),
    /** Of forwarding: at the ingress, and at the egress. */
    retry: Type.Optional(
      Type.Object(
        {
          attemptsMax: Type.Integer({ minimum: 1, maximum: 100_000 }),
          delayMinMs: Type.Integer({ minimum: 1, maximum: DAY_MS }),
          delayMaxMs: Type.Integer({ minimum: 1, maximum: DAY_MS }),
          jitter: Type.Number({ minimum: 0, maximum: 1 }),
          deadlineMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 365 * DAY_MS })),
        },
        closed,
      ),
    ),
    /** From the frame's own time; a nearer deadline of the frame stays. */
    ttlMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 365 * DAY_MS })),
    /** At the ingress, by message id; the inbox remembers longer than the window. */
    dedup: Type.Optional(
      Type.Object(
        {
          windowMs: Type.Integer({ minimum: 1, maximum: DAY_MS }),
          idsMax: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
        },
        closed,
      ),
    ),
    /** Where frames are forwarded: at the ingress, and at each egress. What is over it waits. */
    rate: Type.Optional(
      Type.Object(
        {
          perSecond: Type.Number({ exclusiveMinimum: 0, maximum: 10_000_000 }),
          burst: Type.Integer({ minimum: 1, maximum: 10_000_000 }),
        },
        closed,
      ),
    ),
  },
  closed,
);

export const RouteRowSchema = Type.Object(
  {
    name: Name,
    match: Type.Optional(Match),
    /** More than one is a fan-out: all of them or none. */
    to: Type.Array(Destination, { maxItems: 16 }),
    /** Later rows may match the same frame too. */
    also: Type.Optional(Type.Boolean()),
    policy: Type.Optional(Policy),
  },
  closed,
);

/** A broker and a topic there: where a frame goes that no row matches. */
export const PlaceSchema = Place;

type Frozen<Value> = Value extends readonly (infer Item)[]
  ? readonly Frozen<Item>[]
  : Value extends object
    ? { readonly [Field in keyof Value]: Frozen<Value[Field]> }
    : Value;

export type RouteRow = Frozen<Static<typeof RouteRowSchema>>;
export type RouteMatch = Frozen<Static<typeof Match>>;
export type RoutePolicy = Frozen<Static<typeof Policy>>;
export type Destination = Frozen<Static<typeof Destination>>;
export type Place = Frozen<Static<typeof Place>>;
export type PayloadTest = Frozen<Static<typeof PayloadTest>>;
export type Priority = NonNullable<RoutePolicy["priority"]>;

/** The broker that the units of work publish to: the one a process cannot be without. */
export const LOCAL = "embedded";
