/**
 * Brokers on real servers: each adapter beside its bare client, in the same run.
 *
 * A run publishes frames of 209 bytes in batches, several under way, until all are confirmed; the
 * next reads and acknowledges them: what was lost on the way, or came twice, fails the bench. It
 * starts the servers; what the machine lacks, and adapters that are not there, are left out.
 *
 *     bun bench/brokers.bench.ts [kafka] [redis] [rabbitmq] [--json]
 */

import { existsSync } from "node:fs";
import { parseArgs } from "node:util";

import { startTestServer, whyMissing } from "../deploy/services/test-server.ts";
import { encodeFrame, framePayload } from "../runtime/frames/frame.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { kafkaJsLane, newTaker, platformaticLane, rabbitLane, redisLane } from "./broker-lanes.ts";
import { runBench } from "./harness.ts";

import type { Broker } from "../actors/brokers/broker.ts";
import type { Lane } from "./broker-lanes.ts";
import type { BenchCase, BenchResult, Evidence } from "./harness.ts";

const FRAME_BYTES = 209;
/** As the outbox relay publishes. */
const BATCH_FRAMES = 500;
const BATCHES_UNDER_WAY = 4;
const PARTITIONS = 8;
const CREDIT_FRAMES = 4_096;
const CREDIT_BYTES = 16 * 1_024 * 1_024;
const LEASE_MS = 120_000;
const TOPIC = "bench";

/** A server, its adapters by the files that open them for tests, and the bare clients. */
interface Contest {
  readonly service: "kafka" | "rabbitmq" | "redis";
  /** Of one run: many times what either side may have fetched ahead when its time begins. */
  readonly frames: number;
  readonly adapters: readonly (readonly [name: string, rig: string, ...against: string[]])[];
  readonly bare: Readonly<Record<string, (address: string) => Promise<Lane>>>;
}

const CONTESTS: readonly Contest[] = [
  {
    service: "kafka",
    frames: 60_000,
    adapters: [
      ["kafka (kafkajs)", "kafka/kafka-rig.fixture.ts", "kafkajs", "kafkajs, frames alone"],
      [
        "kafka (platformatic)",
        "kafka/platformatic-rig.fixture.ts",
        "@platformatic/kafka",
        "@platformatic/kafka, frames alone",
      ],
    ],
    bare: {
      kafkajs: (address) => kafkaJsLane(address, "events"),
      "kafkajs, frames alone": (address) => kafkaJsLane(address, "frames"),
      "@platformatic/kafka": (address) => platformaticLane(address, "events"),
      "@platformatic/kafka, frames alone": (address) => platformaticLane(address, "frames"),
    },
  },
  {
    service: "redis",
    frames: 100_000,
    adapters: [["redis", "redis/redis-rig.fixture.ts", "ioredis"]],
    bare: { ioredis: (address) => redisLane(`redis://${address}`) },
  },
  {
    service: "rabbitmq",
    frames: 20_000,
    adapters: [["rabbitmq", "rabbitmq/rabbit-rig.fixture.ts", "amqplib"]],
    bare: { amqplib: (address) => rabbitLane(`amqp://guest:guest@${address}`) },
  },
];

const { values, positionals } = parseArgs({
  options: { json: { type: "boolean", default: false } },
  allowPositionals: true,
});

for (const contest of CONTESTS) {
  if (positionals.length > 0 && !positionals.includes(contest.service)) continue;
  const missing = whyMissing(contest.service);
  if (missing === undefined) await compete(contest);
  else console.log(`${contest.service}: left out: ${missing}`);
}
process.exit(0); // clients that keep something open must not keep the bench

async function compete({ service, adapters, bare, frames: count }: Contest): Promise<void> {
  const frames = Array.from({ length: count }, (_, index) => frameOf(index));
  const server = await startTestServer(service);
  const lanes = new Map<string, Lane>();
  const notes: string[] = [];
  try {
    for (const [name, open] of Object.entries(bare)) lanes.set(name, await open(server.address));
    for (const [name, rig] of adapters) {
      const path = new URL(`../actors/brokers/${rig}`, import.meta.url).pathname;
      if (existsSync(path)) lanes.set(name, await adapterLane(path, server.address));
    }
    const cases = [...lanes].flatMap(([name, lane]) => casesOf(name, lane, frames));
    const results = await runBench(cases, {
      title: `${service}, ${count} frames of ${FRAME_BYTES} bytes in batches of ${BATCH_FRAMES}`,
      unit: "frame",
      runs: 5,
      notes,
    });
    for (const [name, , ...against] of adapters) {
      for (const other of against) {
        for (const act of ["publish", "consume"]) printRatio(results, name, other, act);
      }
    }
  } finally {
    for (const lane of lanes.values()) await lane.close();
    await server.dispose();
  }
}

/** Publishing comes first in every round, so what is consumed is what was published in it. */
function casesOf(name: string, lane: Lane, frames: readonly Uint8Array[]): BenchCase[] {
  const operations = frames.length;
  const expected: Evidence = { count: operations, checksum: (operations * (operations - 1)) / 2 };
  const publish = async (): Promise<Evidence> => {
    let at = 0;
    let count = 0;
    const publisher = async (): Promise<void> => {
      while (at < frames.length) {
        const batch = frames.slice(at, (at += BATCH_FRAMES));
        await lane.publish(batch);
        count += batch.length;
      }
    };
    await Promise.all(Array.from({ length: BATCHES_UNDER_WAY }, publisher));
    return { count, checksum: expected.checksum }; // that they are the right ones shows next
  };
  const consume = async (): Promise<Evidence> => {
    let count = 0;
    let checksum = 0;
    await lane.consume(operations, (bytes) => {
      count++;
      checksum += indexOf(bytes);
    });
    return { count, checksum };
  };
  return [
    { name: `${name}: publish`, operations, expected, run: publish },
    { name: `${name}: consume`, operations, expected, run: consume },
  ];
}

function printRatio(
  results: readonly BenchResult[],
  name: string,
  against: string,
  act: string,
): void {
  const rateOf = (lane: string): number =>
    results.find((result) => result.name === `${lane}: ${act}`)?.medianPerSecond ?? Number.NaN;
  const ratio = rateOf(name) / rateOf(against);
  if (Number.isNaN(ratio)) return;
  console.log(`${act}: ${name} at ${(100 * ratio).toFixed(0)} % of ${against}`);
  if (values.json) console.log(JSON.stringify({ act, name, against, ratio }));
}

async function adapterLane(path: string, address: string): Promise<Lane> {
  const { openBroker } = (await import(path)) as {
    // What every rig exports; see `actors/testing/remote-rig.fixture.ts`.
    readonly openBroker: (open: object) => Promise<Broker>;
  };
  const broker = await openBroker({
    topics: [TOPIC],
    partitions: PARTITIONS,
    prefix: `bench${systemEnvironment.newId().slice(-6)}.`,
    address,
    environment: systemEnvironment,
    publishTimeoutMs: 30_000,
    sessionMs: 10_000,
    groups: ["g"],
  });
  const waiting = newTaker();
  const subscription = await broker.subscribe({
    group: "g",
    topics: [TOPIC],
    from: "earliest",
    creditFrames: CREDIT_FRAMES,
    creditBytes: CREDIT_BYTES,
    leaseMs: LEASE_MS,
    acks: "soon",
    onDeliveries: (deliveries) => {
      for (const { bytes } of deliveries) waiting.take(bytes);
      void subscription.ack(deliveries);
    },
  });
  subscription.pause();
  return {
    publish: (batch) => broker.publish(batch.map((frame) => ({ topic: TOPIC, frame }))),
    consume: async (count, take) => {
      subscription.resume();
      await waiting.consume(count, take);
      subscription.pause();
    },
    close: () => broker.close(),
  };
}

function frameOf(index: number): Uint8Array {
  const fields = {
    type: 1,
    slot: index % PARTITIONS,
    key: `key-${index % 1_000}`,
    id: systemEnvironment.newId(),
    timeMs: systemEnvironment.nowMs(),
  };
  const around = encodeFrame({ ...fields, payload: new Uint8Array(0) }).byteLength;
  const payload = new Uint8Array(FRAME_BYTES - around);
  new DataView(payload.buffer).setUint32(0, index);
  return encodeFrame({ ...fields, payload });
}

function indexOf(bytes: Uint8Array): number {
  const payload = framePayload(bytes);
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0);
}
