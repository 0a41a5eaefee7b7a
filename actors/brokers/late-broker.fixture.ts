/**
 * What the tests of late brokers stand on: a server that is there when it is told to be.
 *
 * The broker behind it is the one in memory, and time is virtual. Nothing here asserts.
 */

import type { Broker, ConnectionState, Delivery, SubscribeOptions } from "./broker.ts";

import { ShopError } from "../../runtime/errors.ts";
import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { openOrAwait } from "./late-broker.ts";
import { MEMORY_CAPABILITIES, MemoryBroker } from "./memory-broker.ts";
import { MemoryLog } from "./memory-log.ts";

export const TOPIC = "orders";
const LOG_BYTES_MAX = 1024 * 1024;
export const LONG_MS = 60_000;

export function rig() {
  const environment = createVirtualEnvironment();
  const limits = { logBytesMax: LOG_BYTES_MAX, deadLetterBytesMax: LOG_BYTES_MAX };
  const log = new MemoryLog({ topics: [TOPIC], partitions: 1, ...limits });
  const inner = new MemoryBroker({ environment, log });
  const states: ConnectionState[] = [];
  const server = {
    isThere: false,
    /** How long whoever asks has to wait. */
    answers: Promise.resolve(),
    /** How long a member has to wait for it. */
    admits: Promise.resolve(),
    askedAtMs: [] as number[],
    closed: 0,
    /** What whoever opened the broker hears of its connection. */
    tells: (_state: ConnectionState): void => undefined,
  };
  const open = async (tells: (state: ConnectionState) => void): Promise<Broker> => {
    server.tells = tells;
    server.askedAtMs.push(environment.monotonicMs());
    await server.answers;
    if (!server.isThere) throw new ShopError("SERVER_UNUSABLE", "nobody answers", "never");
    return {
      capabilities: inner.capabilities,
      publish: (frames) => inner.publish(frames),
      async subscribe(options) {
        await server.admits;
        return await inner.subscribe(options);
      },
      deadLetters: (topic, afterId, limit) => inner.deadLetters(topic, afterId, limit),
      async close() {
        server.closed++;
        await inner.close();
      },
    };
  };
  return {
    environment,
    server,
    states,
    inner,
    opening: () =>
      openOrAwait({
        name: "redis",
        capabilities: MEMORY_CAPABILITIES,
        environment,
        open,
        onConnection: (state) => void states.push(state),
      }),
  };
}

export function outgoing(id: number) {
  const fields = { id: `0190a000-0000-7000-8000-00000000000${id}`, timeMs: 0, type: 1, slot: 0 };
  const frame = encodeFrame({ ...fields, key: "k", payload: new Uint8Array([id]) });
  return { topic: TOPIC, frame };
}

export function reading(got: Delivery[], more: Partial<SubscribeOptions> = {}): SubscribeOptions {
  return {
    group: "g",
    topics: [TOPIC],
    from: "earliest",
    creditFrames: 100,
    creditBytes: LOG_BYTES_MAX,
    leaseMs: 10 * LONG_MS,
    onDeliveries: (deliveries) => void got.push(...deliveries),
    ...more,
  };
}
