/**
 * A shop that uses one server and little else, which is refused because of it, and in what words.
 *
 * Only for tests of refusals. It holds what each of one server has in common: one line that begins
 * with the setting, code 3, within ten seconds, and no password.
 */

import { expect } from "bun:test";

import type { RealServer } from "./real-shop.fixture.ts";

import { ShopProcess, until } from "./real-shop.fixture.ts";

export type Settings = Readonly<Record<string, string>>;

const REFUSED_WITHIN_MS = 10_000;
export const PASSWORD = "the-right-secret";
export const WRONG = "a-wrong-secret";

/** The setting that a line begins with; of Kafka there are several. */
const SETTINGS: Readonly<Record<RealServer, string>> = {
  kafka: "kafka.",
  redis: "redis.url: ",
  rabbitmq: "rabbitmq.url: ",
  postgres: "postgres.url: ",
  mongodb: "mongodb.url: ",
  elasticsearch: "elasticsearch.url: ",
};

/** The settings that make a shop use `name`, for as little as can be. */
export function usesOf(name: RealServer): Settings {
  const link = (broker: string): Settings => ({
    SHOPSTREAM_BROKERS: broker,
    SHOPSTREAM_ROUTER_LINKS: JSON.stringify([{ broker, topics: ["out"] }]),
  });
  switch (name) {
    case "mongodb":
      return { SHOPSTREAM_ANALYTICS_STORE: "mongodb" };
    case "elasticsearch":
      return { SHOPSTREAM_AUDIT_STORE: "elasticsearch" };
    case "postgres":
      return {
        SHOPSTREAM_STORE: "postgres",
        SHOPSTREAM_BROKERS: "redis",
        SHOPSTREAM_ROLES: "order",
      };
    default:
      return link(name);
  }
}

/** Of a shop that was started at `startedMs` and has just ended. */
export function expectInTime(startedMs: number): void {
  expect(performance.now() - startedMs).toBeLessThan(REFUSED_WITHIN_MS);
}

/** What a shop says, in one line and in time, that ends because of `name`. */
export async function refusalOf(name: RealServer, settings: Settings): Promise<string> {
  const startedMs = performance.now();
  const shop = await ShopProcess.spawn({
    SHOPSTREAM_PORT: "0",
    SHOPSTREAM_LOG_LEVEL: "error",
    ...usesOf(name),
    ...settings,
  });
  try {
    const isOver = () => shop.hasEnded() || shop.url() !== undefined;
    await until(isOver, "it is refused", { seen: () => shop.said });
    expect(shop.url()).toBeUndefined();
    const { code, said } = await shop.ended();
    expect(said).toStartWith(`shopstream: ${SETTINGS[name]}`);
    expect(said.trimEnd().split("\n")).toHaveLength(1);
    expect(said).not.toContain(PASSWORD);
    expect(said).not.toContain(WRONG);
    expect(code).toBe(3);
    expectInTime(startedMs);
    return said;
  } finally {
    await shop.dispose();
  }
}
