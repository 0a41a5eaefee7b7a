/**
 * Settings of the router: routes of one's own, what becomes of the rest, and the egress to each
 * broker.
 *
 * Rows are checked here as far as each can be by itself; what they say together is refused when the
 * table is compiled, at start. A file is the place for them, but a flag or a variable takes JSON.
 */

import { Type } from "@sinclair/typebox";

import { PlaceSchema, RouteRowSchema } from "../../actors/routing/route-row.ts";
import { FOREIGN_BROKERS } from "../../actors/contracts/topics.ts";
import { group, HOUR_MS, integer, MINUTE_MS, SECOND_MS } from "./setting-types.ts";

const ROUTES_MAX = 256;

const names = Type.Array(Type.String({ minLength: 1, maxLength: 200 }), {
  maxItems: ROUTES_MAX,
  uniqueItems: true,
  default: [],
});

/** Topics of others at a broker: those that routes may send to, those taken in. */
const LinkSchema = Type.Object(
  {
    broker: Type.Union(FOREIGN_BROKERS.map((name) => Type.Literal(name))),
    topics: Type.Optional(names),
    ingress: Type.Optional(names),
  },
  { additionalProperties: false },
);

export const RouterGroup = group({
  links: Type.Array(LinkSchema, {
    maxItems: FOREIGN_BROKERS.length,
    default: [],
    description: "for each of brokers: topics of others that routes send to, topics taken in",
  }),
  routes: Type.Array(RouteRowSchema, {
    maxItems: ROUTES_MAX,
    default: [],
    description: "routes before the built-in ones; one of the same name replaces it",
  }),
  unmatched: Type.Union([Type.Literal("dead_letter"), PlaceSchema], {
    default: "dead_letter",
    description: "where frames go that no route matches",
  }),
  outboxFramesMax: integer(
    1_000,
    100_000_000,
    200_000,
    "frames that wait for one broker; above: 503 for new orders",
  ),
  batchMax: integer(1, 1_000, 256, "frames of one publication to another broker"),
  failoverAfterMs: integer(0, HOUR_MS, 30 * SECOND_MS, "a broker down before its failover"),
  breaker: group({
    failuresToOpen: integer(1, 1_000, 5, "failures in a row that open a broker's circuit"),
    clearIntervalMs: integer(SECOND_MS, HOUR_MS, MINUTE_MS, "count of failures starts anew"),
    halfOpenAfterMs: integer(10, HOUR_MS, 5 * SECOND_MS, "from open to the first trial"),
    trialsMax: integer(1, 1_000, 3, "trials that must succeed to close the circuit"),
  }),
});
