/**
 * The shard's thread of `router.bench.ts`: takes messages from a ring, routes them, hands them on.
 *
 * In the mode of brokers they go through everything: a memory broker, an ingress with its consumer
 * and policies, the route table, another memory broker, and a group at the end that judges them. In
 * the mode of rings they are routed by their header alone, into the ring that leads back.
 */

import { parentPort, workerData } from "node:worker_threads";

import type { Outgoing } from "../actors/brokers/broker.ts";
import type { Store } from "../actors/stores/unit-of-work.ts";
import type { ThreadData, Warm } from "./router-plan.ts";

import { MemoryBroker } from "../actors/brokers/memory-broker.ts";
import { MemoryLog } from "../actors/brokers/memory-log.ts";
import { startConsumer } from "../actors/delivery/consumer.ts";
import { DELIVERY_POLICY } from "../actors/delivery/delivery-policy.ts";
import { ACK } from "../actors/delivery/outcome.ts";
import { startIngress } from "../actors/routing/ingress.ts";
import { LOCAL } from "../actors/routing/route-row.ts";
import { Router } from "../actors/routing/router.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { createDoorbell } from "../runtime/threads/doorbell.ts";
import { RingReader, RingWriter } from "../runtime/threads/ring.ts";
import {
  benchTable,
  clockMs,
  INBOUND,
  INSTANCE,
  KEYS,
  PREFIX_BYTES,
  SENDER,
  SHARD,
  SLOTS,
  TOPICS,
  verdictOf,
} from "./router-plan.ts";

const LOG_BYTES_MAX = 64 * 1_024 * 1_024;
/** Messages taken from the ring and not yet at the end: the rest waits in the ring. */
const UNDER_WAY_MAX = 50_000;
const RELEASE_EVERY = 256;
/** Offset of the type in a frame's header. */
const TYPE_AT = 6;

function newBroker(topics: readonly string[]): MemoryBroker {
  const bounds = { logBytesMax: LOG_BYTES_MAX, deadLetterBytesMax: LOG_BYTES_MAX };
  const log = new MemoryLog({ topics, partitions: SLOTS, ...bounds });
  return new MemoryBroker({ environment: systemEnvironment, log });
}

/** Starts the ingress and the group behind it, which calls `judge` for each message. */
async function startBrokers(judge: (number: number, topic: string) => void) {
  const source = newBroker([INBOUND]);
  const local = newBroker(TOPICS);
  const router = new Router({ table: benchTable(), outboxFramesMax: 1 });
  const store: Store = {
    acknowledges: false,
    load: () => Promise.resolve([]),
    async commit(unit) {
      await local.publish(unit.outgoing);
      return { kind: "committed" };
    },
  };
  const policy = DELIVERY_POLICY;
  const environment = systemEnvironment;
  const common = { router, store, environment, policy, slots: SLOTS };
  await startIngress({ ...common, name: "source", source, topics: [INBOUND] });
  await startConsumer<number>({
    broker: local,
    environment,
    group: "sink",
    topics: TOPICS,
    policy,
    decode: ({ payload }) => new DataView(payload.buffer, payload.byteOffset).getFloat64(0, true),
    handler: {
      kind: "batch",
      concurrencyMax: 1,
      batchMax: 256,
      async handle(messages) {
        for (const { body, delivery } of messages) judge(body, delivery.topic);
        return messages.map(() => ACK);
      },
    },
  });
  return source;
}

async function viaBrokers({ toShard, count, warmUp }: ThreadData): Promise<void> {
  const reader = new RingReader(toShard);
  const dueMs = new Float64Array(count);
  const latenciesMs = new Float64Array(count - warmUp);
  const next = Array.from({ length: KEYS }, (_, key) => key);
  let warmMs = clockMs();
  let taken = 0;
  let arrived = 0;
  let wrong = 0;
  const source = await startBrokers((number, topic) => {
    const nowMs = clockMs();
    if (arrived === warmUp) {
      warmMs = nowMs;
      parentPort?.postMessage({ kind: "warm" } satisfies Warm);
    }
    if (arrived >= warmUp) latenciesMs[arrived - warmUp] = nowMs - (dueMs[number] ?? 0);
    arrived++;
    const key = number % KEYS;
    if (number !== next[key] || topic !== TOPICS[number % TOPICS.length]) wrong++;
    next[key] = number + KEYS;
    if (arrived === count) {
      const elapsedMs = nowMs - warmMs;
      parentPort?.postMessage(verdictOf(latenciesMs, { count, wrong, elapsedMs }));
    }
  });
  const doorbell = createDoorbell(INSTANCE, SHARD, () => void drain());
  let isDraining = false;

  async function drain(): Promise<void> {
    if (isDraining) return;
    isDraining = true;
    do {
      const frames: Outgoing[] = [];
      while (taken - arrived < UNDER_WAY_MAX && frames.length < RELEASE_EVERY && reader.next()) {
        const { bytes } = reader;
        const prefix = new DataView(bytes.buffer, bytes.byteOffset, PREFIX_BYTES);
        dueMs[taken++] = prefix.getFloat64(0, true);
        frames.push({ topic: INBOUND, frame: bytes.subarray(PREFIX_BYTES) });
      }
      if (frames.length > 0) {
        await source.publish(frames);
        if (reader.release(reader.end)) doorbell.ring(SENDER);
      }
      // So that those under way get on.
      await new Promise((resolve) => setImmediate(resolve));
    } while (taken < count && !reader.park());
    isDraining = false;
  }

  await drain();
}

function viaRings({ toShard, toSender }: ThreadData): void {
  const reader = new RingReader(toShard);
  const writer = new RingWriter(toSender);
  const source = benchTable().source("source");
  const lane = source.lane(INBOUND);
  const kinds = new Map<string, number>(TOPICS.map((topic, at) => [topic, at]));
  const doorbell = createDoorbell(INSTANCE, SHARD, pump);
  let pending = false;

  /** False: no room; the record stays the reader's current one. */
  function forward(): boolean {
    const type =
      reader.byteAt(PREFIX_BYTES + TYPE_AT) | (reader.byteAt(PREFIX_BYTES + TYPE_AT + 1) << 8);
    const { fixed } = lane.candidates(type);
    const place = fixed?.copies[0]?.to;
    if (place?.broker !== LOCAL) throw new RangeError(`no fixed route for type ${type}`);
    return writer.tryWrite(kinds.get(place.topic) ?? 0, reader.bytes);
  }

  function pump(): void {
    let moved = 0;
    do {
      while (pending || reader.next()) {
        pending = !forward();
        if (pending) {
          if (writer.flush()) doorbell.ring(SENDER);
          if (writer.park(reader.length)) return;
          continue;
        }
        if (++moved % RELEASE_EVERY !== 0) continue;
        if (writer.flush()) doorbell.ring(SENDER);
        if (reader.release(reader.end)) doorbell.ring(SENDER);
      }
      if (writer.flush()) doorbell.ring(SENDER);
      if (reader.release(reader.end)) doorbell.ring(SENDER);
    } while (!reader.park());
  }

  pump();
}

// A doorbell keeps no thread alive.
parentPort?.on("message", () => undefined);
// Made by the benchmark, which is of this build.
const data = workerData as ThreadData;
if (data.mode === "ring") viaRings(data);
else await viaBrokers(data);
