/**
 * The bare clients that the adapters are measured against: the same frames, batches and promises.
 *
 * Each publishes a batch and waits until it is confirmed as durably as the adapter's, and reads
 * what was published and acknowledges it, no sooner than it is asked to: what a client has fetched
 * ahead by itself is all that it may have when its time begins. No order per key, no credit, no
 * retry: what is left of a broker when the port above it is taken away. On Kafka the shop's
 * contract has every record carry the key and headers of a CloudEvent, so that any consumer can
 * read it; whoever keeps it with a bare client writes them too. Lanes of the frame alone show what
 * that costs. On RabbitMQ both sides have a channel for each queue with the same window, and tell
 * the server in multiples: the bare client of every quarter of a window, the adapter as often, or
 * sooner when its time is up. The adapter's messages there carry a content type, an id and the name
 * of the copy, about 110 bytes, the bare client's nothing but the frame, which says all that who
 * reads it by hand must know: what properties cost is the adapter's to bear.
 */

import amqp from "amqplib";
import { Redis } from "ioredis";
import { Kafka, logLevel } from "kafkajs";

import { Consumer, ProduceAcks, Producer, stringSerializer } from "@platformatic/kafka";

import { EVENT_SOURCE, FRAME_CONTENT_TYPE } from "../actors/brokers/kafka/frame-record.ts";
import { SHOP_EVENT_TYPES } from "../actors/brokers/kafka/open-kafka.ts";
import { RABBIT_SETTINGS } from "../actors/brokers/rabbitmq/rabbit-settings.ts";
import { frameId, frameKey, frameTimeMs, frameType } from "../runtime/frames/frame.ts";
import { multipleAcks } from "./multiple-acks.ts";

/** What a bench does with a broker, through an adapter or without. */
export interface Lane {
  /** Resolves when all are confirmed. */
  publish(frames: readonly Uint8Array[]): Promise<void>;
  /** Calls `take` with each of the next `count` frames and acknowledges them. */
  consume(count: number, take: (bytes: Uint8Array) => void): Promise<void>;
  close(): Promise<void>;
}

const TOPIC = "bare";
const READ_COUNT = 1_000;
/**
 * Of each consumer, and so of each queue, as the adapter has it: the window is a setting, no merit
 * of either side. A larger one has most of a run in memory before its time begins.
 */
const PREFETCH = RABBIT_SETTINGS.prefetchFrames;
/** Of one queue: so much of its window is taken when the server is told of it. */
const ACKS_EVERY = Math.ceil(PREFETCH / 4);

/** What a record has beside the frame: a CloudEvent's key and headers, or nothing. */
export type KafkaRecords = "events" | "frames";

export async function kafkaJsLane(address: string, records: KafkaRecords): Promise<Lane> {
  const kafka = new Kafka({ brokers: [address], clientId: "bench", logLevel: logLevel.NOTHING });
  const topic = `${TOPIC}-kafkajs-${records}`;
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 8 }] });
  await admin.disconnect();
  const producer = kafka.producer({ idempotent: true });
  await producer.connect();
  const consumer = kafka.consumer({ groupId: `${topic}-group`, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  const waiting = newTaker();
  await consumer.run({
    eachBatchAutoResolve: true,
    eachBatch: async ({ batch }) => {
      await waiting.asked();
      for (const { value } of batch.messages) if (value !== null) waiting.take(value);
    },
  });
  let turn = 0;
  return {
    publish: async (frames) => {
      const messages = frames.map((frame) => {
        const value = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
        const message = { value, partition: turn++ % 8 };
        return records === "frames" ? message : { ...message, ...eventOf(frame) };
      });
      await producer.sendBatch({ acks: -1, topicMessages: [{ topic, messages }] });
    },
    consume: waiting.consume,
    close: async () => {
      await consumer.disconnect();
      await producer.disconnect();
    },
  };
}

export async function platformaticLane(address: string, records: KafkaRecords): Promise<Lane> {
  const topic = `${TOPIC}-platformatic-${records}`;
  const admin = new Kafka({ brokers: [address], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 8 }] });
  await admin.disconnect();
  const options = { clientId: "bench", bootstrapBrokers: [address] };
  const producer = new Producer<string, Buffer, string, string>({
    ...options,
    idempotent: true,
    acks: ProduceAcks.ALL,
    serializers: {
      key: stringSerializer,
      value: (value) => value,
      headerKey: stringSerializer,
      headerValue: stringSerializer,
    },
  });
  const consumer = new Consumer({ ...options, groupId: `${topic}-group`, maxWaitTime: 100 });
  const stream = await consumer.consume({
    topics: [topic],
    mode: "earliest",
    autocommit: true,
    highWaterMark: 10_000,
  });
  const waiting = newTaker();
  stream.on("data", ({ value }) => waiting.take(value));
  stream.pause();
  let turn = 0;
  return {
    publish: async (frames) => {
      const messages = frames.map((frame) => {
        const value = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
        const message = { topic, value, partition: turn++ % 8 };
        return records === "frames" ? message : { ...message, ...eventOf(frame) };
      });
      await producer.send({ messages });
    },
    consume: async (count, take) => {
      stream.resume();
      await waiting.consume(count, take);
      stream.pause();
    },
    close: async () => {
      await stream.close();
      await consumer.close(true);
      await producer.close();
    },
  };
}

export async function redisLane(url: string): Promise<Lane> {
  const writer = new Redis(url);
  const reader = new Redis(url);
  const streams = Array.from({ length: 8 }, (_, index) => `${TOPIC}:${index}`);
  for (const stream of streams) await writer.xgroup("CREATE", stream, "g", "0", "MKSTREAM");
  let turn = 0;
  return {
    publish: async (frames) => {
      const pipeline = writer.pipeline();
      for (const frame of frames) {
        const stream = streams[turn++ % streams.length] ?? "";
        pipeline.xadd(
          stream,
          "*",
          "f",
          Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength),
        );
      }
      await pipeline.exec();
    },
    consume: async (count, take) => {
      for (let seen = 0; seen < count;) {
        // A reply of the protocol: streams, their entries, and the fields of each.
        const reply = (await reader.xreadgroupBuffer(
          ...(["GROUP", "g", "one", "COUNT", READ_COUNT, "BLOCK", 1_000, "STREAMS"] as const),
          ...streams,
          ...streams.map(() => ">"),
        )) as [Buffer, [Buffer, Buffer[]][]][] | null;
        const pipeline = reader.pipeline();
        for (const [stream, entries] of reply ?? []) {
          for (const [, fields] of entries) take(fields[1] ?? new Uint8Array(0));
          seen += entries.length;
          pipeline.xack(stream, "g", ...entries.map(([id]) => id));
        }
        await pipeline.exec();
      }
    },
    close: async () => {
      await Promise.all([writer.quit(), reader.quit()]);
    },
  };
}

export async function rabbitLane(url: string): Promise<Lane> {
  const connection = await amqp.connect(url);
  const writer = await connection.createConfirmChannel();
  const queues = Array.from({ length: 8 }, (_, index) => `${TOPIC}.${index}`);
  for (const queue of queues) {
    await writer.assertQueue(queue, { durable: true, arguments: { "x-queue-type": "quorum" } });
  }
  const waiting = newTaker();
  const tellers = await Promise.all(
    queues.map(async (queue) => {
      const channel = await connection.createChannel();
      await channel.prefetch(PREFETCH);
      const acks = multipleAcks(channel, ACKS_EVERY);
      await channel.consume(queue, (message) => {
        if (message !== null) waiting.take(message.content, () => acks.taken(message));
      });
      return acks;
    }),
  );
  let turn = 0;
  return {
    publish: async (frames) => {
      for (const frame of frames) {
        const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
        writer.sendToQueue(queues[turn++ % queues.length] ?? "", bytes, { persistent: true });
      }
      await writer.waitForConfirms();
    },
    consume: async (count, take) => {
      await waiting.consume(count, take);
      for (const acks of tellers) acks.end();
    },
    close: async () => {
      await connection.close();
    },
  };
}

/** What the contract has beside a frame, of what a producer of an event has at hand. */
function eventOf(frame: Uint8Array) {
  const type = frameType(frame);
  const key = frameKey(frame);
  const headers = {
    "content-type": FRAME_CONTENT_TYPE,
    ce_specversion: "1.0",
    ce_id: frameId(frame),
    ce_source: EVENT_SOURCE,
    ce_type: SHOP_EVENT_TYPES.nameOf(type) ?? `shopstream.type-${type}`,
    ce_subject: key,
    ce_partitionkey: key,
    ce_time: new Date(frameTimeMs(frame)).toISOString(),
  };
  return { key, headers };
}

/** What comes by itself, counted: kept until somebody asks for it. */
export function newTaker() {
  const early: (readonly [bytes: Uint8Array, taken: () => void])[] = [];
  const asking: (() => void)[] = [];
  let wanted = 0;
  let take: (bytes: Uint8Array) => void = () => undefined;
  let done = (): void => undefined;
  return {
    /** Resolves while somebody asks. */
    asked: async (): Promise<void> => {
      if (wanted === 0) await new Promise<void>((resolve) => void asking.push(resolve));
    },
    /** `taken` is called with the frame in hand, now or later. */
    take: (bytes: Uint8Array, taken: () => void = () => undefined): void => {
      if (wanted === 0) {
        early.push([bytes, taken]);
        return;
      }
      take(bytes);
      taken();
      if (--wanted === 0) done();
    },
    consume: (count: number, each: (bytes: Uint8Array) => void): Promise<void> => {
      const there = early.splice(0, count);
      for (const [bytes, taken] of there) {
        each(bytes);
        taken();
      }
      wanted = count - there.length;
      take = each;
      if (wanted === 0) return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      done = resolve;
      for (const wake of asking.splice(0)) wake();
      return promise;
    },
  };
}
