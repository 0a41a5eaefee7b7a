/**
 * Routes of a shop on servers: copies of its events to topics of somebody else on a broker beside
 * its log, and a topic of somebody else taken in, from there or from the log's own broker.
 *
 * PostgreSQL keeps the rows and Redis belongs to the others: it is killed while orders come, and so
 * is the shop while frames wait for it. What is on Redis is read with a bare client.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { TestServer } from "../deploy/services/test-server.ts";
import type { RealServers } from "./real-shop.fixture.ts";

import { COMMANDS_TOPIC } from "../actors/commands/owner-handler.ts";
import { TOPICS } from "../actors/contracts/topics.ts";
import { startTestServer } from "../deploy/services/test-server.ts";
import { decodeFrame, encodeFrame } from "../runtime/frames/frame.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import {
  behaviorOf,
  expectAllOnRedis,
  expectHeard,
  lettersOf,
  putStock,
  ROUTED_SHOP,
  ROUTED_TOPICS,
  RoutedOrders,
  Stranger,
  untilDelivered,
  waitingForRedis,
  WHOLE_STORY,
} from "./real-routes.fixture.ts";
import { ADDRESS_VARIABLES, haveServers, ShopProcess, until } from "./real-shop.fixture.ts";
import { redisFrames } from "./server-peeks.fixture.ts";
import { list } from "./story-checks.suite.ts";

const TEST_TIMEOUT_MS = 300_000;
const UNKNOWN_TYPE = 999;
const STRANGERS = 40;

/** Which broker is the log, and which has the topic that is taken in. */
interface Layout {
  readonly log: "kafka" | "rabbitmq";
  readonly abroad: "redis" | "rabbitmq";
}

const LAYOUTS: readonly Layout[] = [
  { log: "kafka", abroad: "redis" },
  { log: "rabbitmq", abroad: "rabbitmq" },
];

type Servers = Pick<RealServers, "postgres" | "redis"> & { readonly log: TestServer };

let servers: Servers;
let shop: ShopProcess;
let orders: RoutedOrders;

function linksOf({ abroad }: Layout) {
  const toRoutes = { broker: "redis", topics: ROUTED_TOPICS };
  return abroad === "redis"
    ? [{ ...toRoutes, ingress: ["abroad"] }]
    : [toRoutes, { broker: abroad, ingress: ["abroad"] }];
}

function settings(layout: Layout): Record<string, string> {
  const { log } = layout;
  return {
    ...ROUTED_SHOP,
    SHOPSTREAM_BROKERS: `${log},redis`,
    ...Object.fromEntries([...TOPICS, COMMANDS_TOPIC].map((topic) => [placementOf(topic), log])),
    SHOPSTREAM_ROLES: "order,payment,inventory,shipping",
    SHOPSTREAM_INSTANCE: "main",
    SHOPSTREAM_SHARDS: "2",
    SHOPSTREAM_POSTGRES_URL: servers.postgres.url,
    [ADDRESS_VARIABLES[log]]: servers.log.url,
    SHOPSTREAM_REDIS_URL: servers.redis.url,
    SHOPSTREAM_ROUTER_LINKS: JSON.stringify(linksOf(layout)),
  };
}

function placementOf(topic: string): string {
  return `SHOPSTREAM_PLACEMENT_${topic.toUpperCase()}`;
}

const said = () => shop.said.slice(-2_000);
const expectAllTold = () => expectAllOnRedis(servers, orders, said);

async function partOf(name: string): Promise<unknown> {
  const parts = list(await shop.json("/health"), "services");
  return parts.find((part) => part["name"] === name)?.["status"];
}

describe.each(LAYOUTS.map((layout) => [layout.log, layout] as const))(
  "routes of a shop whose log is on %s",
  (_log, layout) => {
    if (haveServers(["postgres", "redis", layout.log])) routeCases(layout);
  },
);

function routeCases(layout: Layout): void {
  beforeAll(async () => {
    const [postgres, redis, log] = await Promise.all([
      startTestServer("postgres"),
      startTestServer("redis"),
      startTestServer(layout.log),
    ]);
    servers = { postgres, redis, log };
    orders = new RoutedOrders();
    shop = await ShopProcess.open(settings(layout));
    await putStock(shop);
  }, TEST_TIMEOUT_MS);

  afterAll(async () => {
    await shop?.dispose();
    await Promise.all(Object.values(servers ?? {}).map((server) => server.dispose()));
  }, TEST_TIMEOUT_MS);

  test(
    "send what they match to topics of another broker, in order for each key",
    async () => {
      await orders.place(shop, 30);
      await expectAllTold();
      const [frame] = await redisFrames(servers, "moves");
      // As the shop made it: nothing of the way is left on it.
      expect(Object.keys(frame?.headers ?? {})).not.toContain("routetopic");
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "take a foreign topic in, and bury what nothing matches where all letters are",
    async () => {
      await expectTakenIn(layout, "first");
      const letters = () => lettersOf(shop, "abroad");
      await until(async () => (await letters()).length > 0, "the letter is there");
      const [letter] = await letters();
      const place = { topic: "abroad", group: `ingress.${layout.abroad}`, reason: "unmatched" };
      expect(letter).toMatchObject(place);
      // Put back it goes to where it came from, and comes in again: still nothing matches it.
      const id = String(letter?.["id"]);
      const again = await shop.send("POST", `/admin/dead-letters/${id}/redrive`, {});
      expect(again.status).toBe(200);
      const isBack = async () => {
        const now = await letters();
        return now.length === 1 && now[0]?.["id"] !== letter?.["id"];
      };
      await until(isBack, "it is buried again", { seen: said });
      expect((await letters())[0]).toMatchObject(place);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "hold up nobody while that broker is away, and lose nothing when the shop dies meanwhile",
    async () => {
      await servers.redis.kill();
      const ids = await orders.place(shop, 30);
      await untilDelivered(shop, ids);
      const isTold = async () => (await partOf("egress.redis")) === "degraded";
      await until(isTold, "health says so", { seen: said });
      const frames = WHOLE_STORY.length * ids.length;
      await until(async () => (await waitingForRedis(shop)) >= frames, "all of it waits");
      await shop.kill();
      await servers.redis.start();
      shop = await ShopProcess.open(settings(layout), shop.data);
      await orders.place(shop, 10);
      await expectAllTold();
      const isWell = async () => (await partOf("egress.redis")) === "up";
      await until(isWell, "health says so");
      await until(async () => (await waitingForRedis(shop)) === 0, "nothing waits");
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "go on in one process when its broker restarts while orders come",
    async () => {
      await servers.redis.stop();
      await orders.place(shop, 10);
      await servers.redis.start();
      await orders.place(shop, 10);
      await expectAllTold();
      await untilDelivered(shop, orders.ids);
      expect(await lettersOf(shop, "abroad")).toHaveLength(1);
      expect(await lettersOf(shop, "outbox.redis")).toEqual([]);
      await expectTakenIn(layout, "later");
      expect(await shop.json("/admin/ledger")).toMatchObject({ balanced: true });
      expect(shop.hasEnded()).toBe(false);
    },
    TEST_TIMEOUT_MS,
  );
}

/** As others write who know the contract; the last is of no type that anybody knows. */
async function expectTakenIn({ abroad }: Layout, batch: string): Promise<void> {
  const { url } = abroad === "redis" ? servers.redis : servers.log;
  await using stranger = await Stranger.open({ broker: abroad, url, topic: "abroad" });
  const strange = encodeFrame({
    ...decodeFrame(behaviorOf(`${batch}-strange`, 1)),
    type: UNKNOWN_TYPE,
    id: systemEnvironment.newId(),
  });
  const keys = Array.from({ length: STRANGERS }, (_, at) => `${batch}-${at}`);
  await stranger.say(keys, [strange]);
  await expectHeard(servers, stranger, `${batch}-`, said);
}
