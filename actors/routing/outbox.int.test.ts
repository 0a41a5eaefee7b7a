/**
 * The outbox on a real journal: what was committed for a broker that is down outlives a kill of
 * the journal and leaves in order when the broker is back.
 *
 * The other broker is in memory, so that it can be down while the journal is not.
 */

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Outgoing } from "../brokers/broker.ts";
import type { FailingJournalData } from "../testing/failing-journal.ts";
import type { Egress } from "./egress.ts";
import type { RouteRow } from "./route-row.ts";

import { createActorSystem } from "../../runtime/actors/actor-system.ts";
import { ShopError } from "../../runtime/errors.ts";
import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import { systemEnvironment } from "../../runtime/system-environment.ts";
import { createCounterPage } from "../../runtime/threads/counter-page.ts";
import { createHeartbeats } from "../../runtime/threads/heartbeat.ts";
import { createMeshMemory, MeshNode } from "../../runtime/threads/mesh.ts";
import { threadChild } from "../../runtime/threads/thread-child.ts";
import { EmbeddedBroker } from "../brokers/embedded-broker.ts";
import { SHOP_LAYOUT } from "../shop-metrics.ts";
import { createEmbeddedStore } from "../stores/embedded-store.ts";
import { JournalClient } from "../stores/journal-client.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { compileRoutes } from "./compile-routes.ts";
import { EGRESS_SETTINGS, startEgress } from "./egress.ts";
import { LOCAL } from "./route-row.ts";
import { routeStore } from "./route-store.ts";
import { outboxTopics } from "./routed-frame.ts";
import { Router } from "./router.ts";

const ME = 0;
const JOURNAL = 1;
const MIB = 1024 * 1024;
const SLOTS = 4;
const KEYS = 8;
const TOPICS = ["orders", ...outboxTopics(["beta"])];
const ROUTES: readonly RouteRow[] = [
  {
    name: "copies",
    to: [
      { broker: LOCAL, topic: "orders" },
      { broker: "beta", topic: "copies" },
    ],
  },
];
const SETTINGS = {
  ...EGRESS_SETTINGS,
  breaker: { ...EGRESS_SETTINGS.breaker, halfOpenAfterMs: 50 },
};

const directory = mkdtempSync(join(tmpdir(), "shopstream-outbox-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function openJournal() {
  const memory = createMeshMemory(`outbox-test-${systemEnvironment.newId()}`, [
    { from: ME, to: JOURNAL, ringBytes: 8 * MIB },
    { from: JOURNAL, to: ME, ringBytes: 8 * MIB },
  ]);
  const heartbeats = createHeartbeats(2);
  const workerData: FailingJournalData = {
    memory,
    heartbeats,
    counters: createCounterPage(SHOP_LAYOUT, 2),
    thread: JOURNAL,
    clients: [ME],
    backlogBytesMax: 64 * MIB,
    fault: new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT),
    journal: {
      directory,
      slots: SLOTS,
      topics: TOPICS,
      retention: {
        logAgeMs: 3_600_000,
        logBytesMax: 64 * MIB,
        inboxAgeMs: 3_600_000,
        idempotencyAgeMs: 3_600_000,
        fraudAgeMs: 3_600_000,
        deadLettersMax: 100,
      },
    },
  };
  const thread = await threadChild({
    id: "journal",
    restart: "temporary",
    environment: systemEnvironment,
    entry: new URL("../testing/failing-journal.ts", import.meta.url),
    thread: JOURNAL,
    heartbeats,
    workerData: () => workerData,
    readyWithinMs: 20_000,
    stallMs: 20_000,
    stopWithinMs: 10_000,
    stopGraceMs: 1_000,
  }).start(() => undefined);
  const onRecord = (kind: number, bytes: Uint8Array): void => client.onRecord(kind, bytes);
  const node: MeshNode = new MeshNode({
    memory,
    me: ME,
    environment: systemEnvironment,
    backlogBytesMax: 64 * MIB,
    listeners: [{ from: JOURNAL, release: "read", onRecord }],
    onTurn: () => client.onTurn(),
  });
  const client: JournalClient = new JournalClient(node, JOURNAL);
  return { thread, node, client, broker: new EmbeddedBroker(client, TOPICS) };
}

/** A life of a shard between two kills, with the egress to `publish`. */
async function startLife(publish: (frames: readonly Outgoing[]) => Promise<void>) {
  const { thread, node, client, broker } = await openJournal();
  const rules = { configured: ROUTES, builtIn: [], unmatched: "dead_letter" as const };
  const table = compileRoutes(rules, {
    brokers: new Map([
      [LOCAL, { topics: ["orders"] }],
      ["beta", { topics: ["copies"] }],
    ]),
    types: [{ type: "order.created", number: 1 }],
  });
  const router = new Router({ table, outboxFramesMax: 1_000 });
  const store = routeStore(
    createEmbeddedStore(client, { load: () => Promise.resolve([]) }),
    router,
  );
  const system = createActorSystem(systemEnvironment, {
    name: "outbox-test",
    onFailure: (failure) => {
      throw failure;
    },
  });
  const egress = await startEgress({
    name: "beta",
    source: broker,
    target: { publish },
    router,
    store,
    system,
    environment: systemEnvironment,
    settings: SETTINGS,
  });
  return { thread, node, client, broker, store, egress, system };
}

type Life = Awaited<ReturnType<typeof startLife>>;

async function end({ thread, node, client, egress, system }: Life, how: "kill" | "stop") {
  if (how === "stop") await egress.drain(1_000);
  else thread.kill();
  await thread.stop();
  client.fail("the journal is gone");
  await egress.close();
  await system.stop();
  node.close();
}

async function commitRound(store: Life["store"], round: number): Promise<void> {
  const outgoing = Array.from({ length: KEYS }, (_, at): Outgoing => {
    const key = `k${at}`;
    const id = systemEnvironment.newId();
    const payload = new Uint8Array([round]);
    const timeMs = systemEnvironment.nowMs();
    const frame = encodeFrame({ type: 1, key, slot: slotOf(key, SLOTS), id, timeMs, payload });
    return { topic: "orders", frame };
  });
  expect(await store.commit({ ...EMPTY_UNIT, outgoing }, [])).toEqual({ kind: "committed" });
}

async function until(egress: Egress, holds: (state: ReturnType<Egress["state"]>) => boolean) {
  while (!holds(egress.state())) await Bun.sleep(5);
}

test("what waits for a broker outlives a kill, and leaves once and in order", async () => {
  const first = await startLife(async () => {
    throw new ShopError("STORAGE_FAULT", "beta is down", "later");
  });
  for (const round of [0, 1, 2]) await commitRound(first.store, round);
  await until(first.egress, ({ circuit, depth }) => circuit === "open" && depth === 3 * KEYS);
  await end(first, "kill");

  const arrived = new Map<string, number[]>();
  const ids = new Set<string>();
  const second = await startLife(async (frames) => {
    for (const { topic, frame: bytes } of frames) {
      const { id, key, payload, headers } = decodeFrame(bytes);
      expect([topic, Object.keys(headers)]).toEqual(["copies", []]);
      ids.add(id);
      arrived.set(key, [...(arrived.get(key) ?? []), payload[0] ?? -1]);
    }
  });
  await commitRound(second.store, 3);
  await until(second.egress, ({ published, depth }) => published === 4 * KEYS && depth === 0);
  await end(second, "stop");

  expect(arrived.size).toBe(KEYS);
  for (const rounds of arrived.values()) expect(rounds).toEqual([0, 1, 2, 3]);
  expect(ids.size).toBe(4 * KEYS);
}, 60_000);
