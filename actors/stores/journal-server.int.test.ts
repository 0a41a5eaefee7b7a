/**
 * The journal's server with its clients in one thread: a real database, a virtual clock, and calls
 * where the rings would be. What the rings add is tested with them.
 */

import { afterEach, expect, mock, spyOn, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Delivery, Outgoing, SubscribeOptions } from "../brokers/broker.ts";
import type { Journal } from "./journal/journal-types.ts";
import type { JournalEvent } from "./journal-clockwork.ts";
import type { UnitOfWork } from "./unit-of-work.ts";

import { InvariantError, ShopError } from "../../runtime/errors.ts";
import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { EmbeddedBroker } from "../brokers/embedded-broker.ts";
import { createEmbeddedStore } from "./embedded-store.ts";
import { JournalClient } from "./journal-client.ts";
import { openJournalReads } from "./journal-reads.ts";
import { JournalServer } from "./journal-server.ts";
import { openJournal } from "./journal/journal.ts";
import { EMPTY_UNIT } from "./unit-of-work.ts";

const TOPICS = ["orders", "payments"];
const SLOTS = 2;
const HOUR_MS = 3_600_000;
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0).toReversed()) close();
});

class StorageError extends Error {
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

function createServer() {
  const directory = mkdtempSync(join(tmpdir(), "shopstream-server-"));
  closers.push(() => rmSync(directory, { recursive: true, force: true }));
  const environment = createVirtualEnvironment();
  let fault: string | undefined;
  const journal: Journal = openJournal({
    directory,
    slots: SLOTS,
    topics: TOPICS,
    environment,
    retention: {
      logAgeMs: HOUR_MS,
      logBytesMax: 64 * 1024 * 1024,
      inboxAgeMs: HOUR_MS,
      idempotencyAgeMs: HOUR_MS,
      fraudAgeMs: HOUR_MS,
      deadLettersMax: 100,
    },
    faults(point) {
      if (fault !== undefined && point === "unit") throw new StorageError(fault);
    },
  });
  const events: JournalEvent[] = [];
  const clients = new Map<number, JournalClient>();
  const server = new JournalServer({
    journal,
    environment,
    slots: SLOTS,
    send(thread, kind, first, second) {
      const bytes = new Uint8Array(first.length + (second?.length ?? 0));
      bytes.set(first);
      if (second !== undefined) bytes.set(second, first.length);
      clients.get(thread)?.onRecord(kind, bytes);
      return true;
    },
    onEvent: (event) => void events.push(event),
  });
  let isOpen = true;
  const close = (): void => {
    if (isOpen) server.close();
    isOpen = false;
  };
  closers.push(close);

  function openClient(thread: number) {
    const client: JournalClient = new JournalClient(
      {
        send(_to, kind, first) {
          server.onRecord(thread, kind, first);
          return true;
        },
      },
      1,
    );
    clients.set(thread, client);
    const reads = openJournalReads(directory);
    closers.push(() => reads.close());
    const store = createEmbeddedStore(client, reads);
    const broker = new EmbeddedBroker(client, TOPICS);
    const received: Delivery[] = [];
    async function subscribe(options: Partial<SubscribeOptions> = {}) {
      const subscription = await turn(
        broker.subscribe({
          group: "payment",
          topics: ["orders"],
          from: "earliest",
          creditFrames: 100,
          creditBytes: 1_000_000,
          leaseMs: 10_000,
          onDeliveries: (deliveries) => void received.push(...deliveries),
          ...options,
        }),
      );
      return { subscription, received };
    }
    return { client, store, broker, received, subscribe, reads };
  }

  /** One turn of the journal's thread, then of every client's. */
  async function turn<Value>(pending?: Promise<Value>): Promise<Value> {
    await environment.settle();
    server.onTurn();
    for (const client of clients.values()) client.onTurn();
    await environment.settle();
    return (await pending) as Value; // `undefined` without a promise to wait for
  }

  return {
    environment,
    journal,
    server,
    events,
    openClient,
    turn,
    close,
    fail: (code: string | undefined) => (fault = code),
  };
}

let made = 0;
function frameOf(environment: { newId(): string; nowMs(): number }, slot = 0): Outgoing {
  const frame = encodeFrame({
    type: 1,
    slot,
    key: `order-${made++}`,
    payload: new Uint8Array([1, 2, 3]),
    id: environment.newId(),
    timeMs: environment.nowMs(),
  });
  return { topic: "orders", frame };
}

const rowUnit = (expectedVersion: number, more: Partial<UnitOfWork> = {}): UnitOfWork => ({
  ...EMPTY_UNIT,
  rows: [{ table: "payments", key: "p-1", expectedVersion, data: new Uint8Array([7]) }],
  ...more,
});

test("units of one turn share a transaction, and each gets its own answer", async () => {
  const { openClient, turn, events, environment } = createServer();
  const { store } = openClient(2);
  const first = store.commit(rowUnit(0), []);
  const second = store.commit(rowUnit(0), []);
  const third = store.commit({ ...EMPTY_UNIT, outgoing: [frameOf(environment)] }, []);
  await turn();
  expect(await first).toEqual({ kind: "committed" });
  expect(await second).toEqual({ kind: "conflict", table: "payments", key: "p-1", version: 1 });
  expect(await third).toEqual({ kind: "committed" });
  expect(events.filter(({ kind }) => kind === "committed")).toHaveLength(1);
});

test("what was committed is readable once it is answered", async () => {
  const { openClient, turn } = createServer();
  const { store } = openClient(2);
  await turn(store.commit(rowUnit(0), []));
  const [row] = await store.load("payments", ["p-1"]);
  expect(row).toMatchObject({ key: "p-1", version: 1, data: new Uint8Array([7]) });
});

test("a frame is delivered after its commit, and acknowledged by the unit it caused", async () => {
  const { openClient, turn, environment, journal } = createServer();
  const { store, broker, received, subscribe } = openClient(2);
  await subscribe();
  await turn(broker.publish([frameOf(environment)]));
  const [delivery] = received;
  expect(delivery).toMatchObject({ group: "payment", topic: "orders", sequence: 1, attempt: 1 });
  const inbox = [{ group: "payment", messageId: environment.newId() }];
  await turn(store.commit(rowUnit(0, { inbox }), received));
  const settled = journal.positions("payment").find(({ partition }) => partition === 0);
  expect(settled?.position).toBe(1);
  const again = await turn(store.commit(rowUnit(1, { inbox }), []));
  expect(again).toEqual({ kind: "duplicate", messageIds: inbox.map(({ messageId }) => messageId) });
});

test("acks, postponements and burials are answered by what they did", async () => {
  const { openClient, turn, environment, journal } = createServer();
  const { broker, received, subscribe } = openClient(2);
  const { subscription } = await subscribe();
  await turn(broker.publish([frameOf(environment), frameOf(environment), frameOf(environment)]));
  const [first, second, third] = received as [Delivery, Delivery, Delivery]; // published above
  expect(await turn(subscription.ack([first]))).toEqual(["settled"]);
  expect(await turn(subscription.ack([first]))).toEqual(["repeat"]);
  expect(await turn(subscription.ack([{ ...second, epoch: 1 }]))).toEqual(["stale"]);
  const postponement = { attempt: 2, notBeforeMs: environment.nowMs() + 500, error: "later" };
  expect(await turn(subscription.postpone(second, postponement))).toBe("settled");
  const burial = { reason: "poison", attempts: 3, firstError: "a", lastError: "b" };
  expect(await turn(subscription.bury(third, burial))).toBe("settled");
  const letters = await turn(broker.deadLetters("orders", 0, 10));
  expect(letters).toMatchObject([{ sequence: 3, burial: { reason: "poison", attempts: 3 } }]);
  const [position] = journal.positions("payment");
  expect(position).toMatchObject({ position: 1, settledAbove: [3] });
  expect(position?.postponed).toMatchObject([{ sequence: 2, attempt: 2 }]);
});

test("what a dead thread had in hand goes to its successor, one attempt older", async () => {
  const { openClient, turn, environment, server } = createServer();
  const first = openClient(2);
  await first.subscribe();
  await turn(first.broker.publish([frameOf(environment)]));
  expect(first.received).toHaveLength(1);
  server.threadGone(2);
  const second = openClient(3);
  await second.subscribe();
  await turn();
  expect(second.received.map(({ attempt }) => attempt)).toEqual([2]);
});

test("a paused subscription gets nothing until it resumes, a closed one nothing more", async () => {
  const { openClient, turn, environment } = createServer();
  const { broker, received, subscribe } = openClient(2);
  const { subscription } = await subscribe();
  subscription.pause();
  await turn(broker.publish([frameOf(environment)]));
  expect(received).toEqual([]);
  subscription.resume();
  await turn();
  expect(received).toHaveLength(1);
  await turn(subscription.close(false));
  await turn(broker.publish([frameOf(environment)]));
  expect(received).toHaveLength(1);
});

test("a lease that runs out takes the partition from its member", async () => {
  const { openClient, turn, environment } = createServer();
  const { broker, received, subscribe } = openClient(2);
  const revoked: number[] = [];
  await subscribe({ onRevoked: (_topic, partitions) => void revoked.push(...partitions) });
  await turn(broker.publish([frameOf(environment)]));
  await environment.advance(11_000);
  await turn();
  expect(revoked).toEqual([0]);
  expect(received.map(({ attempt }) => attempt)).toEqual([1, 2]);
});

test("a timer publishes its frame when it is due, once, unless it was cancelled", async () => {
  const { openClient, turn, environment } = createServer();
  const { store, received, subscribe } = openClient(2);
  await subscribe();
  const dueAtMs = environment.nowMs() + 1_000;
  const timer = (id: string) => ({ id, dueAtMs, outgoing: frameOf(environment) });
  const timersStarted = [timer("fires"), timer("cancelled")];
  await turn(store.commit({ ...EMPTY_UNIT, timersStarted }, []));
  await turn(store.commit({ ...EMPTY_UNIT, timersCancelled: ["cancelled"] }, []));
  await environment.advance(900);
  await turn();
  expect(received).toEqual([]);
  await environment.advance(200);
  await turn();
  expect(received).toHaveLength(1);
  await environment.advance(10_000);
  await turn();
  expect(received.filter(({ attempt }) => attempt === 1)).toHaveLength(1);
});

test("while the disk is full units are refused and timers wait, and both heal", async () => {
  const { openClient, turn, environment, events, fail } = createServer();
  const { store, received, subscribe } = openClient(2);
  await subscribe();
  const started = { id: "t", dueAtMs: environment.nowMs() + 500, outgoing: frameOf(environment) };
  await turn(store.commit({ ...EMPTY_UNIT, timersStarted: [started] }, []));
  fail("SQLITE_FULL");
  const refused = store.commit(rowUnit(0), []).catch((error: unknown) => error);
  await turn();
  expect(await refused).toMatchObject({ code: "STORAGE_FULL", retry: "later" });
  expect(events.some(({ kind }) => kind === "refused")).toBe(true);
  fail(undefined);
  expect(await turn(store.commit(rowUnit(0), []))).toEqual({ kind: "committed" });
  await environment.advance(2_000);
  await turn();
  expect(received).toHaveLength(1);
});

test("a group that comes back with other topics is refused by name", async () => {
  const { openClient, turn } = createServer();
  const { broker, subscribe } = openClient(2);
  await subscribe();
  const refused = broker.subscribe(OTHER_SUBSCRIPTION).catch((error: unknown) => error);
  expect(await turn(refused)).toMatchObject({ code: "BAD_CONFIGURATION" });
});

const OTHER_SUBSCRIPTION: SubscribeOptions = {
  group: "payment",
  topics: ["payments"],
  from: "earliest",
  creditFrames: 1,
  creditBytes: 1,
  leaseMs: 1_000,
  onDeliveries: () => undefined,
};

test("a commit that is beyond repair ends the journal, whoever happened to ask", async () => {
  const { openClient, journal } = createServer();
  const { store, broker } = openClient(2);
  spyOn(journal, "commit").mockImplementation(() => {
    throw new ShopError("STORAGE_FAULT", "gone", "never");
  });
  void store.commit(rowUnit(0), []);
  const asking = broker.subscribe(OTHER_SUBSCRIPTION).catch((error: unknown) => error);
  // Thrown in the journal's own stack, which here is the caller's; answered it would be a failure.
  expect(await asking).toBeInstanceOf(InvariantError);
  mock.restore();
});

test("how deep a group's queue is, is told again and again", async () => {
  const { openClient, turn, environment, events } = createServer();
  const { broker, subscribe } = openClient(2);
  await subscribe({ creditFrames: 1 });
  await turn(broker.publish([frameOf(environment), frameOf(environment)]));
  await environment.advance(300);
  expect(events.findLast(({ kind }) => kind === "depth")).toEqual({
    kind: "depth",
    group: "payment",
    inHand: 1,
    waiting: 1,
  });
});

test("after a close nothing is open: the directory can be opened again", async () => {
  const { openClient, turn, close } = createServer();
  const { store } = openClient(2);
  await turn(store.commit(rowUnit(0), []));
  close();
});
