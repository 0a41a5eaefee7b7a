/**
 * A shop that is told to use a server that cannot be used: it says which setting is wrong, and
 * ends.
 *
 * Each case is `bun start` as a process of its own on real servers of which one is somewhere else,
 * is no such server, or wants another password. What contradicts itself is refused before any
 * server is asked.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { RedisClient, SQL } from "bun";
import {
  AclOperationTypes,
  AclPermissionTypes,
  AclResourceTypes,
  Kafka,
  logLevel,
  ResourcePatternTypes,
} from "kafkajs";

import type { RealServer, RealServers, SilentServer } from "./real-shop.fixture.ts";

import { control } from "../actors/brokers/rabbitmq/rabbit-server.fixture.ts";
import {
  ADDRESS_VARIABLES,
  disposeServers,
  haveServers,
  kafkaLogin,
  REAL_SERVERS,
  settingsOn,
  ShopProcess,
  startRealServers,
  startSilentServer,
  until,
} from "./real-shop.fixture.ts";
import { expectInTime, PASSWORD, WRONG } from "./refused-shop.fixture.ts";

const TEST_TIMEOUT_MS = 60_000;
/** Six servers and a shop: each has longer than a minute to be ready. */
const START_TIMEOUT_MS = 300_000;
/** Port 1 of this machine: nobody listens there. */
const NOWHERE = "127.0.0.1:1";
/** Lets in everywhere, and may do nothing at first. */
const GUEST = "guest-user";
/** Of the right shop, and what its topics, tables and keys begin with. */
const PREFIX = "shopstream";

const SETTINGS: Readonly<Record<RealServer, string>> = {
  kafka: "kafka.brokers",
  redis: "redis.url",
  rabbitmq: "rabbitmq.url",
  postgres: "postgres.url",
  mongodb: "mongodb.url",
  elasticsearch: "elasticsearch.url",
};

/** What a shop said and did that was told `settings`: in time, whatever it was. */
async function refusal(settings: Readonly<Record<string, string>>) {
  const shop = await ShopProcess.spawn({ ...settings, SHOPSTREAM_LOG_LEVEL: "error" });
  const startedMs = performance.now();
  try {
    const ended = await shop.ended();
    expectInTime(startedMs);
    return ended;
  } finally {
    await shop.dispose();
  }
}

/** The same server, as a user who may do nothing. */
function asGuest(url: string): string {
  return url.replace(/\/\/[^@]*@/, `//${GUEST}:${PASSWORD}@`);
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
  return found.said;
}

/** On all topics of the shop, to the guest. */
async function allowOnKafka(
  address: string,
  ...operations: readonly (keyof typeof AclOperationTypes)[]
): Promise<void> {
  const sasl = { mechanism: "plain", username: PREFIX, password: PASSWORD } as const;
  const admin = new Kafka({ brokers: [address], logLevel: logLevel.NOTHING, sasl }).admin();
  await admin.connect();
  const acl = operations.map((operation) => ({
    principal: `User:${GUEST}`,
    host: "*",
    permissionType: AclPermissionTypes.ALLOW,
    operation: AclOperationTypes[operation],
    resourceType: AclResourceTypes.TOPIC,
    resourcePatternType: ResourcePatternTypes.PREFIXED,
    resourceName: `${PREFIX}.`,
  }));
  await admin.createAcls({ acl });
  // What the controller has, the broker has a moment later.
  for (const operation of operations) {
    await until(async () => {
      const { resources } = await admin.describeAcls({
        principal: `User:${GUEST}`,
        resourceType: AclResourceTypes.ANY,
        resourcePatternType: ResourcePatternTypes.ANY,
        operation: AclOperationTypes[operation],
        permissionType: AclPermissionTypes.ANY,
      });
      return resources.length > 0;
    }, `the broker knows that ${operation} is allowed`);
  }
  await admin.disconnect();
}

describe.skipIf(!haveServers())("a shop on servers of which one cannot be used", () => {
  let servers: RealServers;
  let silent: SilentServer;
  let right: Record<string, string>;

  beforeAll(async () => {
    const asks = { password: PASSWORD };
    const kafka = { ...asks, users: { [GUEST]: PASSWORD } };
    servers = await startRealServers({ kafka, redis: asks, rabbitmq: asks, postgres: asks });
    silent = await startSilentServer();
    right = settingsOn(servers, PASSWORD);
    // Topics, queues and indices of fresh servers take a while, and are not what is asked about.
    await openAndStop();
  }, START_TIMEOUT_MS);

  async function openAndStop(): Promise<void> {
    const shop = await ShopProcess.open(right);
    try {
      expect(await shop.stop()).toBe(0);
    } finally {
      await shop.dispose();
    }
  }

  afterAll(async () => {
    await silent?.close();
    if (servers !== undefined) await disposeServers(servers);
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

  describe("as a user who lacks a password or a right", () => {
    test(
      "ends with code 3 and one line when Kafka wants another password, or any",
      async () => {
        const wrong = { ...right, SHOPSTREAM_KAFKA_PASSWORD: WRONG };
        const said = await expectRefusal(wrong, { code: 3, setting: "kafka.username: " });
        expect(said).toContain('refuses user "shopstream" (wrong password or mechanism?)');
        const { SHOPSTREAM_KAFKA_PASSWORD: _, ...none } = right;
        const without = { ...none, SHOPSTREAM_KAFKA_SASL_MECHANISM: "none" };
        const hint = await expectRefusal(without, { code: 3, setting: "kafka.brokers: " });
        expect(hint).toContain("kafka.saslMechanism");
      },
      TEST_TIMEOUT_MS,
    );

    test(
      "ends with code 3 and one line that names topic and right when Kafka's user lacks one",
      async () => {
        const guest = { ...right, ...kafkaLogin(GUEST, PASSWORD) };
        const refused = () => expectRefusal(guest, { code: 3, setting: "kafka: " });
        const topic = `topic ${PREFIX}.orders`;
        expect(await refused()).toContain(`user "${GUEST}" lacks DESCRIBE on ${topic}`);
        await allowOnKafka(servers.kafka.address, "READ", "DESCRIBE_CONFIGS");
        expect(await refused()).toContain(`user "${GUEST}" lacks WRITE on ${topic}`);
        await allowOnKafka(servers.kafka.address, "WRITE");
        expect(await refused()).toContain(`user "${GUEST}" lacks READ on group ${PREFIX}.`);
        const elsewhere = { ...guest, SHOPSTREAM_KAFKA_TOPIC_PREFIX: `${PREFIX}.new.` };
        const said = await expectRefusal(elsewhere, { code: 3, setting: "kafka: " });
        expect(said).toContain(
          `topic ${PREFIX}.new.orders is not there, and user "${GUEST}" lacks `,
        );
      },
      2 * TEST_TIMEOUT_MS,
    );

    test(
      "ends with code 3 and one line when PostgreSQL's user may not make tables",
      async () => {
        const { url } = servers.postgres;
        await using sql = new SQL(url);
        await sql.unsafe(`CREATE ROLE "${GUEST}" LOGIN PASSWORD '${PASSWORD}'`);
        const guest = { ...right, SHOPSTREAM_POSTGRES_URL: asGuest(url) };
        const said = await expectRefusal(guest, { code: 3, setting: "postgres.url: " });
        expect(said).toContain(`user "${GUEST}" may not make tables in "${PREFIX}"; GRANT CREATE`);
      },
      TEST_TIMEOUT_MS,
    );

    test(
      "ends with code 3 and one line when Redis' user may not write",
      async () => {
        const { url } = servers.redis;
        const redis = new RedisClient(url);
        await redis.send("ACL", ["SETUSER", GUEST, "on", `>${PASSWORD}`, "~*", "+@read", "+info"]);
        redis.close();
        const guest = { ...right, SHOPSTREAM_REDIS_URL: asGuest(url) };
        const said = await expectRefusal(guest, { code: 3, setting: "redis.url: " });
        expect(said).toContain(`keys under ${PREFIX}: may not be written`);
      },
      TEST_TIMEOUT_MS,
    );

    test(
      "ends with code 3 and one line when RabbitMQ's user may not use the vhost, or make queues",
      async () => {
        const { rabbitmq } = servers;
        await control(rabbitmq, ["add_user", GUEST, PASSWORD]);
        const guest = { ...right, SHOPSTREAM_RABBITMQ_URL: asGuest(rabbitmq.url) };
        const refused = () => expectRefusal(guest, { code: 3, setting: "rabbitmq.url: " });
        expect(await refused()).toContain(`user "${GUEST}" may not use vhost "/"`);
        await control(rabbitmq, ["set_permissions", GUEST, "^$", ".*", ".*"]);
        expect(await refused()).toContain(`user "${GUEST}" lacks a right on vhost "/"`);
      },
      TEST_TIMEOUT_MS,
    );
  });

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
