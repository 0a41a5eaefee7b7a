/**
 * The router of a whole shard with a broker beside the local one: outages, refusals, frames from
 * outside, and a stop in the middle of it.
 *
 * The other broker is called kafka and is in memory; it fails when a test says so. The shop's own
 * orders must never depend on it.
 */

import { afterEach, describe, expect, test } from "bun:test";

import type { MemoryFaults } from "./brokers/memory-broker.ts";
import type { RouteRow } from "./routing/route-row.ts";
import type { RouterSettings } from "./shard-routing.ts";
import type { EventOf } from "./contracts/messages.ts";
import type { VirtualEnvironment } from "../runtime/virtual-environment.ts";

import { FLAG_JSON } from "../runtime/frames/frame-header.ts";
import { decodeFrame, encodeFrame } from "../runtime/frames/frame.ts";
import { slotOf } from "../runtime/frames/murmur2.ts";
import { MemoryBroker } from "./brokers/memory-broker.ts";
import { MemoryLog } from "./brokers/memory-log.ts";
import { decodeEvent, encodeEvent } from "./delivery/decode-message.ts";
import { startVirtualShop, VIRTUAL_SETTINGS, VIRTUAL_SLOTS } from "./testing/virtual-shop.ts";

const MINUTE_MS = 60_000;
const MIB = 1024 * 1024;
const KAFKA_SLOTS = 5;
const CIRCUIT_OPEN = 2;

const ROUTES: readonly RouteRow[] = [
  {
    name: "orders-copied",
    match: { from: ["embedded"], types: ["order.*"] },
    to: [
      { broker: "embedded", topic: "orders" },
      { broker: "kafka", topic: "orders" },
    ],
  },
  {
    name: "payments-stay",
    match: { from: ["embedded"], types: ["payment.*"] },
    to: [{ broker: "embedded", topic: "payments" }],
  },
];

const ABROAD: EventOf<"order.created"> = {
  type: "order.created",
  orderId: "abroad-1",
  customerId: "customer-abroad",
  items: [{ productId: "cup", quantity: 2, priceMinor: 1_000 }],
  totalMinor: 2_000,
  currency: "USD",
};

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** A broker beside the local one, with as many partitions as it likes. */
function openKafka(environment: VirtualEnvironment) {
  const faults: MemoryFaults = {
    diskFull: false,
    ioFault: false,
    confirmsLost: false,
    burialsRefused: false,
  };
  const log = new MemoryLog({
    topics: ["orders", "payments", "inbound"],
    partitions: VIRTUAL_SLOTS,
    logBytesMax: 64 * MIB,
    deadLetterBytesMax: MIB,
  });
  return { faults, log, broker: new MemoryBroker({ environment, log, faults }) };
}

async function openShop(router: Partial<RouterSettings> = {}) {
  let kafka: ReturnType<typeof openKafka> | undefined;
  const shop = await startVirtualShop({
    settings: { router: { ...VIRTUAL_SETTINGS.router, routes: ROUTES, ...router } },
    openForeign(environment) {
      kafka = openKafka(environment);
      const { broker, log } = kafka;
      return [{ name: "kafka", broker, topics: log.topics, ingressTopics: ["inbound"] }];
    },
  });
  if (kafka === undefined) throw new Error("the shop has opened no other broker");
  await shop.stock("cup", 10_000);
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopping ??= shop.stop());
  stops.push(stop);
  const { log } = kafka;
  return {
    ...shop,
    kafka,
    stop,
    gauge: (name: string) => shop.counted(name, { broker: "kafka" }),
    atKafka: () => framesIn(log, "orders"),
  };
}

type Shop = Awaited<ReturnType<typeof openShop>>;

function framesIn(log: MemoryLog, topic: string) {
  const partitions = Array.from({ length: log.partitions }, (_, partition) =>
    log.read(topic, partition, 0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  );
  return partitions.flat().map(({ bytes }) => decodeFrame(bytes));
}

/** What arrived of each key, in order; by key. */
function told(shop: Shop): Record<string, readonly string[]> {
  const byKey = Map.groupBy(shop.atKafka(), ({ key }) => key);
  return Object.fromEntries(
    [...byKey].map(([key, frames]) => [key, frames.map((frame) => decodeEvent(frame).type)]),
  );
}

const WHOLE_STORY = ["order.created", "order.ready_to_ship", "order.shipped", "order.delivered"];

function names(count: number): readonly string[] {
  return Array.from({ length: count }, (_, at) => `o-${at}`);
}

async function createAll(shop: Shop, orderIds: readonly string[]): Promise<void> {
  for (const id of orderIds) await shop.create(id, 1, 2_500, `customer-${id}`);
}

describe("while another broker is down", () => {
  test("orders complete, its frames wait, and all arrive once and in order", async () => {
    const shop = await openShop();
    shop.kafka.faults.ioFault = true;
    const orderIds = names(30);
    await createAll(shop, orderIds);
    await shop.environment.advance(2 * MINUTE_MS);
    for (const id of orderIds) {
      expect(await shop.order(id)).toMatchObject({ status: "delivered" });
    }
    expect(shop.atKafka()).toEqual([]);
    expect(shop.gauge("shopstream_egress_circuit")).toBe(CIRCUIT_OPEN);
    expect(shop.gauge("shopstream_outbox_depth")).toBe(120);
    expect(shop.gauge("shopstream_outbox_age_seconds")).toBeGreaterThan(60);
    expect(shop.changed.log).toContain("circuit of broker kafka is open");

    shop.kafka.faults.ioFault = false;
    await shop.environment.advance(MINUTE_MS);
    expect(told(shop)).toEqual(Object.fromEntries(orderIds.map((id) => [id, WHOLE_STORY])));
    expect(shop.gauge("shopstream_egress_circuit")).toBe(0);
    expect(shop.gauge("shopstream_outbox_depth")).toBe(0);
    expect(shop.changed.log).toContain("circuit of broker kafka is closed");
    expect(await shop.letters.extent({})).toEqual({ count: 0, lastId: 0 });
  });

  test("payments are no business of it, and what arrives is as the shop made it", async () => {
    const shop = await openShop();
    await createAll(shop, ["o-1"]);
    await shop.environment.advance(MINUTE_MS);
    expect(framesIn(shop.log, "payments")).toHaveLength(1);
    expect(told(shop)).toEqual({ "o-1": WHOLE_STORY });
    const here = framesIn(shop.log, "orders").map(({ id, headers }) => ({ id, headers }));
    expect(shop.atKafka().map(({ id, headers }) => ({ id, headers }))).toEqual(here);
  });

  test("a full outbox refuses new orders, not those under way, until it drains", async () => {
    const shop = await openShop({ outboxFramesMax: 20 });
    shop.kafka.faults.ioFault = true;
    await createAll(shop, names(6));
    await shop.environment.advance(MINUTE_MS);
    expect(shop.gauge("shopstream_outbox_depth")).toBe(24);
    const refused = shop.create("o-late").catch((error: unknown) => error);
    expect(await refused).toMatchObject({
      code: "SATURATED",
      message: "24 frames wait for broker kafka, at most 20",
    });
    const cancelled = await shop.command({ type: "order.cancel", orderId: "o-0" });
    expect(cancelled).toMatchObject({ kind: "refused", code: "not_cancellable" });
    shop.kafka.faults.ioFault = false;
    await shop.environment.advance(MINUTE_MS);
    expect(await shop.create("o-late")).toMatchObject({ kind: "order" });
  });

  test("more may wait than is in hand, and none of it is forgotten", async () => {
    const shop = await openShop({ outboxFramesMax: 100_000 });
    shop.kafka.faults.ioFault = true;
    // Four frames each: more than the credit of the egress.
    const orderIds = names(700);
    await createAll(shop, orderIds);
    await shop.environment.advance(MINUTE_MS);
    expect(shop.gauge("shopstream_outbox_depth")).toBe(2_800);
    shop.kafka.faults.ioFault = false;
    await shop.environment.advance(5 * MINUTE_MS);
    expect(told(shop)).toEqual(Object.fromEntries(orderIds.map((id) => [id, WHOLE_STORY])));
    expect(shop.gauge("shopstream_outbox_depth")).toBe(0);
  });

  test("a confirmation that is lost repeats frames under their ids and loses none", async () => {
    const shop = await openShop();
    shop.kafka.faults.confirmsLost = true;
    await createAll(shop, ["o-1", "o-2"]);
    await shop.environment.advance(MINUTE_MS);
    shop.kafka.faults.confirmsLost = false;
    await shop.environment.advance(MINUTE_MS);
    const ids = shop.atKafka().map(({ id }) => id);
    expect(ids.length).toBeGreaterThan(8);
    expect(new Set(ids).size).toBe(8);
    expect(shop.gauge("shopstream_outbox_depth")).toBe(0);
  });
});

describe("frames from another broker", () => {
  /** As a producer writes it that knows our contract and has partitions of its own. */
  async function produce(shop: Shop, frame: Uint8Array): Promise<void> {
    const publishing = shop.kafka.broker.publish([{ topic: "inbound", frame }]);
    await shop.environment.advance(MINUTE_MS);
    await publishing;
  }

  test("are put where their key belongs, and believed as far as strangers are", async () => {
    const shop = await openShop();
    const { environment } = shop;
    const { frame } = encodeEvent(ABROAD, { environment, slots: KAFKA_SLOTS });
    const { type: _, ...fields } = ABROAD;
    const payload = new TextEncoder().encode(JSON.stringify(fields));
    const json = encodeFrame({ ...decodeFrame(frame), payload, flags: FLAG_JSON });
    await produce(shop, json);
    const [taken, ...others] = framesIn(shop.log, "orders");
    expect(others).toEqual([]);
    expect(taken).toMatchObject({ key: "abroad-1", slot: slotOf("abroad-1", VIRTUAL_SLOTS) });
    expect(taken?.id).toBe(decodeFrame(frame).id);
    // Nobody took that order here: a stranger's word moves neither stock nor money.
    const letters = await shop.broker.deadLetters("orders", 0, 10);
    const refused = letters.map(({ group, burial }) => `${group}: ${burial.reason}`).toSorted();
    expect(refused).toContain("inventory: unknown_order");
    expect(refused).toContain("payment: unknown_order");
    expect(shop.rowOf("stock", "cup")).toMatchObject({ reserved: 0 });
    expect(shop.store.rows("payments")).toEqual([]);
    // Not ours: no route sends it back to where it came from.
    expect(shop.atKafka()).toEqual([]);
  });

  test("that no route matches are dead letters of that broker, with the reason", async () => {
    const shop = await openShop();
    const { environment } = shop;
    const { frame } = encodeEvent(ABROAD, { environment, slots: KAFKA_SLOTS });
    await produce(shop, encodeFrame({ ...decodeFrame(frame), type: 999 }));
    const letters = await shop.kafka.broker.deadLetters("inbound", 0, 10);
    expect(letters).toMatchObject([{ group: "ingress.kafka", burial: { reason: "unmatched" } }]);
    expect(framesIn(shop.log, "orders")).toEqual([]);
    const said = /^ingress\.kafka buried inbound\/\d\/1: unmatched/;
    expect(shop.changed.log).toEqual([expect.stringMatching(said)]);
  });

  test("wait at their broker while it cannot be told, and count once", async () => {
    const shop = await openShop();
    const { environment } = shop;
    const { frame } = encodeEvent(ABROAD, { environment, slots: KAFKA_SLOTS });
    const publishing = shop.kafka.broker.publish([{ topic: "inbound", frame }]);
    shop.kafka.faults.ioFault = true;
    await publishing.catch(() => undefined);
    shop.kafka.faults.ioFault = false;
    await produce(shop, frame);
    expect(shop.rowOf("stock", "cup")).toMatchObject({ reserved: 2 });
    expect(shop.changed.answers.filter(({ call }) => call === "capture")).toHaveLength(1);
  });
});

test("what the router gives up on is counted by group, as is what a service does", async () => {
  const shop = await openShop();
  const { environment } = shop;
  const buried = (service: string, topic: string) =>
    shop.counted("shopstream_messages_processed_total", { service, topic, status: "dead" });
  // No route takes the one, and nothing says where the other was to go.
  for (const topic of ["outbox.unmatched", "outbox.kafka"]) {
    const { frame } = encodeEvent(ABROAD, { environment, slots: VIRTUAL_SLOTS });
    const strange = encodeFrame({ ...decodeFrame(frame), type: 999 });
    const publishing = shop.broker.publish([{ topic, frame: strange }]);
    await environment.advance(MINUTE_MS);
    await publishing;
  }
  expect((await shop.letters.extent({})).count).toBe(2);
  expect(buried("unmatched", "outbox.unmatched")).toBe(1);
  expect(buried("egress.kafka", "outbox.kafka")).toBe(1);
  expect(buried("order", "payments")).toBe(0);
});

describe("a shard that stops", () => {
  test("has sent what its services put into the outbox as they ended", async () => {
    const also = { broker: "kafka", topic: "payments" };
    const copied = { name: "payments-copied", match: { types: ["payment.*"] }, to: [also] };
    const shop = await openShop({ routes: [{ ...copied, also: true }] });
    await createAll(shop, names(20));
    // The provider is being asked, and answers while the services drain.
    expect(framesIn(shop.log, "payments")).toEqual([]);
    await shop.stop();
    const paid = framesIn(shop.log, "payments").map(({ id }) => id);
    expect(paid).toHaveLength(20);
    const arrived = framesIn(shop.kafka.log, "payments").map(({ id }) => id);
    expect(arrived.toSorted()).toEqual(paid.toSorted());
  });

  test("has taken a frame from outside in and said so, or done neither", async () => {
    const shop = await openShop();
    const { environment, kafka } = shop;
    const frames = names(600).map((orderId) => ({
      topic: "inbound",
      frame: encodeEvent({ ...ABROAD, orderId }, { environment, slots: KAFKA_SLOTS }).frame,
    }));
    const publishing = kafka.broker.publish(frames);
    await shop.stop();
    await publishing;
    const settled = Array.from({ length: VIRTUAL_SLOTS }, (_, partition) =>
      kafka.log.stored("ingress.kafka", "inbound", partition),
    ).reduce((sum, { position, settledAbove }) => sum + position + settledAbove.length, 0);
    expect(framesIn(shop.log, "orders")).toHaveLength(settled);
    expect(await kafka.broker.deadLetters("inbound", 0, 10)).toEqual([]);
  });

  test("beside a broker that is down ends in time, and its frames stay in the outbox", async () => {
    const shop = await openShop();
    shop.kafka.faults.ioFault = true;
    await createAll(shop, names(20));
    await shop.environment.advance(1_000);
    const startMs = shop.environment.monotonicMs();
    await shop.stop();
    expect(shop.environment.monotonicMs() - startMs).toBeLessThanOrEqual(10_000);
    expect(shop.atKafka()).toEqual([]);
    const waiting = framesIn(shop.log, "outbox.kafka");
    const decided = framesIn(shop.log, "orders").map(({ id }) => id);
    expect(waiting.map(({ id }) => id).toSorted()).toEqual(decided.toSorted());
    expect(shop.environment.pendingTimers()).toBe(timersOfTheLogs(shop));
  });
});

/** Durable timers of the store, which outlive the services. */
function timersOfTheLogs({ store }: Shop): number {
  return store.timerIds().length;
}

test("a route to a broker that nobody opened does not start a shard", async () => {
  const starting = startVirtualShop({
    settings: { router: { ...VIRTUAL_SETTINGS.router, routes: ROUTES } },
  });
  const error = await starting.catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "BAD_CONFIGURATION" });
});
