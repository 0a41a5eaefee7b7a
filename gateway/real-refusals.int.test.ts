/**
 * A shop that is told to use a server that cannot be used: it says which setting is wrong, and
 * ends.
 *
 * Each case is `bun start` as a process of its own on real servers of which one is somewhere else,
 * is no such server, or wants another password. What contradicts itself is refused before any
 * server is asked.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { RealServer, RealServers, SilentServer } from "./real-shop.fixture.ts";

import {
  ADDRESS_VARIABLES,
  disposeServers,
  haveServers,
  REAL_SERVERS,
  settingsOn,
  ShopProcess,
  startRealServers,
  startSilentServer,
} from "./real-shop.fixture.ts";

const TEST_TIMEOUT_MS = 60_000;
/** Ten seconds are promised; the rest is for a machine that is busy with something else. */
const REFUSED_WITHIN_MS = 15_000;
/** Port 1 of this machine: nobody listens there. */
const NOWHERE = "127.0.0.1:1";
const PASSWORD = "the-right-secret";
const WRONG = "a-wrong-secret";

const SETTINGS: Readonly<Record<RealServer, string>> = {
  kafka: "kafka.brokers",
  redis: "redis.url",
  rabbitmq: "rabbitmq.url",
  postgres: "postgres.url",
  mongodb: "mongodb.url",
  elasticsearch: "elasticsearch.url",
};

/** What a shop said and did that was told `settings`, and how long that took. */
async function refusal(settings: Readonly<Record<string, string>>) {
  const shop = await ShopProcess.spawn({ ...settings, SHOPSTREAM_LOG_LEVEL: "error" });
  const startedMs = performance.now();
  try {
    const { code, said } = await shop.ended();
    return { code, said, tookMs: performance.now() - startedMs };
  } finally {
    await shop.dispose();
  }
}

async function expectRefusal(
  settings: Readonly<Record<string, string>>,
  { code, setting }: { readonly code: number; readonly setting: string },
): Promise<string> {
  const found = await refusal(settings);
  // One line, and nothing of how it came to that.
  expect(found.said).toStartWith(`shopstream: ${setting}`);
  expect(found.said.trimEnd().split("\n")).toHaveLength(1);
  expect(found.code).toBe(code);
  expect(found.said).not.toContain(PASSWORD);
  expect(found.said).not.toContain(WRONG);
  expect(found.tookMs).toBeLessThan(REFUSED_WITHIN_MS);
  return found.said;
}

describe.skipIf(!haveServers())("a shop on servers of which one cannot be used", () => {
  let servers: RealServers;
  let silent: SilentServer;
  let right: Record<string, string>;

  beforeAll(async () => {
    const asks = { password: PASSWORD };
    servers = await startRealServers({ redis: asks, rabbitmq: asks, postgres: asks });
    silent = await startSilentServer();
    right = settingsOn(servers);
    // Topics and queues of fresh servers take a while, and are not what is asked about here.
    await openAndStop();
  }, 2 * TEST_TIMEOUT_MS);

  async function openAndStop(): Promise<void> {
    const shop = await ShopProcess.open(right);
    try {
      expect(await shop.stop()).toBe(0);
    } finally {
      await shop.dispose();
    }
  }

  afterAll(async () => {
    await silent.close();
    await disposeServers(servers);
  }, TEST_TIMEOUT_MS);

  test.each(REAL_SERVERS.map((name) => [name]))(
    "ends with code 3 and one line when nobody listens where %s should be",
    async (name) => {
      const elsewhere = servers[name].url.replace(servers[name].address, NOWHERE);
      const settings = { ...right, [ADDRESS_VARIABLES[name]]: elsewhere };
      const said = await expectRefusal(settings, { code: 3, setting: `${SETTINGS[name]}: ` });
      expect(said).toContain(NOWHERE);
    },
    TEST_TIMEOUT_MS,
  );

  test.each(REAL_SERVERS.map((name) => [name]))(
    "ends with code 3 and one line when what listens in the place of %s never answers",
    async (name) => {
      const elsewhere = servers[name].url.replace(servers[name].address, silent.address);
      const settings = { ...right, [ADDRESS_VARIABLES[name]]: elsewhere };
      const said = await expectRefusal(settings, { code: 3, setting: `${SETTINGS[name]}: ` });
      expect(said).toContain(silent.address);
    },
    TEST_TIMEOUT_MS,
  );

  test.each([["redis"], ["rabbitmq"], ["postgres"]] as const)(
    "ends with code 3 and one line when %s wants another password, or any",
    async (name) => {
      const { url } = servers[name];
      for (const wrong of [url.replace(PASSWORD, WRONG), url.replace(`:${PASSWORD}@`, "@")]) {
        const settings = { ...right, [ADDRESS_VARIABLES[name]]: wrong };
        const said = await expectRefusal(settings, { code: 3, setting: `${SETTINGS[name]}: ` });
        expect(said).toContain("password");
      }
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "leaves nothing of a start that failed: the next one with the right settings is ready",
    openAndStop,
    TEST_TIMEOUT_MS,
  );
});

describe("settings that contradict each other end with code 2, whatever servers there are", () => {
  const postgres = { SHOPSTREAM_STORE: "postgres" };
  test.each<[string, Record<string, string>, string]>([
    ["a store for many without a broker", { ...postgres, SHOPSTREAM_ROLES: "order" }, "store = "],
    [
      "a topic on a broker that is not in use",
      {
        ...postgres,
        SHOPSTREAM_ROLES: "order",
        SHOPSTREAM_BROKERS: "kafka",
        SHOPSTREAM_PLACEMENT_FRAUD: "redis",
      },
      "placement.fraud = redis",
    ],
    ["a placement on one machine", { SHOPSTREAM_PLACEMENT_ORDERS: "kafka" }, "placement.orders"],
    [
      "a view for many in a file of one",
      { ...postgres, SHOPSTREAM_BROKERS: "kafka", SHOPSTREAM_ROLES: "order,analytics" },
      "store = postgres needs analytics.store",
    ],
  ])("%s", async (_what, settings, named) => {
    await expectRefusal(settings, { code: 2, setting: named });
  });
});
