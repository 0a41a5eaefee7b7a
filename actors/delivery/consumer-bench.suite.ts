/**
 * What the consumer's tests stand on: the memory broker, a virtual clock, and a way to interfere.
 *
 * Nothing here asserts; the tests do.
 */

import type { VirtualEnvironment } from "../../runtime/virtual-environment.ts";
import type { Burial, Subscription } from "../brokers/broker.ts";
import type { Consumer, ConsumerOptions } from "./consumer.ts";
import type { ConsumerEvent } from "./consumer-event.ts";
import type { DeliveryPolicy } from "./delivery-policy.ts";
import type { HandleOne } from "./outcome.ts";

import { encodeFrame, framePayload } from "../../runtime/frames/frame.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { MemoryBroker } from "../brokers/memory-broker.ts";
import { MemoryLog } from "../brokers/memory-log.ts";
import { startConsumer } from "./consumer.ts";
import { ACK } from "./outcome.ts";

const LOG_BYTES_MAX = 64 * 1_024 * 1_024;

export const POLICY: DeliveryPolicy = {
  retry: { attemptsMax: 5, delayMinMs: 100, delayMaxMs: 1_000, jitter: 0 },
  deliveriesMax: 20,
  creditFrames: 256,
  creditBytes: 1_000_000,
  handleTimeoutMs: 4_000,
  hangsMax: 3,
  leaseMs: 6_000,
  expired: "bury",
};

export interface Rig {
  readonly environment: VirtualEnvironment;
  readonly broker: MemoryBroker;
  readonly events: ConsumerEvent[];
  /** `body#attempt` of every call, in order. */
  readonly calls: string[];
  /** Replaces methods of every subscription made from now on. */
  interfere: (subscription: Subscription) => Partial<Subscription>;
  publish(bodies: readonly string[], fields?: Published): Promise<void>;
  start(handle?: HandleOne<string>, options?: Partial<ConsumerOptions<string>>): Promise<Consumer>;
  buried(): Promise<readonly (Burial & { readonly body: string })[]>;
}

interface Published {
  readonly key?: string;
  readonly topic?: string;
  readonly deadlineMs?: number;
  readonly type?: number;
}

export function createRig(partitions = 4, topics: readonly string[] = ["t"]): Rig {
  const environment = createVirtualEnvironment();
  const log = new MemoryLog({
    topics,
    partitions,
    logBytesMax: LOG_BYTES_MAX,
    deadLetterBytesMax: LOG_BYTES_MAX,
  });
  const broker = new MemoryBroker({ environment, log });
  const events: ConsumerEvent[] = [];
  const calls: string[] = [];

  const rig: Rig = {
    environment,
    broker,
    events,
    calls,
    interfere: () => ({}),
    publish: (bodies, { key, topic = "t", deadlineMs = 0, type = 1 } = {}) =>
      broker.publish(
        bodies.map((body) => {
          const ownKey = key ?? body;
          const slot = slotOf(ownKey, partitions);
          const payload = new TextEncoder().encode(body);
          const times = { id: environment.newId(), timeMs: environment.nowMs(), deadlineMs };
          return { topic, frame: encodeFrame({ type, slot, key: ownKey, payload, ...times }) };
        }),
      ),
    start: (handle = () => Promise.resolve(ACK), options = {}) =>
      startConsumer({
        broker: {
          subscribe: async (subscribing) => {
            const inner = await broker.subscribe(subscribing);
            return { ...portOf(inner), ...rig.interfere(inner) };
          },
        },
        environment,
        group: "g",
        topics,
        policy: POLICY,
        decode: (frame) => new TextDecoder().decode(frame.payload),
        handler: {
          kind: "single",
          concurrencyMax: 8,
          handle: (message, signal) => {
            calls.push(`${message.body}#${message.attempt}`);
            return handle(message, signal);
          },
        },
        onEvent: (event) => void events.push(event),
        ...options,
      }),
    buried: async () => {
      const letters = await Promise.all(topics.map((topic) => broker.deadLetters(topic, 0, 1_000)));
      return letters.flat().map(({ burial, bytes }) => ({
        ...burial,
        body: new TextDecoder().decode(framePayload(bytes)),
      }));
    },
  };
  return rig;
}

/** Sums of the consumer's counters over all partitions. */
export function totals(
  consumer: Consumer,
): Record<"received" | "acked" | "buried" | "returned" | "inFlight" | "parked", number> {
  const sums = { received: 0, acked: 0, buried: 0, returned: 0, inFlight: 0, parked: 0 };
  for (const each of consumer.stats().partitions) {
    sums.received += each.received;
    sums.acked += each.acked;
    sums.buried += each.buried;
    sums.returned += each.returned;
    sums.inFlight += each.inFlight;
    sums.parked += each.parked;
  }
  return sums;
}

/** The methods of `inner` as an object of their own, to be replaced one by one. */
export function portOf(inner: Subscription): Subscription {
  return {
    ack: (deliveries) => inner.ack(deliveries),
    postpone: (ref, postponement) => inner.postpone(ref, postponement),
    bury: (ref, burial) => inner.bury(ref, burial),
    standing: (look) => inner.standing(look),
    pause: () => inner.pause(),
    resume: () => inner.resume(),
    close: (isAtRest) => inner.close(isAtRest),
  };
}
