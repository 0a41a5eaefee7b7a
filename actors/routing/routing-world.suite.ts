/**
 * What the tests of the router stand on: two brokers beside the local one, and frames to send.
 *
 * Everything is in memory and on a virtual clock. Nothing here asserts; the tests do.
 */

import type { Outgoing } from "../brokers/broker.ts";
import type { MemoryFaults } from "../brokers/memory-broker.ts";
import type { Decision } from "./route-table.ts";
import type { KnownWorld } from "./route-refusals.ts";
import type { RouteRow } from "./route-row.ts";
import type { VirtualEnvironment } from "../../runtime/virtual-environment.ts";

import { createActorSystem } from "../../runtime/actors/actor-system.ts";
import { ShopError } from "../../runtime/errors.ts";
import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { MemoryBroker } from "../brokers/memory-broker.ts";
import { MemoryLog } from "../brokers/memory-log.ts";
import { encodeValue } from "../contracts/codec.ts";
import { startConsumer } from "../delivery/consumer.ts";
import { ACK } from "../delivery/outcome.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { compileRoutes } from "./compile-routes.ts";
import { LOCAL } from "./route-row.ts";
import { routeStore } from "./route-store.ts";
import { outboxTopics } from "./routed-frame.ts";
import { Router } from "./router.ts";

export const SLOTS = 4;
export const TYPES = [
  { type: "order.created", number: 1 },
  { type: "order.shipped", number: 2 },
  { type: "payment.processed", number: 6 },
];
export const LOCAL_TOPICS = ["orders", "payments"];
const FOREIGN_TOPICS = ["orders", "copies", "inbound"];
const BYTES_MAX = 64 * 1_024 * 1_024;

export const KNOWN: KnownWorld = {
  brokers: new Map([
    [LOCAL, { topics: LOCAL_TOPICS }],
    ["alpha", { topics: FOREIGN_TOPICS, ingressTopics: ["inbound"] }],
    ["beta", { topics: FOREIGN_TOPICS }],
  ]),
  types: TYPES,
};

export const BUILT_IN: readonly RouteRow[] = [
  { name: "orders", match: { types: ["order.*"] }, to: [{ broker: LOCAL, topic: "orders" }] },
  {
    name: "payments",
    match: { types: ["payment.processed"] },
    to: [{ broker: LOCAL, topic: "payments" }],
  },
];

export interface FrameFields {
  readonly type?: number;
  readonly key?: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly deadlineMs?: number;
  readonly id?: string;
}

export function makeFrame(environment: VirtualEnvironment, fields: FrameFields = {}): Uint8Array {
  const { type = 1, key = "k", body = {}, headers = {}, deadlineMs = 0 } = fields;
  return encodeFrame({
    type,
    key,
    headers,
    deadlineMs,
    slot: slotOf(key, SLOTS),
    payload: encodeValue(body),
    id: fields.id ?? environment.newId(),
    timeMs: environment.nowMs(),
  });
}

/** `broker/topic` of every copy. */
export function placesOf({ copies }: Decision): readonly string[] {
  return copies.map(({ to }) => `${to.broker}/${to.topic}`);
}

export interface WorldOptions {
  readonly routes?: readonly RouteRow[];
  readonly outboxFramesMax?: number;
  readonly unmatched?: "dead_letter" | { readonly broker: string; readonly topic: string };
}

/** A local broker whose store is its log, and two others that can be made to fail. */
export function createWorld(options: WorldOptions = {}) {
  const { routes = [], outboxFramesMax = 1_000, unmatched = "dead_letter" } = options;
  const environment = createVirtualEnvironment();
  const local = newBroker(environment, [...LOCAL_TOPICS, ...outboxTopics(["alpha", "beta"])]);
  const alpha = newBroker(environment, FOREIGN_TOPICS);
  const beta = newBroker(environment, FOREIGN_TOPICS);
  const storeFaults = { isDown: false };
  const table = compileRoutes({ configured: routes, builtIn: BUILT_IN, unmatched }, KNOWN);
  const router = new Router({ table, outboxFramesMax });
  // One publication for each unit, as the journal appends a whole unit or nothing.
  let gathered: Outgoing[] = [];
  const flush = async (): Promise<void> => {
    const frames = gathered;
    gathered = [];
    if (frames.length > 0) await local.broker.publish(frames);
  };
  const inner = createMemoryStore({
    environment,
    onOutgoing(outgoing) {
      gathered.push(outgoing);
      // A timer that falls due publishes without a commit.
      environment.defer(() => void flush());
    },
    onAcknowledged: (deliveries) => void local.broker.acknowledge(deliveries),
    onStep(step) {
      if (step === "before_commit" && storeFaults.isDown) {
        throw new ShopError("STORAGE_FAULT", "the store does not answer", "later");
      }
      return step === "after_commit" ? flush() : undefined;
    },
  });
  const store = routeStore(inner, router);
  const system = createActorSystem(environment, {
    name: "test",
    onFailure: (failure) => {
      throw failure;
    },
  });
  return { environment, local, alpha, beta, router, table, store, inner, system, storeFaults };
}

export type World = ReturnType<typeof createWorld>;

function newBroker(environment: VirtualEnvironment, topics: readonly string[]) {
  const faults: MemoryFaults = {
    diskFull: false,
    ioFault: false,
    confirmsLost: false,
    burialsRefused: false,
  };
  const log = new MemoryLog({
    topics,
    partitions: SLOTS,
    logBytesMax: BYTES_MAX,
    deadLetterBytesMax: BYTES_MAX,
  });
  return { broker: new MemoryBroker({ environment, log, faults }), faults, log };
}

/** Every frame that arrives in `topic`, as `key:body`, in order of arrival. */
export async function listen(
  environment: VirtualEnvironment,
  broker: MemoryBroker,
  topic: string,
): Promise<string[]> {
  const heard: string[] = [];
  await startConsumer({
    broker,
    environment,
    group: `listener-${topic}`,
    topics: [topic],
    decode: (frame) => frame,
    handler: {
      kind: "single",
      concurrencyMax: 1,
      handle: async ({ frame, delivery }) => {
        const { headers } = decodeFrame(delivery.bytes);
        const told = Object.entries(headers).map(([name, value]) => `${name}=${value}`);
        heard.push([`${frame.key}#${frame.type}`, ...told].join(" "));
        return ACK;
      },
    },
  });
  return heard;
}
