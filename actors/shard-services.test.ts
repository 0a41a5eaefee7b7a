/**
 * All services of a shard on the memory ports and a virtual clock: the story of an order as the
 * services tell it to each other, in no time.
 */

import { afterEach, expect, spyOn, test } from "bun:test";

import type { Group } from "./contracts/topics.ts";
import type { ShardSettings } from "./shard-services.ts";
import type { StoreStep } from "./stores/memory-store.ts";
import type { VirtualShop } from "./testing/virtual-shop.ts";

import { ShopError } from "../runtime/errors.ts";
import { MemoryBroker } from "./brokers/memory-broker.ts";
import { decodePayment } from "./payment/payment-actor.ts";
import { startVirtualShop, VIRTUAL_SETTINGS } from "./testing/virtual-shop.ts";

const MINUTE_MS = 60_000;

const shops: VirtualShop[] = [];
afterEach(async () => {
  for (const shop of shops.splice(0)) await shop.stop();
});

async function createShard(
  payment: Partial<ShardSettings["payment"]> = {},
  roles: readonly Group[] = VIRTUAL_SETTINGS.roles,
  onStoreStep: (step: StoreStep) => void = () => undefined,
): Promise<VirtualShop> {
  const shop = await startVirtualShop({ payment, settings: { roles }, onStoreStep });
  shops.push(shop);
  return shop;
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
  await shard.environment.advance(15 * MINUTE_MS);
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
    "notification",
    "payment",
    "shipping",
  ]);
  expect(shard.changed.log).toHaveLength(4);
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
  const shard = await createShard({}, VIRTUAL_SETTINGS.roles, (step) => {
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

test("a refund is asked for as long as it takes, and never becomes a dead letter", async () => {
  const shard = await createShard({ failureRate: 0.9995, seed: 3 });
  await shard.stock("cup", 5);
  await shard.create("o-1");
  const status = async (): Promise<unknown> => {
    const [row] = await shard.store.load("payments", ["o-1"]);
    return row === undefined ? undefined : decodePayment(row.data).status;
  };
  let hours = 0;
  while ((await status()) !== "voided" && hours++ < 480) {
    await shard.environment.advance(60 * MINUTE_MS);
  }
  expect(await status()).toBe("voided");
  expect(await shard.broker.deadLetters("orders", 0, 10)).toEqual([]);
  const retried = { service: "payment", topic: "orders", status: "retry" };
  // More than a message may take that ends its thread every time.
  expect(shard.counted("shopstream_messages_processed_total", retried)).toBeGreaterThan(200);
});

test("a payment that meets a bug is given up as soon as any other message", async () => {
  const shop = await startVirtualShop({
    around: (group, next) => {
      if (group !== "payment" || next.kind === "batch") return next;
      return { ...next, handle: () => Promise.reject(new Error("a bug")) };
    },
  });
  shops.push(shop);
  await shop.stock("cup", 5);
  await shop.create("o-1");
  await shop.environment.advance(5 * MINUTE_MS);
  expect(await shop.broker.deadLetters("orders", 0, 10)).toMatchObject([
    { group: "payment", burial: { reason: "poison", attempts: 12 } },
  ]);
});

test("a provider that takes as long as it may is waited for, and asked once", async () => {
  const slow = { latency: { kind: "fixed", medianMs: 45_000, sigma: 0 } } as const;
  const shard = await createShard({ ...slow, timeoutMs: 50_000 });
  await shard.stock("cup", 5);
  await shard.create("o-1");
  await shard.environment.advance(5 * MINUTE_MS);
  expect(await shard.order("o-1")).toMatchObject({ paymentStatus: "completed" });
  expect(shard.changed.answers).toHaveLength(1);
});

test("channels hear that orders of another shard are this one's now to tell of", async () => {
  using subscribing = spyOn(MemoryBroker.prototype, "subscribe");
  const shard = await createShard();
  const asked = subscribing.mock.calls.map(([options]) => options);
  for (const { group, topics, onAssigned } of asked) {
    if (group !== "notification") await onAssigned?.(topics[0] ?? "", [0]);
  }
  expect(shard.changed.takenOver).toEqual([]);
  await asked.find(({ group }) => group === "notification")?.onAssigned?.("orders", [0]);
  expect(shard.changed.takenOver).toEqual(["email"]);
});
