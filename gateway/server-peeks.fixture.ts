/**
 * What is on the servers of a shop, read with bare clients and none of the shop's adapters.
 *
 * Only for tests: they read everything there is, whatever its size, and change nothing but for a
 * queue of their own. Frames and rows are decoded by the shop's codecs, which are not in question.
 */

import { SQL } from "bun";
import { connect } from "amqplib";
import { Redis } from "ioredis";
import { Kafka, logLevel } from "kafkajs";

import type { Frame } from "../runtime/frames/frame-header.ts";
import type { RealServers } from "./real-shop.fixture.ts";
import type { Json } from "./story-orders.suite.ts";

import { decodeValue } from "../actors/contracts/codec.ts";
import { decodeFrame } from "../runtime/frames/frame.ts";

const SCHEMA = "shopstream";
const TOPIC_PREFIX = "shopstream.";
const SLOTS = 64;

/** Rows of the shop, straight from PostgreSQL. */
export class PostgresPeek {
  readonly #sql: SQL;

  constructor({ postgres }: Pick<RealServers, "postgres">) {
    this.#sql = new SQL(postgres.url, { max: 1 });
  }

  async count(table: string): Promise<number> {
    const rows: readonly { n: number }[] = await this.#sql.unsafe(
      `SELECT count(*)::int AS n FROM ${SCHEMA}.${table}`,
    );
    return rows[0]?.n ?? 0;
  }

  /** The row's data, empty when there is none. */
  async rowAt(table: string, key: string): Promise<Json> {
    const rows: readonly { data: Uint8Array }[] = await this.#sql.unsafe(
      `SELECT data FROM ${SCHEMA}.${table} WHERE key = $1`,
      [key],
    );
    const [row] = rows;
    return row === undefined ? {} : (decodeValue(row.data) as Json); // rows hold objects
  }

  /** Process by slot, of a group of the log; slots that nobody owns are absent. */
  async owners(group: string): Promise<ReadonlyMap<number, string>> {
    const rows: readonly { slot: number; process: string }[] = await this.#sql.unsafe(
      `SELECT s.slot, r.process FROM ${SCHEMA}.slot_owners s JOIN ${SCHEMA}.relays r
       ON r.id = s.relay WHERE s.grp = $1 AND NOT r.fenced`,
      [group],
    );
    return new Map(rows.map(({ slot, process }) => [slot, process]));
  }

  async close(): Promise<void> {
    await this.#sql.close();
  }
}

export interface SeenRecord {
  readonly topic: string;
  readonly partition: number;
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly value: Uint8Array;
}

export function kafkaAt({ kafka }: Pick<RealServers, "kafka">): Kafka {
  return new Kafka({
    clientId: "somebody-else",
    brokers: [...kafka.brokerAddresses],
    logLevel: logLevel.NOTHING,
  });
}

/** Every record of the shop's `topics`, each partition in order. */
export async function kafkaRecords(
  servers: Pick<RealServers, "kafka">,
  topics: readonly string[],
): Promise<readonly SeenRecord[]> {
  const kafka = kafkaAt(servers);
  const admin = kafka.admin();
  await admin.connect();
  const names = topics.map((topic) => `${TOPIC_PREFIX}${topic}`);
  const left = new Map<string, number>();
  for (const name of names) {
    for (const { partition, high, low } of await admin.fetchTopicOffsets(name)) {
      if (Number(high) > Number(low)) left.set(`${name}/${partition}`, Number(high) - 1);
    }
  }
  await admin.disconnect();
  const records: SeenRecord[] = [];
  if (left.size === 0) return records;
  const done = Promise.withResolvers<void>();
  const consumer = kafka.consumer({ groupId: `peek-${crypto.randomUUID()}` });
  await consumer.connect();
  await consumer.subscribe({ topics: names, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ topic, partition, message }) => {
      const headers = Object.entries(message.headers ?? {});
      records.push({
        topic: topic.slice(TOPIC_PREFIX.length),
        partition,
        key: message.key?.toString() ?? "",
        headers: Object.fromEntries(headers.map(([name, value]) => [name, String(value)])),
        value: message.value ?? new Uint8Array(),
      });
      const place = `${topic}/${partition}`;
      if (Number(message.offset) >= (left.get(place) ?? Infinity)) left.delete(place);
      if (left.size === 0) done.resolve();
    },
  });
  await done.promise;
  await consumer.disconnect();
  return records;
}

/** Every frame of a topic's streams on Redis. */
export async function redisFrames(
  { redis }: Pick<RealServers, "redis">,
  topic: string,
): Promise<readonly Frame[]> {
  const client = new Redis(redis.url);
  try {
    const frames: Frame[] = [];
    for (let partition = 0; partition < SLOTS; partition++) {
      const entries = await client.xrangeBuffer(`shopstream:log:${topic}:${partition}`, "-", "+");
      for (const [, fields] of entries) {
        const [, bytes] = fields;
        if (bytes !== undefined) frames.push(decodeFrame(bytes));
      }
    }
    return frames;
  } finally {
    client.disconnect();
  }
}

/** Members of a group on Redis, by the partitions that they own. */
export async function redisOwners(
  { redis }: Pick<RealServers, "redis">,
  group: string,
): Promise<readonly string[]> {
  const client = new Redis(redis.url);
  try {
    // `member:epoch` each.
    const claims = Object.values(await client.hgetall(`shopstream:group:${group}:owners`));
    return claims.map((claim) => claim.slice(0, claim.lastIndexOf(":")));
  } finally {
    client.disconnect();
  }
}

export interface QueueTap {
  /** What went by so far. */
  readonly frames: readonly Frame[];
  close(): Promise<void>;
}

/** Hears, beside the shop, everything that is published to a topic's exchange on RabbitMQ. */
export async function tapRabbit(
  { rabbitmq }: Pick<RealServers, "rabbitmq">,
  topic: string,
): Promise<QueueTap> {
  const connection = await connect(rabbitmq.url);
  const channel = await connection.createChannel();
  const { queue } = await channel.assertQueue("", { exclusive: true });
  for (let partition = 0; partition < SLOTS; partition++) {
    await channel.bindQueue(queue, `${TOPIC_PREFIX}${topic}`, String(partition));
  }
  const frames: Frame[] = [];
  await channel.consume(
    queue,
    (message) => {
      if (message !== null) frames.push(decodeFrame(message.content));
    },
    { noAck: true },
  );
  return { frames, close: () => connection.close() };
}
