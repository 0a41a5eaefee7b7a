/** Which topics are where on servers, and who reads them, by the settings. Nothing is opened. */

import { describe, expect, test } from "bun:test";

import type { BrokerUse } from "../actors/grounds/open-brokers.ts";

import { loadConfig } from "./config/load-config.ts";
import { resolveSystems } from "./config/systems.ts";
import { systemsOfShards } from "./grounds.ts";

const LINKS = [
  { broker: "redis", topics: ["vip"] },
  { broker: "rabbitmq", topics: ["copies"], ingress: ["leads"] },
];

function groundOf(brokers: string, links: readonly object[]) {
  const env = {
    SHOPSTREAM_STORE: "postgres",
    SHOPSTREAM_BROKERS: brokers,
    SHOPSTREAM_ROLES: "order,payment,inventory,shipping,notification",
    SHOPSTREAM_ROUTER_LINKS: JSON.stringify(links),
  };
  const { config } = loadConfig({ argv: [], env, cwd: "/nowhere", readFile: () => undefined });
  const systems = systemsOfShards(config, resolveSystems(config), 1, "main");
  const ground = systems.ground(0);
  if (ground.kind !== "remote") throw new Error("it is not on servers");
  return { ground, views: systems.views() };
}

const useOf = (uses: readonly BrokerUse[], name: string): BrokerUse | undefined =>
  uses.find((use) => use.name === name);

describe("routes to brokers beside the log", () => {
  test("make each broker's outbox a topic of the log, which its egress reads", () => {
    const { ground } = groundOf("kafka,redis,rabbitmq", LINKS);
    expect(ground.placement).toMatchObject({
      orders: "kafka",
      "outbox.redis": "kafka",
      "outbox.rabbitmq": "kafka",
      "outbox.unmatched": "kafka",
    });
    expect(ground.placement).not.toHaveProperty("outbox.kafka");
    const log = useOf(ground.uses, "kafka");
    expect(log?.topics).toContain("outbox.redis");
    expect(log?.groups).toMatchObject({
      "outbox.redis": ["egress.redis"],
      "outbox.rabbitmq": ["egress.rabbitmq"],
      "outbox.unmatched": ["unmatched"],
    });
  });

  test("open topics of others where they are, read only where they are taken in", () => {
    const { ground, views } = groundOf("kafka,redis,rabbitmq", LINKS);
    expect(useOf(ground.uses, "redis")?.topics).toEqual(["fraud", "vip"]);
    const rabbit = useOf(ground.uses, "rabbitmq");
    expect(rabbit?.topics).toEqual(["notifications", "copies", "leads"]);
    // Who reads what is sent to others is not for the shop to say: `rabbitmq.groups` does.
    expect(rabbit?.groups).toEqual({
      notifications: ["notification"],
      leads: ["ingress.rabbitmq"],
    });
    expect(ground.links.map(({ name, ingressTopics }) => [name, ingressTopics])).toEqual([
      ["redis", []],
      ["rabbitmq", ["leads"]],
    ]);
    if (views.kind !== "remote") throw new Error("it is not on servers");
    expect(views.uses.flatMap(({ topics }) => topics)).not.toContain("vip");
  });

  test("may be to the broker of the log, which then reads an outbox of its own", () => {
    const { ground } = groundOf("redis", [{ broker: "redis", topics: ["vip"] }]);
    expect(ground.placement["outbox.redis"]).toBe("redis");
    expect(useOf(ground.uses, "redis")?.groups["outbox.redis"]).toEqual(["egress.redis"]);
  });

  test("are none without links: no outbox, nothing opened", () => {
    const { ground } = groundOf("kafka,redis", []);
    expect(ground.links).toEqual([]);
    expect(Object.keys(ground.placement).filter((topic) => topic.startsWith("outbox."))).toEqual([
      "outbox.unmatched",
    ]);
  });
});
