/**
 * Routes as an operator writes them: in TOML, in JSON, or as one variable, and refused in words.
 *
 * The group is looked at by itself, as the loader looks at each of its settings.
 */

import { expect, test } from "bun:test";

import { Value } from "@sinclair/typebox/value";

import { RouterGroup } from "./router-settings.ts";
import type { Setting } from "./setting-names.ts";
import { allows, describeAllowed, describeFault, readText } from "./setting-values.ts";

const TOML = `
[router]
unmatched = { broker = "embedded", topic = "orders" }

[[router.routes]]
name = "copy-large"
also = true
to = [{ broker = "kafka", topic = "orders", failover = { broker = "redis", topic = "orders" } }]

[router.routes.match]
types = ["order.*"]
headers = { region = "eu" }
payload = [{ path = "totalMinor", gte = 100000 }]

[router.routes.policy]
priority = "high"
ttlMs = 60000
retry = { attemptsMax = 5, delayMinMs = 100, delayMaxMs = 1000, jitter = 0.2 }
rate = { perSecond = 50.5, burst = 10 }
`;

const routes: Setting = {
  path: "router.routes",
  steps: ["router", "routes"],
  environmentName: "SHOPSTREAM_ROUTER_ROUTES",
  flag: "--router-routes",
  schema: RouterGroup.properties.routes,
};

test("a route of every policy is read from TOML as it stands", () => {
  const { router } = Bun.TOML.parse(TOML) as { router: object };
  const whole = Object.assign(Value.Create(RouterGroup), router);
  expect([...Value.Errors(RouterGroup, whole)]).toEqual([]);
});

test("a variable or a flag takes routes as JSON", () => {
  const rows = [{ name: "all", to: [{ broker: "embedded", topic: "orders" }] }];
  expect(readText(routes.schema, JSON.stringify(rows))).toEqual(rows);
  expect(readText(RouterGroup.properties.unmatched, "dead_letter")).toBe("dead_letter");
  const place = { broker: "embedded", topic: "orders" };
  expect(readText(RouterGroup.properties.unmatched, JSON.stringify(place))).toEqual(place);
});

test("what is no list of routes is refused by naming the row and the field", () => {
  const rows = [
    { name: "good", to: [] },
    { name: "bad", to: [{ broker: "kafka" }] },
  ];
  expect(allows(routes, rows)).toBe(false);
  expect(describeFault(routes, rows)).toBe("; at /1/to/0/topic: Expected required property");
  expect(describeAllowed(routes.schema)).toBe(
    "a list of which each is a table of name, match, to, also, policy",
  );
  expect(describeAllowed(RouterGroup.properties.unmatched)).toBe(
    "dead_letter or a table of broker, topic",
  );
  expect(allows(routes, readText(routes.schema, "not json"))).toBe(false);
});

test("every setting has a default of its own kind", () => {
  expect(Value.Check(RouterGroup, Value.Create(RouterGroup))).toBe(true);
});
