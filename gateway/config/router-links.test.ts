/** What links to other brokers may say, when settings are read. No server is asked. */

import { describe, expect, test } from "bun:test";

import { loadConfig } from "./load-config.ts";

const REMOTE = {
  SHOPSTREAM_STORE: "postgres",
  SHOPSTREAM_BROKERS: "kafka,redis,rabbitmq",
  SHOPSTREAM_ROLES: "order,payment,inventory,shipping,notification",
};
const EMBEDDED = { SHOPSTREAM_BROKERS: "kafka,redis,rabbitmq" };

interface Link {
  readonly broker: string;
  readonly topics?: readonly string[];
  readonly ingress?: readonly string[];
}

/** The lines of the refusal; none: the settings are taken. */
function refusals(
  base: Readonly<Record<string, string>>,
  links: readonly Link[],
  more: Readonly<Record<string, unknown>> = {},
): readonly string[] {
  const settings = Object.entries({ SHOPSTREAM_ROUTER_LINKS: links, ...more });
  const env = {
    ...base,
    ...Object.fromEntries(settings.map(([name, value]) => [name, JSON.stringify(value)])),
  };
  try {
    loadConfig({ argv: [], env, cwd: "/nowhere", readFile: () => undefined });
    return [];
  } catch (error) {
    return (error instanceof Error ? error.message : String(error)).split("\n");
  }
}

const ROUTE = { name: "vip", also: true, to: [{ broker: "redis", topic: "vip" }] };

describe("links beside a store on PostgreSQL", () => {
  test("name topics to send to and to take in, also at the broker of the log", () => {
    const links = [
      { broker: "kafka", topics: ["partners"] },
      { broker: "redis", topics: ["vip"] },
      { broker: "rabbitmq", ingress: ["leads"] },
    ];
    expect(refusals(REMOTE, links, { SHOPSTREAM_ROUTER_ROUTES: [ROUTE] })).toEqual([]);
  });

  test("name none of the shop's own topics, wherever those are", () => {
    const links = [
      { broker: "kafka", topics: ["orders", "outbox.redis"] },
      { broker: "redis", topics: ["vip", "commands"], ingress: ["fraud"] },
    ];
    const own = (place: string) =>
      `router.links: ${place} is a topic of the shop's own; name another`;
    expect(refusals(REMOTE, links)).toEqual([
      own("orders at kafka"),
      own("outbox.redis at kafka"),
      own("commands at redis"),
      own("fraud at redis"),
    ]);
  });

  test("take a topic in from one broker only", () => {
    const links = [
      { broker: "redis", ingress: ["leads"] },
      { broker: "rabbitmq", topics: ["vip"], ingress: ["leads"] },
    ];
    expect(refusals(REMOTE, links)).toEqual([
      "router.links takes in leads from redis and from rabbitmq; from one only",
    ]);
  });

  test.each([
    ["to", { SHOPSTREAM_ROUTER_ROUTES: [ROUTE] }],
    ["from", { SHOPSTREAM_ROUTER_ROUTES: [{ ...ROUTE, match: { from: ["redis"] }, to: [] }] }],
    ["unmatched", { SHOPSTREAM_ROUTER_UNMATCHED: { broker: "redis", topic: "rest" } }],
  ])("are needed for every broker that a route names: %s", (_where, more) => {
    const links = [{ broker: "redis" }, { broker: "kafka", topics: ["vip"] }];
    expect(refusals(REMOTE, links, more)).toEqual([
      "router.links: redis has neither topics nor ingress; take it out",
      "router.routes name redis, for which router.links has no topics",
    ]);
    expect(refusals(REMOTE, links.slice(1), more)).toEqual([
      "router.routes name redis, for which router.links has no topics",
    ]);
  });
});

describe("links of any store", () => {
  test.each([REMOTE, EMBEDDED])("are of brokers in use, each once", (base) => {
    const links = [
      { broker: "redis", topics: ["vip"] },
      { broker: "redis", topics: ["more"] },
    ];
    expect(refusals(base, links)).toEqual(["router.links names redis twice"]);
    const brokers = { ...base, SHOPSTREAM_BROKERS: "kafka" };
    expect(refusals(brokers, [{ broker: "redis", topics: ["vip"] }])).toEqual([
      "router.links names redis, which is not among brokers",
    ]);
  });

  test.each([REMOTE, EMBEDDED])("have topics one way or the other", (base) => {
    const useless = [{ broker: "kafka", topics: [], ingress: [] }, { broker: "redis" }];
    expect(refusals(base, useless)).toEqual([
      "router.links: kafka has neither topics nor ingress; take it out",
      "router.links: redis has neither topics nor ingress; take it out",
    ]);
  });

  test("beside the journal may name topics that the shop has as well", () => {
    expect(refusals(EMBEDDED, [{ broker: "kafka", topics: ["orders"] }])).toEqual([]);
  });
});
