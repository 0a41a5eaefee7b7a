/**
 * The built-in table against the contracts: no event without a route, no route to another topic.
 */

import { describe, expect, test } from "bun:test";

import type { KnownBroker } from "./routing/route-refusals.ts";
import type { RouteRow } from "./routing/route-row.ts";

import { describeError } from "../runtime/errors.ts";
import { EVENTS } from "./contracts/messages.ts";
import { LOCAL } from "./routing/route-row.ts";
import { NOTIFIED_CONTRACTS } from "./notification/notification.ts";
import { compileTopology, describeRoutes, TOPOLOGY, COPYING_TOPOLOGY } from "./topology.ts";

test("every event goes to the topic of its contract, at the local broker", () => {
  const table = compileTopology({ routes: [], unmatched: "dead_letter" }, new Map());
  for (const { type, number, topic } of EVENTS) {
    const { fixed } = table
      .source(LOCAL)
      .lane(topic ?? "")
      .candidates(number);
    const places = fixed?.copies.map(({ to }) => [type, to.broker, to.topic]);
    expect(places).toEqual([[type, LOCAL, topic ?? ""]]);
  }
  expect(TOPOLOGY).toHaveLength(EVENTS.length);
  expect(table.rows).toHaveLength(EVENTS.length);
});

test("the table reads as one line for each row, and one for everything else", () => {
  const copy = {
    name: "copy",
    match: { keyPrefix: "eu-" },
    also: true,
    to: [{ broker: "kafka", topic: "orders" }],
    policy: { ttlMs: 1_000 },
  };
  const rules = { routes: [copy], unmatched: "dead_letter" as const };
  const lines = describeRoutes(compileTopology(rules, new Map([["kafka", {}]])));
  expect(lines.slice(0, 2)).toEqual([
    "copy: if key eu- → kafka/orders, and on (ttlMs)",
    "order.created: types order.created → embedded/orders",
  ]);
  expect(lines.at(-1)).toBe("anything else → dead letters");
});

test("a route to a broker that is not configured is refused by its name", () => {
  const routes = [{ name: "lost", to: [{ broker: "kafka", topic: "orders" }] }];
  expect(() => compileTopology({ routes, unmatched: "dead_letter" }, new Map())).toThrow(
    "route 0 (lost): no broker kafka; there are embedded",
  );
});

describe("a route that takes an event from the services", () => {
  const refusalOf = (
    row: Omit<RouteRow, "name">,
    foreign: [string, KnownBroker][] = [],
  ): string => {
    try {
      const routes = [{ name: "away", ...row }];
      compileTopology({ routes, unmatched: "dead_letter" }, new Map(foreign));
      return "taken";
    } catch (error) {
      return describeError(error);
    }
  };
  const created = { types: ["order.created"] };
  const elsewhere = { broker: LOCAL, topic: "operations" };
  const home = { broker: LOCAL, topic: "orders" };

  test("is refused with its name, the event and who would miss it", () => {
    expect(refusalOf({ match: created, to: [elsewhere] })).toContain(
      "route 0 (away): takes order.created from embedded/orders, where payment, inventory, " +
        "shipping, notification, audit, analytics hear it; add that place, or also = true",
    );
    const some = { ...created, keyPrefix: "eu-" };
    expect(refusalOf({ match: some, to: [elsewhere] })).toContain("takes order.created");
  });

  test("is taken when the services get it all the same", () => {
    expect(refusalOf({ match: created, to: [elsewhere, home] })).toBe("taken");
    expect(refusalOf({ match: created, also: true, to: [elsewhere] })).toBe("taken");
  });

  test("is taken when another broker may bring it back", () => {
    const kafka: [string, KnownBroker] = ["kafka", { ingressTopics: ["orders"] }];
    const to = [{ broker: "kafka", topic: "orders" }];
    const local = { ...created, from: [LOCAL] };
    expect(refusalOf({ match: local, to }, [kafka])).toBe("taken");
    expect(refusalOf({ match: created, to }, [["kafka", {}]])).toContain("takes order.created");
  });
});

describe("where notices travel on a topic of their own", () => {
  const table = compileTopology(
    { routes: [], unmatched: "dead_letter" },
    new Map(),
    COPYING_TOPOLOGY,
  );
  const lines = describeRoutes(table);

  test("what customers are told of goes there besides, and stays where it was", () => {
    for (const type of ["order.created", "order.shipped", "order.cancelled"]) {
      expect(lines).toContain(`${type}: types ${type} → ${LOCAL}/orders + ${LOCAL}/notifications`);
    }
  });

  test("what falls due is noted for the audit", () => {
    expect(lines.find((line) => line.startsWith("notification.due"))).toEndWith(
      `→ ${LOCAL}/notifications + ${LOCAL}/operations`,
    );
  });

  test("everything else is as before", () => {
    const copied = [...NOTIFIED_CONTRACTS].map(({ type }): string => type);
    const before = describeRoutes(
      compileTopology({ routes: [], unmatched: "dead_letter" }, new Map()),
    );
    const isOther = (line: string): boolean => !copied.some((type) => line.startsWith(`${type}:`));
    expect(lines.filter(isOther)).toEqual(before.filter(isOther));
  });
});
