/**
 * What Kafka holds of the orders: for each, the types of its events in the order of their records.
 *
 * A record that is there again under its id is none; another record of the same event is one. It
 * reads until everything that was expected has been seen, or until nothing new comes for a while.
 */

import type { Delivery } from "../actors/brokers/broker.ts";
import type { KafkaSettings } from "../actors/brokers/kafka/kafka-options.ts";

import { openKafka } from "../actors/brokers/kafka/open-kafka.ts";
import { EVENTS } from "../actors/contracts/messages.ts";
import { decodeFrame } from "../runtime/frames/frame.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";

/** By order: types of its events, oldest first, each message once. */
export type PublishedEvents = ReadonlyMap<string, readonly string[]>;

export interface ReadPublishedOptions {
  readonly settings: KafkaSettings;
  readonly slots: number;
  /** Events that should be there, in all. */
  readonly expected: number;
  readonly quietMs: number;
}

const TOPIC = "orders";
const GROUP = "cluster-judge";
const POLL_MS = 50;
const CREDIT_FRAMES = 10_000;
const CREDIT_BYTES = 64 * 1024 * 1024;
const LEASE_MS = 60_000;

export async function readPublished(options: ReadPublishedOptions): Promise<PublishedEvents> {
  const { settings, slots, expected, quietMs } = options;
  const names = new Map<number, string>(EVENTS.map(({ number, type }) => [number, type]));
  const found = new Map<string, string[]>();
  const ids = new Set<string>();
  let quietSinceMs = performance.now();

  function take({ bytes }: Delivery): void {
    const { id, key, type } = decodeFrame(bytes);
    if (ids.has(id)) return;
    ids.add(id);
    quietSinceMs = performance.now();
    const types = found.get(key) ?? [];
    found.set(key, types);
    types.push(names.get(type) ?? String(type));
  }

  const environment = systemEnvironment;
  const broker = await openKafka({ environment, settings, slots, topics: [TOPIC] });
  try {
    const member = await broker.subscribe({
      group: GROUP,
      topics: [TOPIC],
      from: "earliest",
      creditFrames: CREDIT_FRAMES,
      creditBytes: CREDIT_BYTES,
      leaseMs: LEASE_MS,
      acks: "soon",
      onDeliveries(deliveries) {
        deliveries.forEach(take);
        // What is not settled comes again, and is known by its id.
        member.ack(deliveries).catch(() => undefined);
      },
    });
    while (ids.size < expected && performance.now() - quietSinceMs < quietMs) {
      await Bun.sleep(POLL_MS);
    }
    await member.close(false);
  } finally {
    await broker.close();
  }
  return found;
}
