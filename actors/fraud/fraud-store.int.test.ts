/**
 * The fraud check on each store it can have: the same promises in memory and on a real Redis; and
 * what becomes of an order while that server is away.
 */

import { afterAll, describe, expect, test } from "bun:test";

import type { TestServer } from "../../deploy/services/test-server.ts";
import type { RedisConnection } from "../brokers/redis/redis-connection.ts";

import { startTestServer, whyMissing } from "../../deploy/services/test-server.ts";
import { systemEnvironment } from "../../runtime/system-environment.ts";
import { requireOrSkip } from "../../runtime/testing/requirements.ts";
import { openRedisConnection } from "../brokers/redis/redis-connection.ts";
import { REDIS_SETTINGS } from "../brokers/redis/redis-options.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { createFraudCheck } from "./embedded-fraud-check.ts";
import { testFraudCheck } from "./fraud-check.suite.ts";
import { fraudOrder } from "./fraud-order.suite.ts";
import { createRedisFraudStore } from "./redis-fraud-store.ts";
import { createInlineScorer } from "./score-batch.ts";
import { FRAUD_SETTINGS, FRAUD_THRESHOLDS } from "./thresholds.ts";

const HOUR_MS = 3_600_000;
const environment = systemEnvironment;

testFraudCheck("in memory", {
  environment,
  newStore: () => {
    const store = createMemoryStore({ environment });
    return Promise.resolve({ store, other: store });
  },
});

const missing = whyMissing("redis");
describe.skipIf(!requireOrSkip("redis", missing === undefined, missing ?? ""))("redis", () => {
  let starting: Promise<TestServer> | undefined;
  const connections: RedisConnection[] = [];
  let worlds = 0;

  async function connect(): Promise<RedisConnection> {
    const { url } = await (starting ??= startTestServer("redis"));
    const settings = { ...REDIS_SETTINGS, url, commandTimeoutMs: 2_000 };
    const connection = await openRedisConnection({ settings, environment, purpose: "fraud" });
    connections.push(connection);
    return connection;
  }

  async function newStore(ageMs = HOUR_MS) {
    const [one, two] = await Promise.all([connect(), connect()]);
    const options = { prefix: `w${++worlds}:`, ageMs };
    return {
      prefix: options.prefix,
      link: one.link,
      store: createRedisFraudStore({ ...options, link: one.link }),
      other: createRedisFraudStore({ ...options, link: two.link }),
    };
  }

  afterAll(async () => {
    for (const connection of connections) connection.close();
    await (await starting)?.dispose();
  });

  testFraudCheck("on Redis", { environment, newStore: () => newStore() });

  test("a verdict and its profiles are kept for as long as was set, and not longer", async () => {
    const { store, link, prefix } = await newStore(HOUR_MS);
    const check = checkOn(store);
    await check.check(fraudOrder(), new AbortController().signal);
    for (const key of ["order:o1", "customer:ada"]) {
      const leftMs = Number(await link.call("PTTL", `${prefix}fraud:${key}`));
      expect(leftMs).toBeGreaterThan(HOUR_MS - 60_000);
      expect(leftMs).toBeLessThanOrEqual(HOUR_MS);
    }
  });

  test("while the server is away an order is held, and passes once it is back", async () => {
    const { store, link } = await newStore();
    const check = checkOn(store);
    const { signal } = new AbortController();
    const server = await starting;
    await server?.kill();
    const held = await check.check(fraudOrder(), signal).catch((error: unknown) => error);
    expect(held).toMatchObject({ code: "CHECK_UNAVAILABLE", retry: "later" });
    await server?.start();
    await link.whenUp();
    expect(await check.check(fraudOrder(), signal)).toMatchObject({ decision: "pass" });
  });

  test("a verdict that was given survives a kill of the server", async () => {
    const deny = { ...FRAUD_THRESHOLDS.deny, customers: ["ada"] };
    const { store, link } = await newStore();
    const { signal } = new AbortController();
    const blocked = await checkOn(store, deny).check(fraudOrder(), signal);
    expect(blocked.decision).toBe("block");
    const server = await starting;
    await server?.kill();
    await server?.start();
    await link.whenUp();
    expect(await checkOn(store).check(fraudOrder(), signal)).toEqual(blocked);
  });

  function checkOn(
    store: ReturnType<typeof createRedisFraudStore>,
    deny: typeof FRAUD_THRESHOLDS.deny = FRAUD_THRESHOLDS.deny,
  ) {
    return createFraudCheck({
      store,
      environment,
      scorer: createInlineScorer({ ...FRAUD_THRESHOLDS, deny }),
      settings: { ...FRAUD_SETTINGS, timeoutMs: 20_000, gatherMs: 2 },
    });
  }
});
