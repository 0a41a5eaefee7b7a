/**
 * Routes of a shop of two processes: both carry what goes out to topics of others and what comes in
 * from them, and each is killed in its turn while orders and foreign events come.
 *
 * The log is on Kafka, fraud on Redis, notices on RabbitMQ, rows in PostgreSQL. What was
 * acknowledged by whomever is completed and told of by the one that is left, before the other is
 * back. An order that had no answer is sent again under its key, so that nobody has to guess.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { RealServers } from "./real-shop.fixture.ts";
import type { RoutedOrder } from "./real-routes.fixture.ts";

import { startTestServer } from "../deploy/services/test-server.ts";
import {
  expectAllOnRedis,
  expectHeard,
  putStock,
  ROUTED_SHOP,
  ROUTED_TOPICS,
  RoutedOrders,
  Stranger,
  untilDelivered,
  waitingForRedis,
} from "./real-routes.fixture.ts";
import { ADDRESS_VARIABLES, haveServers, ShopProcess, until } from "./real-shop.fixture.ts";
import { PostgresPeek, redisFrames, redisOwners } from "./server-peeks.fixture.ts";
import { list } from "./story-checks.suite.ts";

const TEST_TIMEOUT_MS = 300_000;
const NEEDED = ["kafka", "redis", "rabbitmq", "postgres"] as const;
type Servers = Pick<RealServers, (typeof NEEDED)[number]>;

const NAMES = ["one", "two"] as const;
type Name = (typeof NAMES)[number];

const SLOTS = Number(ROUTED_SHOP["SHOPSTREAM_SLOTS"]);
const ORDER_EVERY_MS = 80;
const SAY_EVERY_MS = 100;
const AGAIN_MS = 100;
const KEYS = 16;
/** Orders that only the one has acknowledged that is killed then. */
const BURST = 20;
const STEADY = 15;
/** Mail of three events, and two channels more of those on the move. */
const NOTICES = 7;

const LINKS = [
  { broker: "redis", topics: ROUTED_TOPICS, ingress: ["afar"] },
  { broker: "rabbitmq", ingress: ["abroad"] },
];

let servers: Servers;
let postgres: PostgresPeek;
/** What foreign events come by. */
let strangers: ReadonlyMap<string, Stranger>;
const shops = new Map<Name, ShopProcess>();
const living = new Set<Name>();
const orders = new RoutedOrders();

function settings(name: Name): Record<string, string> {
  return {
    ...ROUTED_SHOP,
    ...Object.fromEntries(NEEDED.map((each) => [ADDRESS_VARIABLES[each], servers[each].url])),
    SHOPSTREAM_BROKERS: "kafka,redis,rabbitmq",
    SHOPSTREAM_ROLES: "order,payment,inventory,shipping,notification",
    SHOPSTREAM_INSTANCE: name,
    SHOPSTREAM_SHARDS: "1",
    SHOPSTREAM_ROUTER_LINKS: JSON.stringify(LINKS),
    SHOPSTREAM_KAFKA_SESSION_MS: "6000",
    SHOPSTREAM_REDIS_SESSION_MS: "6000",
    SHOPSTREAM_CLUSTER_BEAT_MS: "500",
    SHOPSTREAM_CLUSTER_SILENT_MS: "6000",
  };
}

function shopOf(name: Name): ShopProcess {
  const shop = shops.get(name);
  if (shop === undefined) throw new Error(`${name} does not run`);
  return shop;
}

async function start(name: Name, data?: string): Promise<void> {
  shops.set(name, await ShopProcess.open(settings(name), data));
  living.add(name);
}

const said = (): string =>
  [...shops].map(([name, shop]) => `--- ${name}\n${shop.said.slice(-2_000)}`).join("\n");

/** Every slot of every group has an owner that runs, and all that run have some. */
async function untilSpread(): Promise<void> {
  const own = ["order", "payment", "inventory", "shipping", "notification"];
  const groups = [...own, "egress.redis", "egress.rabbitmq"];
  const isSpread = async () => {
    for (const group of groups) {
      const owners = await postgres.owners(group);
      const names = new Set(owners.values());
      if (owners.size < SLOTS || names.size !== living.size) return false;
    }
    return new Set(await redisOwners(servers, "ingress.redis")).size === living.size;
  };
  await until(isSpread, "slots are spread over all that run", { seen: said });
}

/** Frames that its egress has seen confirmed by Redis since it began. */
async function carriedBy(name: Name): Promise<number> {
  const page = await shopOf(name).text("/metrics");
  const line = /shopstream_messages_processed_total\{(?=[^}]*"egress.redis")[^}]*"ok"[^}]*\} (\d+)/;
  return Number(line.exec(page)?.[1] ?? 0);
}

/** The id, of an order that was acknowledged. */
async function tryPlace(name: Name, { body }: RoutedOrder, key: string) {
  if (!living.has(name)) return undefined;
  const shop = shopOf(name);
  try {
    const answer = await shop.send("POST", "/v1/orders", body, { "idempotency-key": key });
    if (answer.status >= 500) return undefined;
    expect(answer.status).toBe(201);
    return String(answer.body["id"]);
  } catch (error) {
    if (!living.has(name)) return undefined;
    throw error;
  }
}

/** With whoever answers, `first` before the other. Who acknowledged it. */
async function place(first: Name): Promise<Name> {
  const order = orders.next();
  const key = crypto.randomUUID();
  const turns = [first, ...NAMES.filter((name) => name !== first)];
  for (let turn = 0; ; turn++) {
    const name = turns[turn % turns.length] ?? first;
    const id = await tryPlace(name, order, key);
    if (id !== undefined) {
      orders.acknowledged(id, order);
      return name;
    }
    await Bun.sleep(AGAIN_MS);
  }
}

interface Trickle extends AsyncDisposable {
  /** Orders that each has acknowledged so far. */
  readonly taken: Readonly<Record<Name, number>>;
}

/** Orders to both in turn and foreign events of all keys `from`, until it is disposed of. */
function startTrickle(from: typeof strangers = strangers): Trickle {
  const taken = { one: 0, two: 0 };
  const under: Promise<void>[] = [];
  let isOver = false;
  const one = async (first: Name) => void taken[await place(first)]++;
  const placing = (async () => {
    for (let turn = 0; !isOver; turn++) {
      under.push(one(NAMES[turn % NAMES.length] ?? "one"));
      await Bun.sleep(ORDER_EVERY_MS);
    }
    await Promise.all(under);
  })();
  const saying = [...from].map(async ([name, stranger]) => {
    const keys = Array.from({ length: KEYS }, (_, at) => `${name}-${at}`);
    while (!isOver) {
      await stranger.say(keys);
      await Bun.sleep(SAY_EVERY_MS);
    }
  });
  return {
    taken,
    async [Symbol.asyncDispose]() {
      isOver = true;
      await Promise.all([placing, ...saying]);
    },
  };
}

/** By `judge`, whoever else runs: nothing is lost, nothing stands out of order. */
async function expectAllThere(judge: Name): Promise<void> {
  await untilDelivered(shopOf(judge), orders.ids);
  await expectAllOnRedis(servers, orders, said);
  for (const [name, stranger] of strangers) {
    await expectHeard(servers, stranger, `${name}-`, said);
  }
}

interface Death {
  readonly victim: Name;
  readonly other: Name;
  /** Stopped before and woken after, so that what the victim has in hand goes nowhere. */
  readonly silent: "kafka" | "redis";
}

/**
 * For `redis` frames of routes that its egress has yet to send; for `kafka` orders that it has
 * acknowledged, all of them in the outbox in PostgreSQL alone.
 */
async function isInHand({ victim, silent }: Death): Promise<boolean> {
  if (silent === "redis") return (await waitingForRedis(shopOf(victim))) >= BURST;
  return (await postgres.count("outbox")) >= BURST;
}

/** While orders and foreign events come. It stays away until everything is judged. */
async function killAmidWork(death: Death): Promise<void> {
  const { victim, other, silent } = death;
  {
    await using trickle = startTrickle();
    await until(() => NAMES.every((name) => trickle.taken[name] >= STEADY), "orders come", {
      seen: said,
    });
    servers[silent].pause();
    try {
      const burst = Array.from({ length: BURST }, () => place(victim));
      expect(new Set(await Promise.all(burst))).toEqual(new Set([victim]));
      await until(() => isInHand(death), `there is much for ${silent}`, { seen: said });
      living.delete(victim);
      await shopOf(victim).kill();
    } finally {
      servers[silent].resume();
    }
    const since = trickle.taken[other];
    const isSteady = () => trickle.taken[other] >= since + STEADY;
    await until(isSteady, "orders go on", { seen: said });
  }
  await expectAllThere(other);
}

describe.skipIf(!haveServers(NEEDED))("routes of a shop of two processes", () => {
  beforeAll(async () => {
    const [kafka, redis, rabbitmq, database] = await Promise.all([
      startTestServer("kafka"),
      startTestServer("redis"),
      startTestServer("rabbitmq"),
      startTestServer("postgres"),
    ]);
    servers = { kafka, redis, rabbitmq, postgres: database };
    postgres = new PostgresPeek(servers);
    await Promise.all(NAMES.map((name) => start(name)));
    await putStock(shopOf("one"));
    strangers = new Map([
      ["afar", await Stranger.open({ broker: "redis", url: redis.url, topic: "afar" })],
      ["abroad", await Stranger.open({ broker: "rabbitmq", url: rabbitmq.url, topic: "abroad" })],
    ]);
  }, TEST_TIMEOUT_MS);

  afterAll(async () => {
    await Promise.all([...(strangers?.values() ?? [])].map((each) => each[Symbol.asyncDispose]()));
    await postgres?.close();
    await Promise.all([...shops.values()].map((shop) => shop.dispose()));
    await Promise.all(Object.values(servers ?? {}).map((server) => server.dispose()));
  }, TEST_TIMEOUT_MS);

  test(
    "both carry frames, and while nothing happens to them none of it twice",
    async () => {
      await untilSpread();
      {
        await using trickle = startTrickle();
        await until(() => NAMES.every((name) => trickle.taken[name] >= STEADY), "orders come", {
          seen: said,
        });
      }
      await expectAllThere("one");
      for (const name of NAMES) {
        // A frame is at Redis before whoever carried it has heard so.
        await until(async () => (await carriedBy(name)) > 0, `${name} has carried`, { seen: said });
      }
      for (const topic of ROUTED_TOPICS) {
        const ids = (await redisFrames(servers, topic)).map(({ id }) => id);
        expect(ids).toHaveLength(new Set(ids).size);
      }
    },
    TEST_TIMEOUT_MS,
  );

  test.each([
    { victim: "two", other: "one", silent: "redis" },
    { victim: "one", other: "two", silent: "kafka" },
  ] as const)(
    "when $victim is killed with much in hand for $silent, $other takes over until it is back",
    async (death) => {
      const { victim } = death;
      const { data } = shopOf(victim);
      await killAmidWork(death);
      await start(victim, data);
      await untilSpread();
      await using trickle = startTrickle();
      await until(async () => (await carriedBy(victim)) > 0, "it carries frames again", {
        seen: said,
      });
      const isSteady = () => NAMES.every((name) => trickle.taken[name] >= STEADY);
      await until(isSteady, "both take orders again", { seen: said });
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "when RabbitMQ was away and comes back, no living shard is fenced for its slots",
    async () => {
      await untilSpread();
      const before = new Map(NAMES.map((name) => [name, shopOf(name).said.length]));
      {
        await using trickle = startTrickle(new Map());
        await servers.rabbitmq.kill();
        for (const isBack of [false, true]) {
          if (isBack) await servers.rabbitmq.start();
          const since = { ...trickle.taken };
          const isSteady = () => NAMES.every((name) => trickle.taken[name] >= since[name] + STEADY);
          await until(isSteady, "orders go on", { seen: said });
        }
      }
      await untilSpread();
      await expectAllThere("one");
      const since = NAMES.map((name) => shopOf(name).said.slice(before.get(name)));
      expect(since.join("\n")).not.toMatch(/fencing|FENCED|taken over/);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "nothing is left over, whoever is asked, and customers were told once of each thing",
    async () => {
      await expectAllThere("one");
      for (const table of ["outbox", "timers"]) {
        const isEmpty = async () => (await postgres.count(table)) === 0;
        await until(isEmpty, `nothing is left in ${table}`, { seen: said });
      }
      for (const name of NAMES) {
        const shop = shopOf(name);
        expect(await shop.json("/admin/dead-letters/summary")).toMatchObject({ total: 0 });
        expect(await shop.answered("/admin/ledger")).toMatchObject({ balanced: true });
        // Of what failed lately it tells for a while.
        const isWell = async () => (await shop.fetch("/health")).status === 200;
        await until(isWell, `${name} is well`, { seen: said });
      }
      for (const id of orders.ids) {
        const told = async () =>
          list(await shopOf("two").json(`/v1/orders/${id}/notifications`), "notifications");
        await until(async () => (await told()).length >= NOTICES, "customers are told");
        const things = (await told()).map(({ event, channel }) => [event, channel].join(" "));
        expect(things).toHaveLength(NOTICES);
        expect(new Set(things).size).toBe(NOTICES);
      }
    },
    TEST_TIMEOUT_MS,
  );
});
