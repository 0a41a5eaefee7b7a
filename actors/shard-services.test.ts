/**
 * All services of a shard on the memory ports and a virtual clock: the story of an order as the
 * services tell it to each other, in no time.
 */

import { afterEach, expect, test } from "bun:test";

import type { ShopCommand } from "./contracts/messages.ts";
import type { CommandReply, OrderState } from "./contracts/order-state.ts";
import type { Group } from "./contracts/topics.ts";
import type { ShardServices, ShardSettings } from "./shard-services.ts";
import type { StoreStep } from "./stores/memory-store.ts";

import { ShopError } from "../runtime/errors.ts";
import { decodeFrame } from "../runtime/frames/frame.ts";
import { slotOf } from "../runtime/frames/murmur2.ts";
import {
  CounterWriter,
  createCounterPage,
  readCounterPage,
} from "../runtime/threads/counter-page.ts";
import { createVirtualEnvironment } from "../runtime/virtual-environment.ts";
import { MemoryBroker } from "./brokers/memory-broker.ts";
import { MemoryLog } from "./brokers/memory-log.ts";
import { encodeCommand, keyOfCommand } from "./command-frames.ts";
import { decodeValue } from "./contracts/codec.ts";
import { TOPICS } from "./contracts/topics.ts";
import { startShardServices } from "./shard-services.ts";
import { shardMetrics, SHOP_LAYOUT } from "./shop-metrics.ts";
import { createMemoryStore } from "./stores/memory-store.ts";

const SLOTS = 8;
const MIB = 1024 * 1024;
const MINUTE_MS = 60_000;

const SETTINGS: ShardSettings = {
  slots: SLOTS,
  roles: ["order", "payment", "inventory", "shipping"],
  residentMax: 1_000,
  mailboxMax: 100,
  payment: {
    provider: "simulated",
    url: "",
    timeoutMs: 5_000,
    captureAttemptsMax: 3,
    latency: { kind: "lognormal", medianMs: 120, sigma: 0.3 },
    declineRate: 0,
    failureRate: 0,
    seed: 1,
  },
  reservationTtlMs: 30 * MINUTE_MS,
  shipping: { packMs: 200, deliveryMs: 5_000 },
};

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function createShard(
  payment: Partial<ShardSettings["payment"]> = {},
  roles: readonly Group[] = SETTINGS.roles,
  onStoreStep: (step: StoreStep) => void = () => undefined,
) {
  const environment = createVirtualEnvironment();
  const log = new MemoryLog({
    topics: TOPICS,
    partitions: SLOTS,
    logBytesMax: 64 * MIB,
    deadLetterBytesMax: MIB,
  });
  const broker = new MemoryBroker({ environment, log });
  const store = createMemoryStore({
    environment,
    onOutgoing: (outgoing) => void broker.publish([outgoing]),
    onAcknowledged: (deliveries) => broker.acknowledge(deliveries),
    onStep: onStoreStep,
  });
  const page = createCounterPage(SHOP_LAYOUT, 1);
  const changed = { orders: [] as string[], products: [] as string[], log: [] as string[] };
  const starting = startShardServices({
    environment,
    broker,
    store,
    settings: { ...SETTINGS, roles, payment: { ...SETTINGS.payment, ...payment } },
    partitions: Array.from({ length: SLOTS }, (_, slot) => slot),
    metrics: shardMetrics(new CounterWriter(page, SHOP_LAYOUT, 0)),
    onOrderChanged: (orderId) => changed.orders.push(orderId),
    onStockChanged: (productId) => changed.products.push(productId),
    onDamage: (detail) => changed.log.push(detail),
    onLog: (_level, text) => changed.log.push(text),
    onFailure(error) {
      throw error;
    },
  });
  await environment.settle();
  const services: ShardServices = await starting;
  closers.push(async () => {
    const drained = services.drain(1_000);
    await environment.advance(10_000);
    await drained;
  });

  async function command(one: ShopCommand): Promise<CommandReply> {
    const frame = encodeCommand(one, {
      id: environment.newId(),
      slot: slotOf(keyOfCommand(one), SLOTS),
      timeMs: environment.nowMs(),
      deadlineMs: environment.nowMs() + MINUTE_MS,
      correlationId: "story",
    });
    const reply = services.command(decodeFrame(frame));
    await environment.settle();
    return await reply;
  }

  async function order(orderId: string): Promise<OrderState> {
    const [row] = await store.load("orders", [orderId]);
    return decodeValue(row?.data ?? new Uint8Array()) as OrderState; // written by the order actor
  }

  const stock = (productId: string, available: number): Promise<CommandReply> =>
    command({ type: "inventory.set", productId, available, expectedVersion: 0 });

  const create = (orderId: string, quantity = 1, priceMinor = 2_500): Promise<CommandReply> =>
    command({
      type: "order.create",
      orderId,
      customerId: "ada",
      items: [{ productId: "cup", quantity, priceMinor }],
      totalMinor: quantity * priceMinor,
      currency: "USD",
    });

  function counted(name: string, labels: Record<string, string>): number {
    const found = readCounterPage(page, SHOP_LAYOUT).find(
      (sample) => sample.name === name && Bun.deepEquals(sample.labels, labels),
    );
    return found === undefined || found.kind === "histogram" ? Number.NaN : found.value;
  }

  const timeline = async (orderId: string): Promise<readonly string[]> =>
    (await store.timeline(orderId, 0)).map(({ type }) => type);

  return { environment, broker, store, changed, command, order, stock, create, counted, timeline };
}

test("an order is paid, reserved, shipped and delivered, each step in its timeline", async () => {
  const shard = await createShard();
  await shard.stock("cup", 10);
  expect(await shard.create("o-1", 3)).toMatchObject({ kind: "order", replayed: false });
  await shard.environment.advance(10_000);
  expect(await shard.order("o-1")).toMatchObject({
    status: "delivered",
    paymentStatus: "completed",
    inventoryStatus: "reserved",
    version: 6,
  });
  expect(await shard.timeline("o-1")).toEqual([
    "order.created",
    "inventory.reserved",
    "payment.processed",
    "order.ready_to_ship",
    "order.shipped",
    "order.delivered",
  ]);
  expect(shard.changed.orders).toHaveLength(5);
  expect(shard.changed.products).toContain("cup");
});

test("metrics count orders by status, revenue in major units, attempts by service", async () => {
  const shard = await createShard();
  await shard.stock("cup", 10);
  await shard.create("o-1", 1, 1_999);
  await shard.environment.advance(10_000);
  expect(shard.counted("shopstream_orders_total", { status: "delivered" })).toBe(1);
  expect(shard.counted("shopstream_revenue_total", { currency: "USD" })).toBeCloseTo(19.99);
  const paid = { service: "payment", topic: "orders", status: "ok" };
  expect(shard.counted("shopstream_messages_processed_total", paid)).toBeGreaterThan(0);
  expect(shard.counted("shopstream_entities_resident", {})).toBe(1);
});

test("what is not in stock cancels the order, and the payment is given back", async () => {
  const shard = await createShard();
  await shard.stock("cup", 1);
  await shard.create("o-1", 2);
  await shard.environment.advance(10_000);
  expect(await shard.order("o-1")).toMatchObject({
    status: "cancelled",
    cancelReason: "out_of_stock",
    paymentStatus: "refunded",
    inventoryStatus: "failed",
  });
});

test("a declined payment cancels the order and releases its stock", async () => {
  const shard = await createShard({ declineRate: 1 });
  await shard.stock("cup", 5);
  await shard.create("o-1", 2);
  await shard.environment.advance(10_000);
  expect(await shard.order("o-1")).toMatchObject({
    status: "cancelled",
    cancelReason: "payment_failed",
    paymentStatus: "failed",
    inventoryStatus: "released",
  });
  const set = await shard.command({
    type: "inventory.set",
    productId: "cup",
    available: 5,
    expectedVersion: 99,
  });
  expect(set).toMatchObject({ kind: "refused", code: "version_conflict" });
});

test("a silent provider opens its circuit, and the order is cancelled in the end", async () => {
  const shard = await createShard({ failureRate: 1 });
  await shard.stock("cup", 50);
  for (let index = 0; index < 6; index++) await shard.create(`o-${index}`);
  await shard.environment.advance(5 * MINUTE_MS);
  expect(await shard.order("o-0")).toMatchObject({ status: "cancelled", paymentStatus: "failed" });
  const opened = { gateway: "standard", state: "open" };
  expect(shard.counted("shopstream_circuit_changes_total", opened)).toBeGreaterThan(0);
  expect(shard.changed.log.join("\n")).toContain("circuit of gateway standard is open");
});

test("a reservation lapses after thirty minutes unless the order was paid", async () => {
  const slow = { latency: { kind: "fixed", medianMs: 45 * MINUTE_MS, sigma: 0 } } as const;
  const shard = await createShard({ ...slow, timeoutMs: 60 * MINUTE_MS });
  await shard.stock("cup", 5);
  await shard.create("o-1");
  await shard.environment.advance(29 * MINUTE_MS);
  expect(await shard.order("o-1")).toMatchObject({ status: "pending" });
  await shard.environment.advance(2 * MINUTE_MS);
  expect(await shard.order("o-1")).toMatchObject({
    status: "cancelled",
    cancelReason: "reservation_expired",
  });
});

test("frames that are no events of ours are buried, and said to be", async () => {
  const shard = await createShard();
  const publishing = shard.broker.publish([{ topic: "orders", frame: new Uint8Array(100) }]);
  await shard.environment.advance(1_000);
  await publishing;
  const letters = await shard.broker.deadLetters("orders", 0, 10);
  expect(letters.map(({ group }) => group).toSorted()).toEqual([
    "inventory",
    "payment",
    "shipping",
  ]);
  expect(shard.changed.log).toHaveLength(3);
});

test("a shard runs only the services of its roles", async () => {
  const shard = await createShard({}, ["order", "inventory"]);
  await shard.stock("cup", 5);
  await shard.create("o-1");
  await shard.environment.advance(MINUTE_MS);
  expect(await shard.order("o-1")).toMatchObject({
    status: "pending",
    paymentStatus: "pending",
    inventoryStatus: "reserved",
  });
});

test("rows that cannot be read are reported, and work goes on once they can", async () => {
  let isDamaged = false;
  const shard = await createShard({}, SETTINGS.roles, (step) => {
    if (isDamaged && step === "before_load") {
      throw new ShopError("DATA_DAMAGED", "row cup of stock fails its checksum", "never");
    }
  });
  await shard.stock("cup", 5);
  isDamaged = true;
  await shard.create("o-1");
  await shard.environment.advance(MINUTE_MS);
  expect(shard.changed.log).toContain("row cup of stock fails its checksum");
  expect(await shard.broker.deadLetters("orders", 0, 10)).toEqual([]);
  isDamaged = false;
  await shard.environment.advance(MINUTE_MS);
  expect(await shard.order("o-1")).toMatchObject({ status: "delivered" });
});
