/**
 * What Kafka holds of the orders: for each, the types of its events in the order of their records.
 *
 * A record that is there again under its id is none; another record of the same event is one. It
 * reads until everything that was expected has been seen, or until nothing new comes for a while.
 * That while begins once the broker has given it partitions, and anew with each event.
 */

import type { Broker, Delivery } from "../actors/brokers/broker.ts";
import type { KafkaSettings } from "../actors/brokers/kafka/kafka-options.ts";

import { openKafka } from "../actors/brokers/kafka/open-kafka.ts";
import { EVENTS } from "../actors/contracts/messages.ts";
import { decodeFrame } from "../runtime/frames/frame.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";

/** By order: types of its events, oldest first, each message once. */
export type PublishedEvents = ReadonlyMap<string, readonly string[]>;

export interface ReadTerms {
  /** Events that should be there, in all. */
  readonly expected: number;
  /** Without a new event, since there was something to read. */
  readonly quietMs: number;
}

export interface ReadPublishedOptions extends ReadTerms {
  readonly settings: KafkaSettings;
  readonly slots: number;
}

const TOPIC = "orders";
const GROUP = "cluster-judge";
const POLL_MS = 50;
const CREDIT_FRAMES = 10_000;
const CREDIT_BYTES = 64 * 1024 * 1024;
const LEASE_MS = 60_000;
/** For a broker to give a group's first member its partitions. */
const JOIN_MS = 60_000;

export async function readPublished(options: ReadPublishedOptions): Promise<PublishedEvents> {
  const { settings, slots } = options;
  const environment = systemEnvironment;
  const broker = await openKafka({ environment, settings, slots, topics: [TOPIC] });
  try {
    return await readFrom(broker, options);
  } finally {
    await broker.close();
  }
}

export async function readFrom(
  broker: Pick<Broker, "subscribe">,
  { expected, quietMs }: ReadTerms,
): Promise<PublishedEvents> {
  const names = new Map<number, string>(EVENTS.map(({ number, type }) => [number, type]));
  const found = new Map<string, string[]>();
  const ids = new Set<string>();
  let dueMs = performance.now() + JOIN_MS;
  const goOn = (): void => void (dueMs = performance.now() + quietMs);

  function take({ bytes }: Delivery): void {
    const { id, key, type } = decodeFrame(bytes);
    if (ids.has(id)) return;
    ids.add(id);
    goOn();
    const types = found.get(key) ?? [];
    found.set(key, types);
    types.push(names.get(type) ?? String(type));
  }

  const member = await broker.subscribe({
    group: GROUP,
    topics: [TOPIC],
    from: "earliest",
    creditFrames: CREDIT_FRAMES,
    creditBytes: CREDIT_BYTES,
    leaseMs: LEASE_MS,
    acks: "soon",
    onAssigned: async () => goOn(),
    onDeliveries(deliveries) {
      deliveries.forEach(take);
      // What is not settled comes again, and is known by its id.
      member.ack(deliveries).catch(() => undefined);
    },
  });
  while (ids.size < expected && performance.now() < dueMs) {
    await Bun.sleep(POLL_MS);
  }
  await member.close(false);
  return found;
}
