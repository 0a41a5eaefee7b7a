/**
 * Tables that are refused: by which row, and for which reason.
 *
 * Every case is a table that is right but for one thing.
 */

import { describe, expect, test } from "bun:test";

import type { RouteRow } from "./route-row.ts";

import { ShopError } from "../../runtime/errors.ts";
import { compileRoutes } from "./compile-routes.ts";
import { LOCAL } from "./route-row.ts";
import { BUILT_IN, KNOWN } from "./routing-world.suite.ts";

const GOOD: RouteRow = {
  name: "good",
  match: { keyPrefix: "g" },
  to: [{ broker: "beta", topic: "copies" }],
};
const to = (broker: string, topic: string, more: object = {}) => [{ broker, topic, ...more }];
const RATE = { perSecond: 1, burst: 1 };
const DEDUP = { windowMs: 1, idsMax: 1 };
const retry = { attemptsMax: 3, delayMinMs: 10, delayMaxMs: 100, jitter: 0 };

function refusal(rows: readonly unknown[], unmatched: unknown = "dead_letter"): string {
  try {
    // Rows of any shape: what the types forbid must be refused at run time too.
    compileRoutes({ configured: rows, builtIn: BUILT_IN, unmatched } as never, KNOWN);
    return "";
  } catch (error) {
    expect(error).toBeInstanceOf(ShopError);
    expect(error).toMatchObject({ code: "BAD_CONFIGURATION", retry: "never" });
    return error instanceof ShopError ? error.message : "";
  }
}

const REFUSALS: readonly [string, object, string][] = [
  [
    "to a broker nobody knows",
    { to: to("gamma", "orders") },
    "no broker gamma; there are embedded, alpha, beta",
  ],
  ["to a topic the broker has not", { to: to("alpha", "nope") }, "no topic nope at alpha"],
  [
    "to the inside of an outbox",
    { to: to(LOCAL, "outbox.alpha") },
    "on their way to an egress only",
  ],
  [
    "with a rate that nothing keeps to",
    { match: { from: [LOCAL] }, to: to(LOCAL, "orders"), policy: { rate: RATE } },
    "rate has no effect",
  ],
  [
    "with a retry of what cannot fail alone",
    { match: { from: [LOCAL, "beta"] }, to: to(LOCAL, "orders"), policy: { retry } },
    "retry has no effect",
  ],
  [
    "with a deduplication of what never comes in",
    { match: { from: ["beta"] }, to: to("alpha", "copies"), policy: { dedup: DEDUP } },
    "dedup has no effect",
  ],
  ["to nowhere", { to: [] }, "to names no destination"],
  [
    "to one place twice",
    { to: [...to("alpha", "copies"), ...to("alpha", "copies")] },
    "goes to alpha/copies twice",
  ],
  ["from a broker nobody knows", { match: { from: ["gamma"] } }, "no broker gamma"],
  ["for a topic nobody has", { match: { topics: ["nope"] } }, "matches topic nope"],
  [
    "for a type nobody has",
    { match: { types: ["order.exploded"] } },
    "matches type order.exploded",
  ],
  ["for a pattern of no type", { match: { types: ["nope.*"] } }, "matches type nope.*"],
  ["for an empty key", { match: { keyPrefix: "" } }, "/match/keyPrefix"],
  [
    "with a comparison nobody knows",
    { match: { payload: [{ path: "a", like: "x" }] } },
    "/match/payload/0",
  ],
  [
    "with a path that is none",
    { match: { payload: [{ path: "a..b", eq: 1 }] } },
    "/match/payload/0",
  ],
  ["with a field nobody knows", { matches: {} }, "/matches"],
  ["at no rate", { policy: { rate: { perSecond: 0, burst: 1 } } }, "/policy/rate/perSecond"],
  [
    "at a negative rate",
    { policy: { rate: { perSecond: -1, burst: 1 } } },
    "/policy/rate/perSecond",
  ],
  ["without a burst", { policy: { rate: { perSecond: 1, burst: 0 } } }, "/policy/rate/burst"],
  [
    "with no attempts",
    { policy: { retry: { ...retry, attemptsMax: 0 } } },
    "/policy/retry/attemptsMax",
  ],
  [
    "with a shrinking delay",
    { policy: { retry: { ...retry, delayMaxMs: 5 } } },
    "retry.delayMinMs 10 exceeds delayMaxMs 5",
  ],
  [
    "with a deadline before the second attempt",
    { policy: { retry: { ...retry, deadlineMs: 5 } } },
    "retry.deadlineMs 5",
  ],
  ["with too much jitter", { policy: { retry: { ...retry, jitter: 2 } } }, "/policy/retry/jitter"],
  ["with no time to live", { policy: { ttlMs: 0 } }, "/policy/ttlMs"],
  [
    "with a window for no ids",
    { policy: { dedup: { windowMs: 1, idsMax: 0 } } },
    "/policy/dedup/idsMax",
  ],
  ["with an unknown lane", { policy: { priority: "urgent" } }, "/policy/priority"],
  [
    "back to where it comes from",
    { match: { from: ["alpha"] }, to: to("alpha", "inbound") },
    "back to where it came from",
  ],
  [
    "with a failover of the local broker",
    { to: to(LOCAL, "orders", { failover: { broker: "beta", topic: "orders" } }) },
    "embedded needs no failover",
  ],
  [
    "with a failover to itself",
    { to: to("alpha", "orders", { failover: { broker: "alpha", topic: "copies" } }) },
    "fails over from alpha to alpha itself",
  ],
  [
    "with a failover to a topic nobody has",
    { to: to("alpha", "orders", { failover: { broker: "beta", topic: "x" } }) },
    "no topic x at beta",
  ],
];

describe("a row is refused", () => {
  const bad = (row: object) => ({ ...GOOD, name: "bad", match: { keyPrefix: "b" }, ...row });
  for (const [name, row, reason] of REFUSALS) {
    test(name, () => {
      const message = refusal([GOOD, bad(row)]);
      expect(message).toStartWith("route 1 (bad): ");
      expect(message).toContain(reason);
    });
  }
});

describe("a table is refused", () => {
  test("when two rows have one name", () => {
    expect(refusal([GOOD, { ...GOOD, match: { keyPrefix: "h" } }])).toBe(
      "route 1 (good): route 0 has that name already",
    );
  });
  test("when an earlier row takes everything of a later one", () => {
    const all: RouteRow = { name: "all", match: { types: ["order.*"] }, to: GOOD.to };
    const dead: RouteRow = { name: "dead", match: { types: ["order.created"] }, to: GOOD.to };
    expect(refusal([all, dead])).toBe(
      "route 1 (dead): can never match: all takes everything before it",
    );
    expect(refusal([{ ...all, also: true }, dead])).toBe("");
  });
  test("when several rows together take everything of a later one", () => {
    const some = (name: string, types: readonly string[]): RouteRow => ({
      name,
      match: { types: [...types], topics: ["orders"] },
      to: [...GOOD.to],
    });
    const rows = [
      some("a", ["order.created"]),
      some("b", ["order.shipped"]),
      some("c", ["order.*"]),
    ];
    expect(refusal(rows)).toContain("route 2 (c): can never match");
  });
  test("when an earlier row asks for less of the same frames", () => {
    const wide: RouteRow = { name: "wide", match: { keyPrefix: "a" }, to: GOOD.to };
    const match = { keyPrefix: "ab", headers: { h: "1" } };
    expect(refusal([wide, { name: "narrow", match, to: GOOD.to }])).toContain("route 1 (narrow)");
    expect(refusal([{ name: "narrow", match, to: GOOD.to }, wide])).toBe("");
  });
  test("when failovers go in a circle", () => {
    const row = (name: string, from: string, back: string) => ({
      name,
      match: { keyPrefix: name },
      to: to(from, "orders", { failover: { broker: back, topic: "orders" } }),
    });
    const message = refusal([row("one", "alpha", "beta"), row("two", "beta", "alpha")]);
    expect(message).toContain("route 0 (one): its failover goes in a circle: alpha/orders → beta/");
    expect(message).toContain("route 1 (two): ");
    expect(refusal([row("one", "alpha", "beta")])).toBe("");
  });
  test("when the place for everything else is nowhere", () => {
    expect(refusal([], { broker: "gamma", topic: "x" })).toStartWith("unmatched: no broker gamma");
  });
  test("with every problem at once", () => {
    const message = refusal([
      { ...GOOD, name: "x", to: [] },
      { ...GOOD, name: "y", to: to("gamma", "z") },
    ]);
    expect(message.split("\n")).toHaveLength(2);
  });
  test("not when a configured row leaves nothing to a built-in one", () => {
    expect(refusal([{ name: "all", to: GOOD.to }])).toBe("");
  });
});
