/**
 * Routes of a shop on servers, what others send it, and the judge of what comes out at the far end.
 *
 * Only for tests. Redis belongs to the others: whatever was acknowledged is told of there, whole
 * and in order for each key, each message once when its repetitions are left out. Judged is what a
 * bare client finds there; it refuses nothing.
 */

import { expect } from "bun:test";

import type { Broker } from "../actors/brokers/broker.ts";
import type { RealServers, ShopProcess } from "./real-shop.fixture.ts";
import type { Json } from "./story-orders.suite.ts";

import { openRabbitBroker } from "../actors/brokers/rabbitmq/rabbit-broker.ts";
import { RABBIT_SETTINGS } from "../actors/brokers/rabbitmq/rabbit-settings.ts";
import { openRedisBroker } from "../actors/brokers/redis/redis-broker.ts";
import { REDIS_SETTINGS } from "../actors/brokers/redis/redis-options.ts";
import { decodeEvent, encodeEvent } from "../actors/delivery/decode-message.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { until } from "./real-shop.fixture.ts";
import { redisFrames } from "./server-peeks.fixture.ts";
import { list } from "./story-checks.suite.ts";
import { bodyOf, CARLA } from "./story-orders.suite.ts";

const SLOTS = 8;
const BIG_MINOR = 10_000;
const PRICE_MINOR = 2_000;
/** What the routes copy of an order, from first to last. */
export const WHOLE_STORY = [
  "order.created",
  "order.ready_to_ship",
  "order.shipped",
  "order.delivered",
] as const;

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

/** Topics at Redis that the routes send to. */
export const ROUTED_TOPICS = ["vip", "moves", "heard"] as const;

/** What is the same wherever the log is and whatever is taken in. */
export const ROUTED_SHOP: Readonly<Record<string, string>> = {
  SHOPSTREAM_STORE: "postgres",
  SHOPSTREAM_SLOTS: `${SLOTS}`,
  SHOPSTREAM_PORT: "0",
  SHOPSTREAM_PAYMENT_LATENCY_KIND: "none",
  SHOPSTREAM_SHIPPING_PACK_MS: "20",
  SHOPSTREAM_SHIPPING_DELIVERY_MS: "20",
  SHOPSTREAM_ROUTER_ROUTES: JSON.stringify(ROUTES),
  SHOPSTREAM_LOG_LEVEL: "warning",
};

type WithRedis = Pick<RealServers, "redis">;
/** What is said when something was waited for in vain. */
type Seen = () => string;

export interface RoutedOrder {
  readonly quantity: number;
  readonly body: Json;
}

/** The orders that were acknowledged. */
export class RoutedOrders {
  readonly #quantities = new Map<string, number>();
  #planned = 0;

  get ids(): readonly string[] {
    return [...this.#quantities.keys()];
  }

  /** Those that the route `vip` is for. */
  get bigIds(): readonly string[] {
    const big = [...this.#quantities].filter(([, of]) => of * PRICE_MINOR >= BIG_MINOR);
    return big.map(([id]) => id);
  }

  /** Each of a customer of its own; every third is a big one. */
  next(): RoutedOrder {
    const quantity = this.#planned % 3 === 0 ? BIG_MINOR / PRICE_MINOR : 1;
    const customerId = `customer-${this.#planned++}`;
    const body = bodyOf({ ...CARLA, customerId, quantity, priceMinor: PRICE_MINOR });
    return { quantity, body };
  }

  acknowledged(id: string, { quantity }: RoutedOrder): void {
    this.#quantities.set(id, quantity);
  }

  async place(shop: ShopProcess, count: number): Promise<readonly string[]> {
    const ids: string[] = [];
    for (let made = 0; made < count; made++) {
      const order = this.next();
      const answer = await shop.send("POST", "/v1/orders", order.body);
      expect(answer.status).toBe(201);
      const id = String(answer.body["id"]);
      this.acknowledged(id, order);
      ids.push(id);
    }
    return ids;
  }
}

/** More than all orders of a test take. */
export async function putStock(shop: ShopProcess): Promise<void> {
  const answer = await shop.send("PUT", "/v1/inventory/story-mug", { available: 100_000 });
  expect(answer.status).toBe(201);
}

export async function untilDelivered(shop: ShopProcess, ids: readonly string[]): Promise<void> {
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

/** Of each order its whole story, of the big ones that they are big, and of nobody else. */
export async function expectAllOnRedis(
  servers: WithRedis,
  orders: RoutedOrders,
  seen: Seen,
): Promise<void> {
  const { ids, bigIds } = orders;
  await untilAllMoved(servers, ids, seen);
  expect(Object.fromEntries(await movesByKey(servers))).toEqual(
    Object.fromEntries(ids.map((id) => [id, WHOLE_STORY])),
  );
  const vip = async () => new Set((await redisFrames(servers, "vip")).map(({ key }) => key));
  await until(async () => (await vip()).size >= bigIds.length, "the big ones are there", { seen });
  expect([...(await vip())].toSorted()).toEqual(bigIds.toSorted());
}

async function untilAllMoved(
  servers: WithRedis,
  ids: readonly string[],
  seen: Seen,
): Promise<void> {
  let missing = 0;
  const isDone = async () => {
    const moves = await movesByKey(servers);
    missing = ids.filter((id) => (moves.get(id)?.length ?? 0) < WHOLE_STORY.length).length;
    return missing === 0;
  };
  const what = "all orders are told of on Redis";
  await until(isDone, what, { seen: () => `${missing} are missing\n${seen()}` });
}

/** What came first of each message, by key. */
async function movesByKey(servers: WithRedis): Promise<ReadonlyMap<string, readonly string[]>> {
  return await onceByKey(servers, "moves", ({ type }) => type);
}

async function onceByKey<Value>(
  servers: WithRedis,
  topic: string,
  read: (event: ReturnType<typeof decodeEvent>) => Value,
): Promise<ReadonlyMap<string, readonly Value[]>> {
  const seen = new Set<string>();
  const found = new Map<string, Value[]>();
  for (const frame of await redisFrames(servers, topic)) {
    if (seen.has(frame.id)) continue;
    seen.add(frame.id);
    const values = found.get(frame.key) ?? [];
    found.set(frame.key, values);
    values.push(read(decodeEvent(frame)));
  }
  return found;
}

/** Where somebody else writes what the shop takes in. */
export interface AbroadPlace {
  readonly broker: "redis" | "rabbitmq";
  readonly url: string;
  readonly topic: string;
}

/** Somebody else who knows the contract, and numbers what is said of a key from 1. */
export class Stranger implements AsyncDisposable {
  /** How much was said of each key. */
  readonly sent = new Map<string, number>();
  readonly #broker: Broker;
  readonly #topic: string;

  private constructor(broker: Broker, topic: string) {
    this.#broker = broker;
    this.#topic = topic;
  }

  static async open(place: AbroadPlace): Promise<Stranger> {
    return new Stranger(await openAbroad(place), place.topic);
  }

  /** One event of each of `keys`; `others` after them. Resolves when all are at the broker. */
  async say(keys: readonly string[], others: readonly Uint8Array[] = []): Promise<void> {
    const said = keys.map((key) => {
      const number = (this.sent.get(key) ?? 0) + 1;
      this.sent.set(key, number);
      return behaviorOf(key, number);
    });
    await this.#broker.publish(
      [...said, ...others].map((frame) => ({ topic: this.#topic, frame })),
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#broker.close();
  }
}

/** The `number`th that is said of `key`. */
export function behaviorOf(key: string, number: number): Uint8Array {
  const { frame } = encodeEvent(
    {
      type: "user.behavior",
      batchId: key,
      baseMs: number,
      offsetMs: [0],
      events: ["page.viewed"],
      event: [0],
      customers: ["somebody"],
      customer: [0],
      products: [],
      product: [0],
    },
    { environment: systemEnvironment, slots: SLOTS },
  );
  return frame;
}

/** All that `stranger` said came to Redis, in order, and nothing else of keys that begin so. */
export async function expectHeard(
  servers: WithRedis,
  { sent }: Pick<Stranger, "sent">,
  begin: string,
  seen: Seen,
): Promise<void> {
  const heard = async () => {
    const all = await onceByKey(servers, "heard", (event) =>
      event.type === "user.behavior" ? event.baseMs : event.type,
    );
    return new Map([...all].filter(([key]) => key.startsWith(begin)));
  };
  const isIn = async () => {
    const now = await heard();
    return [...sent].every(([key, count]) => (now.get(key)?.length ?? 0) >= count);
  };
  await until(isIn, "all is taken in", { seen });
  const numbers = ([key, count]: [string, number]) =>
    [key, Array.from({ length: count }, (_, at) => at + 1)] as const;
  expect(Object.fromEntries(await heard())).toEqual(Object.fromEntries([...sent].map(numbers)));
}

export async function lettersOf(shop: ShopProcess, topic: string): Promise<readonly Json[]> {
  return list(await shop.json(`/admin/dead-letters?topic=${topic}`), "letters");
}

/** Frames that wait for it, as one process knows. */
export async function waitingForRedis(shop: ShopProcess): Promise<number> {
  const found = /shopstream_outbox_depth\{[^}]*broker="redis"[^}]*\} (\d+)/.exec(
    await shop.text("/metrics"),
  );
  return Number(found?.[1] ?? 0);
}

async function openAbroad({ broker, url, topic }: AbroadPlace): Promise<Broker> {
  const common = { environment: systemEnvironment, topics: [topic], partitions: SLOTS };
  const silent = { onConnection: () => undefined, onLog: () => undefined };
  if (broker === "redis") {
    return await openRedisBroker({ ...common, ...silent, settings: { ...REDIS_SETTINGS, url } });
  }
  const settings = { ...RABBIT_SETTINGS, url, groups: { [topic]: ["ingress.rabbitmq"] } };
  return await openRabbitBroker({ ...common, ...silent, settings });
}
