/**
 * A shop on servers that are encrypted, by a private authority, and ask for passwords: it works
 * when it is told so, and ends with one line that names the setting when something does not fit.
 *
 * Each shop is `bun start` as a process of its own. FerretDB has no users and the search server no
 * security: the one is encrypted only, the other is behind a front. A refusal is looked at on a
 * shop that uses one encrypted server and nothing else that could be refused before it.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import type { TestServer, TestServerOptions } from "../deploy/services/test-server.ts";
import type { RealServer, RealServers } from "./real-shop.fixture.ts";
import type { Settings } from "./refused-shop.fixture.ts";
import type { SecureFront } from "./secure-front.fixture.ts";
import type { Json } from "./story-orders.suite.ts";

import { openMongoClient } from "../actors/analytics/mongo/mongo-client.ts";
import { MONGO_SETTINGS } from "../actors/analytics/mongo/mongo-settings.ts";
import { KafkaJsDriver } from "../actors/brokers/kafka/kafkajs-driver.ts";
import { KafkaJsSockets } from "../actors/brokers/kafka/kafkajs-sockets.ts";
import { KAFKA_SETTINGS } from "../actors/brokers/kafka/kafka-options.ts";
import { openPostgres } from "../actors/stores/postgres/postgres-connection.ts";
import { POSTGRES_DEFAULTS } from "../actors/stores/postgres/postgres-options.ts";
import { TestAuthority, whyNoOpenssl } from "../deploy/services/test-authority.fixture.ts";
import { startTestServer } from "../deploy/services/test-server.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { requireOrSkip } from "../runtime/testing/requirements.ts";
import { AUTHORITIES_VARIABLE } from "../runtime/tls-fault.ts";
import {
  ADDRESS_VARIABLES,
  disposeServers,
  haveServers,
  kafkaLogin,
  REAL_SERVERS,
  settingsOn,
  ShopProcess,
  startRealServers,
  until,
  untilMet,
} from "./real-shop.fixture.ts";
import { PASSWORD, refusalOf, usesOf, WRONG } from "./refused-shop.fixture.ts";
import { startSecureFront } from "./secure-front.fixture.ts";
import { list } from "./story-checks.suite.ts";
import { bodyOf, CARLA } from "./story-orders.suite.ts";

const TEST_TIMEOUT_MS = 120_000;
/** Of all servers: each has longer than two minutes to be ready. */
const START_TIMEOUT_MS = 300_000;
const USER = "shopstream";
const ORDERS = 20;
const HOUR_MS = 3_600_000;
/** Another name of the same machine, which no certificate here is for. */
const OTHER_HOST = "localhost";

const KAFKA_TLS = "SHOPSTREAM_KAFKA_TLS";
const ELASTIC_LOGIN: Settings = {
  SHOPSTREAM_ELASTICSEARCH_USERNAME: USER,
  SHOPSTREAM_ELASTICSEARCH_PASSWORD: PASSWORD,
};
const whyNone = whyNoOpenssl();
const canSign = requireOrSkip("openssl", whyNone === undefined, whyNone ?? "");
const isThere = haveServers() && canSign;

describe.skipIf(!isThere)("a shop on encrypted servers that ask for passwords", () => {
  let authority: TestAuthority;
  let servers: RealServers;
  let front: SecureFront;
  /** Not encrypted: carries messages where only PostgreSQL is looked at. */
  let carrier: TestServer;
  let right: Settings;

  beforeAll(async () => {
    authority = await TestAuthority.make();
    const tls = await authority.sign("server", ["IP:127.0.0.1"]);
    const asks: TestServerOptions = { tls, password: PASSWORD };
    servers = await startRealServers({
      kafka: asks,
      redis: asks,
      rabbitmq: asks,
      postgres: asks,
      mongodb: { tls },
    });
    carrier = await startTestServer("redis");
    const login = { user: USER, password: PASSWORD };
    front = startSecureFront(servers.elasticsearch.address, tls, login);
    right = {
      ...settingsOn(servers, PASSWORD),
      ...ELASTIC_LOGIN,
      SHOPSTREAM_ELASTICSEARCH_URL: urlOf("elasticsearch"),
      [KAFKA_TLS]: "true",
      [AUTHORITIES_VARIABLE]: authority.path,
    };
  }, START_TIMEOUT_MS);

  afterAll(async () => {
    await front?.close();
    await carrier?.dispose();
    if (servers !== undefined) await disposeServers(servers);
    authority?.dispose();
  }, TEST_TIMEOUT_MS);

  function urlOf(name: RealServer): string {
    return name === "elasticsearch" ? `https://${front.address}` : servers[name].url;
  }

  function addressOf(name: RealServer): string {
    return name === "elasticsearch" ? front.address : servers[name].address;
  }

  /** All that is right about `name`, and of the others what may be there besides. */
  function only(name: RealServer, more: Settings = {}): Settings {
    const login = name === "elasticsearch" ? ELASTIC_LOGIN : {};
    const kafka = { ...kafkaLogin(USER, PASSWORD), [KAFKA_TLS]: "true" };
    return {
      [ADDRESS_VARIABLES.redis]: carrier.url,
      [ADDRESS_VARIABLES[name]]: urlOf(name),
      ...login,
      ...(name === "kafka" ? kafka : {}),
      [AUTHORITIES_VARIABLE]: authority.path,
      ...more,
    };
  }

  const changed = (name: RealServer, from: string | RegExp, to: string): Settings =>
    only(name, { [ADDRESS_VARIABLES[name]]: urlOf(name).replace(from, to) });

  async function place(shop: ShopProcess): Promise<readonly string[]> {
    const ids: string[] = [];
    for (let at = 0; at < ORDERS; at++) {
      const order = { ...CARLA, customerId: `customer-${at}`, quantity: 1 };
      const { status, body } = await shop.send("POST", "/v1/orders", bodyOf(order));
      expect(status).toBe(201);
      ids.push(String(body["id"]));
    }
    return ids;
  }

  async function expectWhole(shop: ShopProcess, ids: readonly string[], total: number) {
    let seen: unknown;
    for (const id of ids) {
      const isDelivered = async () => {
        seen = (await shop.json(`/v1/orders/${id}`))["status"];
        return seen === "delivered";
      };
      await until(isDelivered, "it is delivered", { seen: () => `${String(seen)} ${shop.said}` });
    }
    for (const id of ids) {
      let records: readonly Json[] = [];
      await until(async () => {
        records = list(await shop.json(`/v1/audit?orderId=${id}&type=order.delivered`), "records");
        return records.length === 1;
      }, "it is in the audit");
    }
    const from = new Date(Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HOUR_MS).toISOString();
    const path = `/v1/analytics/query?granularity=range&from=${from}&metric=orders`;
    const isCounted = async () => {
      seen = list(await shop.json(path), "rows").reduce(
        (sum, row) => sum + Number(row["count"]),
        0,
      );
      return seen === total;
    };
    await until(isCounted, `analytics has ${total} orders`, { seen: () => String(seen) });
    expect(await shop.json("/admin/dead-letters/summary")).toMatchObject({ total: 0 });
    // A view that was late is told of until it has caught up.
    await untilMet(async () => {
      expect(await shop.json("/health")).toMatchObject({ status: "up" });
    }, "health is up");
  }

  test.each([
    ["platformatic", "scram-sha-512", ORDERS],
    ["kafkajs", "scram-sha-256", 2 * ORDERS],
    ["platformatic", "plain", 3 * ORDERS],
  ])(
    "takes orders, and brings them to their end, by %s and %s",
    async (driver, mechanism, total) => {
      const shop = await ShopProcess.open({
        ...right,
        SHOPSTREAM_KAFKA_DRIVER: driver,
        SHOPSTREAM_KAFKA_SASL_MECHANISM: mechanism,
      });
      try {
        await shop.send("PUT", "/v1/inventory/story-mug", { available: 1_000 });
        await expectWhole(shop, await place(shop), total);
        expect(await shop.stop()).toBe(0);
      } finally {
        await shop.dispose();
      }
    },
    2 * TEST_TIMEOUT_MS,
  );

  test(
    "trusts the authority of the search server by elasticsearch.caPath as well",
    async () => {
      const settings = {
        ...usesOf("elasticsearch"),
        ...only("elasticsearch"),
        [AUTHORITIES_VARIABLE]: "",
        SHOPSTREAM_ELASTICSEARCH_CA_PATH: authority.path,
        SHOPSTREAM_PORT: "0",
      };
      const shop = await ShopProcess.open(settings);
      try {
        expect(await shop.stop()).toBe(0);
      } finally {
        await shop.dispose();
      }
    },
    TEST_TIMEOUT_MS,
  );

  describe("is not started", () => {
    test.each(REAL_SERVERS.map((name) => [name]))(
      "when nobody it trusts has signed the certificate of %s",
      async (name) => {
        const said = await refusalOf(name, only(name, { [AUTHORITIES_VARIABLE]: "" }));
        expect(said).toContain(`of ${addressOf(name)} is signed by nobody who is trusted here; `);
        expect(said).toContain(AUTHORITIES_VARIABLE);
      },
      TEST_TIMEOUT_MS,
    );

    test.each(REAL_SERVERS.map((name) => [name]))(
      "when the certificate of %s is for another host",
      async (name) => {
        const said = await refusalOf(name, changed(name, "127.0.0.1", OTHER_HOST));
        expect(said).toContain(`the certificate of ${OTHER_HOST}:`);
        expect(said).toContain("is for another host");
      },
      TEST_TIMEOUT_MS,
    );

    test.each<[RealServer, string | RegExp, string, string]>([
      ["redis", "rediss://", "redis://", "rediss:// where it wants TLS"],
      ["rabbitmq", "amqps://", "amqp://", "amqps:// where it wants TLS"],
      ["postgres", /\?.*$/, "", "?sslmode=verify-full where it wants TLS"],
      ["mongodb", /\?.*$/, "", "?tls=true where it wants TLS"],
      ["elasticsearch", "https://", "http://", "https:// where it wants TLS"],
    ])(
      "when %s is spoken to in plain text",
      async (name, from, to, hint) => {
        expect(await refusalOf(name, changed(name, from, to))).toContain(hint);
      },
      TEST_TIMEOUT_MS,
    );

    test.each([["plain"], ["none"]])(
      "when Kafka is spoken to in plain text, with mechanism %s",
      async (mechanism) => {
        const login = mechanism === "none" ? { SHOPSTREAM_KAFKA_PASSWORD: "" } : {};
        const settings = only("kafka", {
          [KAFKA_TLS]: "false",
          SHOPSTREAM_KAFKA_SASL_MECHANISM: mechanism,
          ...login,
        });
        expect(await refusalOf("kafka", settings)).toMatch(/needed may be .*kafka\.tls$/m);
      },
      TEST_TIMEOUT_MS,
    );

    test.each([["redis"], ["rabbitmq"], ["postgres"]] as const)(
      "when the password of %s is wrong",
      async (name) => {
        const said = await refusalOf(name, changed(name, PASSWORD, WRONG));
        expect(said).toContain("(wrong password?)");
      },
      TEST_TIMEOUT_MS,
    );

    test.each<[RealServer, string, string]>([
      ["kafka", "SHOPSTREAM_KAFKA_PASSWORD", "(wrong password or mechanism?)"],
      ["elasticsearch", "SHOPSTREAM_ELASTICSEARCH_PASSWORD", "(wrong password?)"],
    ])(
      "when the password of %s is wrong",
      async (name, variable, words) => {
        expect(await refusalOf(name, only(name, { [variable]: WRONG }))).toContain(words);
      },
      TEST_TIMEOUT_MS,
    );

    test.each([["prefer"], ["allow"]])(
      "when PostgreSQL is told to encrypt or not to, by sslmode=%s",
      async (mode) => {
        const said = await refusalOf("postgres", changed("postgres", "verify-full", mode));
        expect(said).toContain(`sslmode=${mode} is not used here`);
      },
      TEST_TIMEOUT_MS,
    );

    test(
      "when PostgreSQL's certificate is not trusted, by sslmode=require as well",
      async () => {
        const settings = changed("postgres", "verify-full", "require");
        const said = await refusalOf("postgres", { ...settings, [AUTHORITIES_VARIABLE]: "" });
        expect(said).toContain("is signed by nobody who is trusted here");
      },
      TEST_TIMEOUT_MS,
    );
  });

  test("PostgreSQL is used whoever answers by sslmode=no-verify, and that is told", async () => {
    const url = urlOf("postgres").replace("verify-full", "no-verify");
    const settings = { ...POSTGRES_DEFAULTS, url, schema: "unchecked" };
    const told: string[] = [];
    const postgres = await openPostgres(settings, {
      environment: systemEnvironment,
      slots: 1,
      onLog: (_level, text) => void told.push(text),
    });
    await postgres.close();
    expect(told).toContainEqual(expect.stringContaining("sslmode=no-verify"));
  });

  test("MongoDB is not looked for any longer when its certificate is not trusted", async () => {
    // So long the driver looks for one that may be trusted later.
    const connectTimeoutMs = TEST_TIMEOUT_MS / 2;
    const settings = { ...MONGO_SETTINGS, url: urlOf("mongodb"), connectTimeoutMs };
    const startedMs = performance.now();
    const opening = openMongoClient(settings, systemEnvironment);
    await expect(opening).rejects.toThrow("is signed by nobody who is trusted here");
    expect(performance.now() - startedMs).toBeLessThan(connectTimeoutMs);
  });

  test("kafkajs itself takes no certificate that is not trusted", async () => {
    const settings = {
      ...KAFKA_SETTINGS,
      brokers: [servers.kafka.address],
      tls: true,
      saslMechanism: "plain",
      username: USER,
      password: PASSWORD,
    } as const;
    const environment = systemEnvironment;
    const driver = new KafkaJsDriver({ environment, settings, onLog: () => undefined });
    const connecting = driver.connect();
    await expect(connecting).rejects.toThrow("is signed by nobody who is trusted here");
    await driver.close();
  });

  test("kafkajs itself takes no certificate that is for another host", async () => {
    const connecting = Promise.withResolvers<never>();
    const socket = new KafkaJsSockets().connect({
      host: OTHER_HOST,
      port: Number(servers.kafka.address.split(":")[1]),
      ssl: { ca: readFileSync(authority.path, "utf8") },
      onConnect: () => connecting.reject(new Error("it was taken")),
    });
    socket.once("error", connecting.reject);
    await expect(connecting.promise).rejects.toThrow("does not match certificate's altnames");
    socket.destroy();
  });
});

describe.skipIf(!isThere)("a shop that is to encrypt, on servers that do not", () => {
  let servers: RealServers;

  beforeAll(async () => {
    servers = await startRealServers();
  }, START_TIMEOUT_MS);

  afterAll(async () => {
    if (servers !== undefined) await disposeServers(servers);
  }, TEST_TIMEOUT_MS);

  test.each<[RealServer, (url: string) => string]>([
    ["kafka", (url) => url],
    ["redis", (url) => url.replace("redis://", "rediss://")],
    ["rabbitmq", (url) => url.replace("amqp://", "amqps://")],
    ["postgres", (url) => `${url}?sslmode=require`],
    ["mongodb", (url) => `${url}?tls=true`],
    ["elasticsearch", (url) => url.replace("http://", "https://")],
  ])(
    "is not started when %s is one of them",
    async (name, encrypted) => {
      const said = await refusalOf(name, {
        [ADDRESS_VARIABLES.redis]: servers.redis.url,
        [ADDRESS_VARIABLES[name]]: encrypted(servers[name].url),
        ...(name === "kafka" ? { [KAFKA_TLS]: "true" } : {}),
      });
      expect(said).toMatch(/does (not|it) speak TLS there/);
    },
    TEST_TIMEOUT_MS,
  );
});
