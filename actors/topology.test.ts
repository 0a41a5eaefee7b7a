/**
 * The built-in table against the contracts: no event without a route, no route to another topic.
 */

import { expect, test } from "bun:test";

import { EVENTS } from "./contracts/messages.ts";
import { LOCAL } from "./routing/route-row.ts";
import { compileTopology, describeRoutes, TOPOLOGY } from "./topology.ts";

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
