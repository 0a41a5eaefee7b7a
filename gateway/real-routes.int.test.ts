/**
 * Routes of a shop on servers: copies of its events to topics of somebody else on a broker beside
 * its log, and a topic of somebody else taken in, from there or from the log's own broker.
 *
 * PostgreSQL keeps the rows and Redis belongs to the others: it is killed while orders come, and so
 * is the shop while frames wait for it. What is on Redis is read with a bare client.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { TestServer } from "../deploy/services/test-server.ts";
import type { Broker } from "../actors/brokers/broker.ts";
import type { RealServers } from "./real-shop.fixture.ts";
import type { Json } from "./story-orders.suite.ts";

import { openRabbitBroker } from "../actors/brokers/rabbitmq/rabbit-broker.ts";
import { RABBIT_SETTINGS } from "../actors/brokers/rabbitmq/rabbit-settings.ts";
import { openRedisBroker } from "../actors/brokers/redis/redis-broker.ts";
import { REDIS_SETTINGS } from "../actors/brokers/redis/redis-options.ts";
import { COMMANDS_TOPIC } from "../actors/commands/owner-handler.ts";
import { TOPICS } from "../actors/contracts/topics.ts";
import { decodeEvent, encodeEvent } from "../actors/delivery/decode-message.ts";
import { startTestServer } from "../deploy/services/test-server.ts";
import { decodeFrame, encodeFrame } from "../runtime/frames/frame.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { ADDRESS_VARIABLES, haveServers, ShopProcess, until } from "./real-shop.fixture.ts";
import { redisFrames } from "./server-peeks.fixture.ts";
import { list } from "./story-checks.suite.ts";
import { bodyOf, CARLA } from "./story-orders.suite.ts";

const TEST_TIMEOUT_MS = 300_000;
const SLOTS = 8;
const BIG_MINOR = 10_000;
const PRICE_MINOR = 2_000;
const WHOLE_STORY = ["order.created", "order.ready_to_ship", "order.shipped", "order.delivered"];
const UNKNOWN_TYPE = 999;
const STRANGERS = 40;

const toRedis = (topic: string) => [{ broker: "redis", topic }];
const ROUTES = [
  {
    name: "vip",
    also: true,
    match: {
      from: ["embedded"],
      types: ["order.created"],
      payload: [{ path: "totalMinor", gte: BIG_MINOR }],
    },
    to: toRedis("vip"),
  },
  {
    name: "moves",
    also: true,
    match: { from: ["embedded"], types: ["order.*"] },
    to: toRedis("moves"),
    policy: { priority: "high" },
  },
  {
    name: "abroad",
    match: { types: ["user.behavior"] },
    to: toRedis("heard"),
  },
];

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
let placed = 0;
/** Quantity of every order that was acknowledged, by its id. */
const acknowledged = new Map<string, number>();

function linksOf({ abroad }: Layout) {
  const toRoutes = { broker: "redis", topics: ["vip", "moves", "heard"] };
  return abroad === "redis"
    ? [{ ...toRoutes, ingress: ["abroad"] }]
    : [toRoutes, { broker: abroad, ingress: ["abroad"] }];
}

function settings(layout: Layout): Record<string, string> {
  const { log } = layout;
  return {
    SHOPSTREAM_STORE: "postgres",
    SHOPSTREAM_BROKERS: `${log},redis`,
    ...Object.fromEntries([...TOPICS, COMMANDS_TOPIC].map((topic) => [placementOf(topic), log])),
    SHOPSTREAM_ROLES: "order,payment,inventory,shipping",
    SHOPSTREAM_INSTANCE: "main",
    SHOPSTREAM_SLOTS: `${SLOTS}`,
    SHOPSTREAM_SHARDS: "2",
    SHOPSTREAM_PORT: "0",
    SHOPSTREAM_PAYMENT_LATENCY_KIND: "none",
    SHOPSTREAM_SHIPPING_PACK_MS: "20",
    SHOPSTREAM_SHIPPING_DELIVERY_MS: "20",
    SHOPSTREAM_POSTGRES_URL: servers.postgres.url,
    [ADDRESS_VARIABLES[log]]: servers.log.url,
    SHOPSTREAM_REDIS_URL: servers.redis.url,
    SHOPSTREAM_ROUTER_LINKS: JSON.stringify(linksOf(layout)),
    SHOPSTREAM_ROUTER_ROUTES: JSON.stringify(ROUTES),
    SHOPSTREAM_LOG_LEVEL: "warning",
  };
}

function placementOf(topic: string): string {
  return `SHOPSTREAM_PLACEMENT_${topic.toUpperCase()}`;
}

/** Each of a customer of its own; every third is a big one. */
async function placeOrders(count: number): Promise<readonly string[]> {
  const ids: string[] = [];
  for (let made = 0; made < count; made++) {
    const quantity = placed % 3 === 0 ? BIG_MINOR / PRICE_MINOR : 1;
    const customerId = `customer-${placed++}`;
    const body = bodyOf({ ...CARLA, customerId, quantity, priceMinor: PRICE_MINOR });
    const answer = await shop.send("POST", "/v1/orders", body);
    expect(answer.status).toBe(201);
    const id = String(answer.body["id"]);
    acknowledged.set(id, quantity);
    ids.push(id);
  }
  return ids;
}

async function untilDelivered(ids: readonly string[]): Promise<void> {
  const open = new Set(ids);
  const isDone = async () => {
    for (const id of open) {
      if ((await shop.json(`/v1/orders/${id}`))["status"] !== "delivered") return false;
      open.delete(id);
    }
    return true;
  };
  const seen = () => `${open.size} open\n${shop.said.slice(-2_000)}`;
  await until(isDone, "the orders are delivered", { seen });
}

/** What came first of each message, by key. */
async function movesByKey(): Promise<ReadonlyMap<string, readonly string[]>> {
  const seen = new Set<string>();
  const moves = new Map<string, string[]>();
  for (const frame of await redisFrames(servers, "moves")) {
    if (seen.has(frame.id)) continue;
    seen.add(frame.id);
    moves.set(frame.key, [...(moves.get(frame.key) ?? []), decodeEvent(frame).type]);
  }
  return moves;
}

async function untilAllMoved(): Promise<void> {
  let missing = 0;
  const isDone = async () => {
    const moves = await movesByKey();
    const open = [...acknowledged.keys()].filter(
      (id) => (moves.get(id)?.length ?? 0) < WHOLE_STORY.length,
    );
    missing = open.length;
    return missing === 0;
  };
  const seen = () => `${missing} are missing\n${shop.said.slice(-2_000)}`;
  await until(isDone, "all orders are told of on Redis", { seen });
}

async function expectAllOnRedis(): Promise<void> {
  await untilAllMoved();
  const moves = await movesByKey();
  expect(Object.fromEntries(moves)).toEqual(
    Object.fromEntries([...acknowledged.keys()].map((id) => [id, WHOLE_STORY])),
  );
  const big = [...acknowledged].filter(([, quantity]) => quantity * PRICE_MINOR >= BIG_MINOR);
  const vip = async () => new Set((await redisFrames(servers, "vip")).map(({ key }) => key));
  await until(async () => (await vip()).size >= big.length, "the big ones are there");
  expect([...(await vip())].toSorted()).toEqual(big.map(([id]) => id).toSorted());
}

/** All of `ids` were taken in from abroad and went on to Redis, and nothing else of their batch. */
async function expectHeard(ids: readonly string[]): Promise<void> {
  const batch = ids[0]?.split("-")[0] ?? "";
  const heard = async () => {
    const frames = await redisFrames(servers, "heard");
    return new Set(frames.map(({ key }) => key).filter((key) => key.startsWith(batch)));
  };
  const isIn = async () => (await heard()).size >= ids.length;
  await until(isIn, "all is taken in", { seen: () => shop.said.slice(-2_000) });
  expect([...(await heard())].toSorted()).toEqual(ids.toSorted());
}

async function lettersOf(topic: string): Promise<readonly Json[]> {
  return list(await shop.json(`/admin/dead-letters?topic=${topic}`), "letters");
}

async function partOf(name: string): Promise<unknown> {
  const parts = list(await shop.json("/health"), "services");
  return parts.find((part) => part["name"] === name)?.["status"];
}

async function waitingForRedis(): Promise<number> {
  const found = /shopstream_outbox_depth\{[^}]*broker="redis"[^}]*\} (\d+)/.exec(
    await shop.text("/metrics"),
  );
  return Number(found?.[1] ?? 0);
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
    placed = 0;
    acknowledged.clear();
    shop = await ShopProcess.open(settings(layout));
    const stock = { available: 100_000 };
    expect((await shop.send("PUT", "/v1/inventory/story-mug", stock)).status).toBe(201);
  }, TEST_TIMEOUT_MS);

  afterAll(async () => {
    await shop?.dispose();
    await Promise.all(Object.values(servers ?? {}).map((server) => server.dispose()));
  }, TEST_TIMEOUT_MS);

  test(
    "send what they match to topics of another broker, in order for each key",
    async () => {
      await placeOrders(30);
      await expectAllOnRedis();
      const [frame] = await redisFrames(servers, "moves");
      // As the shop made it: nothing of the way is left on it.
      expect(Object.keys(frame?.headers ?? {})).not.toContain("routetopic");
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "take a foreign topic in, and bury what nothing matches where all letters are",
    async () => {
      await expectHeard(await sendFromAbroad(layout, "first"));
      const letters = () => lettersOf("abroad");
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
      await until(isBack, "it is buried again", { seen: () => shop.said.slice(-2_000) });
      expect((await letters())[0]).toMatchObject(place);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "hold up nobody while that broker is away, and lose nothing when the shop dies meanwhile",
    async () => {
      await servers.redis.kill();
      const ids = await placeOrders(30);
      await untilDelivered(ids);
      const isTold = async () => (await partOf("egress.redis")) === "degraded";
      await until(isTold, "health says so", { seen: () => shop.said.slice(-2_000) });
      await until(async () => (await waitingForRedis()) >= 4 * ids.length, "all of it waits");
      await shop.kill();
      await servers.redis.start();
      shop = await ShopProcess.open(settings(layout), shop.data);
      await placeOrders(10);
      await expectAllOnRedis();
      const isWell = async () => (await partOf("egress.redis")) === "up";
      await until(isWell, "health says so");
      await until(async () => (await waitingForRedis()) === 0, "nothing waits");
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "go on in one process when its broker restarts while orders come",
    async () => {
      await servers.redis.stop();
      await placeOrders(10);
      await servers.redis.start();
      await placeOrders(10);
      await expectAllOnRedis();
      await untilDelivered([...acknowledged.keys()]);
      expect(await lettersOf("abroad")).toHaveLength(1);
      expect(await lettersOf("outbox.redis")).toEqual([]);
      await expectHeard(await sendFromAbroad(layout, "later"));
      expect(await shop.json("/admin/ledger")).toMatchObject({ balanced: true });
      expect(shop.hasEnded()).toBe(false);
    },
    TEST_TIMEOUT_MS,
  );
}

/** As others write who know the contract; the last is of no type that anybody knows. */
async function sendFromAbroad(layout: Layout, batch: string): Promise<readonly string[]> {
  const environment = systemEnvironment;
  const broker = await openAbroad(layout);
  const events = Array.from({ length: STRANGERS }, (_, at) =>
    encodeEvent(
      {
        type: "user.behavior",
        batchId: `${batch}-${at}`,
        baseMs: environment.nowMs(),
        offsetMs: [0],
        events: ["page.viewed"],
        event: [0],
        customers: ["somebody"],
        customer: [0],
        products: [],
        product: [0],
      },
      { environment, slots: SLOTS },
    ),
  );
  const frames = events.map(({ frame }) => ({ topic: "abroad", frame }));
  const [first] = frames;
  const strange = encodeFrame({
    ...decodeFrame(first?.frame ?? new Uint8Array()),
    type: UNKNOWN_TYPE,
    id: environment.newId(),
  });
  await broker.publish([...frames, { topic: "abroad", frame: strange }]);
  await broker.close();
  return frames.map(({ frame }) => decodeFrame(frame).key);
}

async function openAbroad({ abroad }: Layout): Promise<Broker> {
  const common = { environment: systemEnvironment, topics: ["abroad"], partitions: SLOTS };
  const silent = { onConnection: () => undefined, onLog: () => undefined };
  if (abroad === "redis") {
    const redis = { ...REDIS_SETTINGS, url: servers.redis.url };
    return await openRedisBroker({ ...common, ...silent, settings: redis });
  }
  const groups = { abroad: ["ingress.rabbitmq"] };
  const rabbit = { ...RABBIT_SETTINGS, url: servers.log.url, groups };
  return await openRabbitBroker({ ...common, ...silent, settings: rabbit });
}
