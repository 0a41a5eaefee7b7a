/**
 * What settings say together about the systems in use, as a table: how they are resolved, and what
 * is refused. No server is asked.
 */

import { describe, expect, test } from "bun:test";

import type { SystemsConfig } from "./systems.ts";

import { audienceOf, topicsOn } from "../../actors/grounds/placement.ts";
import { loadConfig } from "./load-config.ts";
import { contradictorySystems, resolveSystems } from "./systems.ts";

function configOf(env: Readonly<Record<string, string>>): SystemsConfig {
  return loadConfig({ argv: [], env, cwd: "/nowhere", readFile: () => undefined }).config;
}

const REMOTE = {
  SHOPSTREAM_STORE: "postgres",
  SHOPSTREAM_AUDIT_STORE: "elasticsearch",
  SHOPSTREAM_ANALYTICS_STORE: "mongodb",
};

function placementOf(env: Readonly<Record<string, string>>) {
  const systems = resolveSystems(configOf({ ...REMOTE, ...env }));
  if (systems.kind === "embedded") throw new Error("embedded");
  return systems.placement;
}

function refusal(env: Readonly<Record<string, string>>): string {
  try {
    configOf(env);
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

describe("the systems in use", () => {
  test("are one machine's unless the settings say otherwise", () => {
    expect(resolveSystems(configOf({}))).toEqual({ kind: "embedded", brokers: [] });
    const withKafka = configOf({ SHOPSTREAM_BROKERS: "kafka" });
    expect(resolveSystems(withKafka)).toEqual({ kind: "embedded", brokers: ["kafka"] });
  });

  test("carry orders on Kafka, fraud on Redis and notifications on RabbitMQ by default", () => {
    const placement = placementOf({ SHOPSTREAM_BROKERS: "rabbitmq,redis,kafka" });
    expect(placement).toMatchObject({
      orders: "kafka",
      commands: "kafka",
      fraud: "redis",
      notifications: "rabbitmq",
    });
    expect(topicsOn(placement, "redis")).toEqual(["fraud"]);
  });

  test.each([
    ["kafka", ["kafka"]] as const,
    ["redis", ["redis"]] as const,
    ["rabbitmq", ["rabbitmq"]] as const,
  ])("carry everything on %s when there is nothing else", (broker, brokers) => {
    const placement = placementOf({
      SHOPSTREAM_BROKERS: brokers.join(","),
      SHOPSTREAM_ROLES: "order",
    });
    expect(new Set(Object.values(placement))).toEqual(new Set([broker]));
    expect(Object.keys(placement)).toContain("commands");
  });

  test("carry a topic where a setting places it", () => {
    const placement = placementOf({
      SHOPSTREAM_BROKERS: "kafka,redis",
      SHOPSTREAM_PLACEMENT_BEHAVIOR: "redis",
      SHOPSTREAM_PLACEMENT_FRAUD: "kafka",
    });
    expect(placement).toMatchObject({ behavior: "redis", fraud: "kafka", orders: "kafka" });
  });

  test.each([
    [{ ...REMOTE }, "needs a broker"],
    [
      { ...REMOTE, SHOPSTREAM_BROKERS: "kafka", SHOPSTREAM_PLACEMENT_FRAUD: "redis" },
      "placement.fraud = redis, which is not among brokers",
    ],
    [{ SHOPSTREAM_PLACEMENT_ORDERS: "kafka" }, "placement.orders = kafka needs store = postgres"],
    [{ SHOPSTREAM_STORE: "postgres", SHOPSTREAM_BROKERS: "kafka" }, "audit.store = elasticsearch"],
    [
      { ...REMOTE, SHOPSTREAM_ANALYTICS_STORE: "embedded", SHOPSTREAM_BROKERS: "kafka" },
      "analytics.store = mongodb",
    ],
  ])("%j are refused", (env, problem) => {
    expect(refusal(env)).toContain(problem);
  });

  test("that split a service over two brokers are refused, naming topics and service", () => {
    const env = { ...REMOTE, SHOPSTREAM_BROKERS: "kafka,redis" };
    expect(refusal({ ...env, SHOPSTREAM_PLACEMENT_PAYMENTS: "redis" })).toContain(
      "placement.commands must be the same broker: order hears them",
    );
    expect(refusal({ ...env, SHOPSTREAM_PLACEMENT_BEHAVIOR: "redis" })).toBe("");
  });

  test("with roles that need no view are not asked for the view's store", () => {
    const env = {
      SHOPSTREAM_STORE: "postgres",
      SHOPSTREAM_BROKERS: "kafka",
      SHOPSTREAM_ROLES: "order",
    };
    expect(contradictorySystems(configOf(env))).toEqual([]);
  });
});

describe("who listens to what", () => {
  test("notices travel as copies only when they have a broker of their own", () => {
    const all = placementOf({ SHOPSTREAM_BROKERS: "kafka,redis,rabbitmq" });
    const { groups, views, copiesNotices } = audienceOf(all);
    expect(copiesNotices).toBe(true);
    expect(groups.notification).toEqual(["notifications"]);
    expect(groups.order).toContain("commands");
    expect(views.audit).not.toContain("notifications");
    expect(views.audit).toContain("fraud");
    const kafka = audienceOf(placementOf({ SHOPSTREAM_BROKERS: "kafka" }));
    expect(kafka.copiesNotices).toBe(false);
    expect(kafka.groups.notification).toContain("orders");
    expect(kafka.views.audit).toContain("notifications");
  });

  test("no view reads where nothing lasts", () => {
    const env = { SHOPSTREAM_BROKERS: "rabbitmq" };
    const { views } = audienceOf(placementOf({ ...env, SHOPSTREAM_ROLES: "order" }));
    expect(views).toEqual({ audit: [], analytics: [] });
    expect(refusal({ ...REMOTE, ...env })).toContain("rabbitmq keeps nothing");
  });
});
