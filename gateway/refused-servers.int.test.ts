/**
 * A shop that is told to use a server that is too old, or that does not let it in, where no real
 * server of that kind can be had: it says which setting is wrong and what would be right, and ends.
 *
 * Each case is `bun start` as a process of its own, on its own storage but for the one server,
 * which speaks just enough to be taken for what it says it is. Older and stricter servers that can
 * be had are in `real-refusals.int.test.ts`.
 */

import { afterAll, describe, expect, test } from "bun:test";

import { startOldServer } from "../actors/analytics/mongo/old-server.fixture.ts";
import { startOldKafka } from "../actors/brokers/kafka/old-kafka.fixture.ts";
import { startOldRabbit } from "../actors/brokers/rabbitmq/old-rabbit.fixture.ts";
import { startOldRedis } from "../actors/brokers/redis/old-redis.fixture.ts";
import { ShopProcess } from "./real-shop.fixture.ts";
import { expectInTime } from "./refused-shop.fixture.ts";

const TEST_TIMEOUT_MS = 60_000;
const SECRET = "not-to-be-printed";

const closers: (() => unknown)[] = [];
afterAll(() => closers.forEach((close) => close()));

function closed<Server>(server: Server, close: (server: Server) => unknown): Server {
  closers.push(() => close(server));
  return server;
}

/** A shop beside whose journal there is one broker, with one topic. */
function withBroker(broker: string): Record<string, string> {
  return {
    SHOPSTREAM_BROKERS: broker,
    SHOPSTREAM_ROUTER_LINKS: JSON.stringify([{ broker, topics: ["out"] }]),
  };
}

function withMongo(maxWireVersion: number): Record<string, string> {
  const { port } = closed(startOldServer(maxWireVersion), (server) => server.close());
  return {
    SHOPSTREAM_ANALYTICS_STORE: "mongodb",
    SHOPSTREAM_MONGODB_URL: `mongodb://shop:${SECRET}@127.0.0.1:${port}/shopstream`,
  };
}

function withElastic(answer: () => Response): Record<string, string> {
  const options = { port: 0, hostname: "127.0.0.1", fetch: answer };
  const { port } = closed(Bun.serve(options), (server) => server.stop(true));
  return {
    SHOPSTREAM_AUDIT_STORE: "elasticsearch",
    SHOPSTREAM_ELASTICSEARCH_URL: `http://127.0.0.1:${port}`,
    SHOPSTREAM_ELASTICSEARCH_USERNAME: "shop",
    SHOPSTREAM_ELASTICSEARCH_PASSWORD: SECRET,
  };
}

const security = { error: { type: "security_exception", reason: "unable to authenticate user" } };

const CASES: readonly (readonly [string, () => Record<string, string>, RegExp])[] = [
  [
    "Redis 5",
    () => ({
      SHOPSTREAM_FRAUD_STATE: "redis",
      SHOPSTREAM_REDIS_URL: closed(startOldRedis("5.0.14"), (server) => server.close()).url,
    }),
    /^shopstream: redis\.url: the server is Redis 5\.0\.14, needed is 7\.0 or later$/,
  ],
  [
    "RabbitMQ 3.7",
    () => ({
      ...withBroker("rabbitmq"),
      SHOPSTREAM_RABBITMQ_URL: closed(startOldRabbit("3.7.28"), (server) => server.stop()).url,
    }),
    /^shopstream: rabbitmq\.url: the server is RabbitMQ 3\.7\.28; needed is RabbitMQ 3\.10 /,
  ],
  [
    "a Kafka that knows no newer request than 2.3 did",
    () => ({
      ...withBroker("kafka"),
      SHOPSTREAM_KAFKA_BROKERS: closed(
        startOldKafka(
          new Map([
            [3, 8],
            [9, 5],
            [10, 2],
            [18, 2],
          ]),
        ),
        (server) => server.close(),
      ).address,
    }),
    /^shopstream: kafka\.brokers: the server at \S+ is too old .*, needed is Kafka 3\.0 or later$/,
  ],
  [
    "MongoDB 3.6",
    () => withMongo(6),
    /^shopstream: mongodb\.url: the server at \S+ is too old, needed is MongoDB 4\.4 or later$/,
  ],
  [
    "a MongoDB that wants another password",
    () => withMongo(21),
    /^shopstream: mongodb\.url: the server at \S+ refuses user "shop" \(wrong password\?\)$/,
  ],
  [
    "Elasticsearch 6",
    () => withElastic(() => Response.json({ version: { number: "6.8.23" } })),
    /^shopstream: elasticsearch\.url: .* is Elasticsearch 6\.8\.23, needed is Elasticsearch 7\.10 /,
  ],
  [
    "an Elasticsearch that wants another password",
    () => withElastic(() => Response.json(security, { status: 401 })),
    /^shopstream: elasticsearch\.url: the server at \S+ refuses user "shop" \(wrong password\?\)$/,
  ],
];

describe("a shop is not started", () => {
  test.each(CASES)(
    "on %s: one line and code 3",
    async (_what, settings, line) => {
      const startedMs = performance.now();
      const shop = await ShopProcess.spawn({
        SHOPSTREAM_PORT: "0",
        SHOPSTREAM_LOG_LEVEL: "error",
        ...settings(),
      });
      try {
        const { code, said } = await shop.ended();
        expect(said.trimEnd()).toMatch(line);
        expect(said.trimEnd().split("\n")).toHaveLength(1);
        expect(said).not.toContain(SECRET);
        expect(code).toBe(3);
        expectInTime(startedMs);
      } finally {
        await shop.dispose();
      }
    },
    TEST_TIMEOUT_MS,
  );
});
