/**
 * All four services together, two shards of each, over one store in memory: orders run to their
 * end while providers fail, commits fail or lose their answers, and messages come twice.
 *
 * The books are compared at the end: orders, payments, the provider's own, shipments and stock.
 */

import { expect, test } from "bun:test";

import type { Outgoing } from "../brokers/broker.ts";
import type { ShopEvent } from "../contracts/messages.ts";
import type { Message, Outcome } from "../delivery/outcome.ts";
import type { Group } from "../contracts/topics.ts";

import { createActorSystem } from "../../runtime/actors/actor-system.ts";
import { ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { GROUPS } from "../contracts/topics.ts";
import { createInventoryService } from "../inventory/inventory-actor.ts";
import { createPaymentService, decodePayment } from "../payment/payment-actor.ts";
import { createSimulatedProvider, SIMULATED_PROVIDER } from "../payment/simulated-provider.ts";
import { createShippingService, decodeShipment } from "../shipping/shipping-actor.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { causeFor, createCommand, messageOf, SLOTS, stockOf } from "./delivered.suite.ts";
import { createOrderService } from "./order-service.ts";
import { decodeOrder } from "./order-unit.ts";

interface Trouble {
  readonly seed: number;
  readonly declineRate: number;
  readonly failureRate: number;
  /** Share of commits that fail, half of them after they took effect. */
  readonly faultRate: number;
  /** Share of messages that are delivered again after they were settled. */
  readonly repeatRate: number;
}

const CALM: Trouble = { seed: 1, declineRate: 0, failureRate: 0, faultRate: 0, repeatRate: 0 };
const SHARDS = 2;
const ATTEMPTS_MAX = 200;

type Service = Exclude<Group, "notification">;
type Handle = (message: Message<ShopEvent>) => Promise<Outcome>;

function openShop(trouble: Trouble) {
  const environment = createVirtualEnvironment(trouble.seed);
  const { signal } = new AbortController();
  const lanes = new Map<string, Promise<void>>();
  const buried: string[] = [];
  const store = createMemoryStore({ environment, onOutgoing: publish, onStep: stumble });
  const provider = createSimulatedProvider(environment, {
    ...SIMULATED_PROVIDER,
    declineRate: trouble.declineRate,
    failureRate: trouble.failureRate,
    seed: trouble.seed,
  });
  const shards = Array.from({ length: SHARDS }, (_, shard) => openShard(shard));

  function openShard(shard: number) {
    const onFailure = (failure: unknown) => expect(failure).toBeUndefined();
    const system = createActorSystem(environment, { name: `shard-${shard}`, onFailure });
    const shared = { store, environment, slots: SLOTS };
    const orders = createOrderService({ store, system, slots: SLOTS });
    const gateways = { standard: provider, premium: provider };
    const payments = createPaymentService({ ...shared, gateways });
    const inventory = createInventoryService(shared);
    const shipping = createShippingService(shared);
    const handlers: Record<Service, Handle> = {
      order: orders.handle,
      payment: (message) => payments.handle(message, signal),
      inventory: async (message) => (await inventory.handle([message]))[0] ?? { kind: "ack" },
      shipping: shipping.handle,
    };
    return { orders, inventory, handlers };
  }

  function stumble(step: string): void {
    const half = trouble.faultRate / 2;
    if (step === "before_commit" && environment.random() < half) {
      throw new ShopError("STORAGE_FAULT", "broken", "later");
    }
    if (step === "after_commit" && environment.random() < half) {
      throw new ShopError("INDETERMINATE", "no answer", "later");
    }
  }

  function publish(outgoing: Outgoing): void {
    for (const group of ["order", "payment", "inventory", "shipping"] as const) {
      if (GROUPS[group].some((topic) => topic === outgoing.topic)) enqueue(group, outgoing);
    }
  }

  function enqueue(group: Service, outgoing: Outgoing): void {
    const { frame } = messageOf(outgoing, group);
    const lane = `${group}/${frame.key}`;
    const handle = shards[frame.slot % SHARDS]?.handlers[group];
    if (handle === undefined) throw new Error("no such shard");
    const before = lanes.get(lane) ?? Promise.resolve();
    lanes.set(
      lane,
      before.then(() => deliver(handle, outgoing, group)),
    );
  }

  async function deliver(handle: Handle, outgoing: Outgoing, group: Group): Promise<void> {
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      await pause(environment.random() * Math.min(5_000, 2 ** attempt));
      const outcome = await handle(messageOf(outgoing, group, attempt)).catch(
        (error: unknown): Outcome => ({ kind: "retry", error }),
      );
      if (outcome.kind === "bury") buried.push(`${group}: ${outcome.reason}`);
      const isDone = outcome.kind !== "retry" && environment.random() >= trouble.repeatRate;
      if (isDone) return;
    }
    buried.push(`${group}: poison`);
  }

  function pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => void environment.startTimer(delayMs, resolve));
  }

  /** Sends a command until it is answered, as a client with a key does. */
  async function send(orderId: string, type: "order.create" | "order.cancel", quantity = 1) {
    const items = [{ productId: "tea", quantity, priceMinor: 60_000 }];
    const totalMinor = quantity * 60_000;
    const command =
      type === "order.create"
        ? createCommand(orderId, { items, totalMinor })
        : ({ type, orderId } as const);
    const slot = Number(orderId.slice(1)) % SHARDS;
    for (let tries = 0; tries < ATTEMPTS_MAX; tries++) {
      const origin = { cause: causeFor(environment), deadlineMs: 0 };
      const reply = await shards[slot]?.orders.command(command, origin);
      if (reply?.kind === "order") return reply.order;
      if (reply?.kind === "refused" && reply.code !== "storage_unavailable") return reply;
    }
    throw new Error(`${type} of ${orderId} was never answered`);
  }

  async function stockUp(available: number): Promise<void> {
    const command = { type: "inventory.set", productId: "tea", available } as const;
    const origin = { cause: causeFor(environment), deadlineMs: 0 };
    for (let tries = 0; tries < ATTEMPTS_MAX; tries++) {
      const reply = await shards[0]?.inventory.command(command, origin);
      if (reply?.kind === "stock") return;
    }
    throw new Error("no stock");
  }

  return { environment, store, provider, buried, send, stockUp };
}

test("an order is shipped within a second and delivered five seconds later", async () => {
  const shop = openShop(CALM);
  await shop.stockUp(3);
  const placed = shop.send("o1", "order.create", 2);
  await shop.environment.advance(1_000);
  expect(await placed).toMatchObject({ status: "pending", totalMinor: 120_000 });
  const [row] = shop.store.rows("orders");
  expect(row && decodeOrder(row.data)).toMatchObject({ status: "shipped", version: 5 });
  await shop.environment.advance(5_500);
  const types = (await shop.store.timeline("o1", 0)).map((entry) => entry.type);
  expect(types.toSorted()).toEqual([
    "inventory.reserved",
    "order.created",
    "order.delivered",
    "order.ready_to_ship",
    "order.shipped",
    "payment.processed",
  ]);
  expect(stockOf(shop.store, "tea")).toEqual([1, 0, 2]);
  expect(shop.provider.effectOf("o1:capture")).toBe("captured");
  expect(shop.store.timerIds()).toEqual([]);
  expect(shop.buried).toEqual([]);
});

for (const seed of [1, 2, 3]) {
  test(`in trouble every book balances, seed ${seed}`, async () => {
    const trouble = { seed, declineRate: 0.1, failureRate: 0.3, faultRate: 0.1, repeatRate: 0.1 };
    const shop = openShop(trouble);
    const ids = Array.from({ length: 120 }, (_, at) => `o${at}`);
    const available = 150;
    const stocked = shop.stockUp(available);
    await shop.environment.advance(1_000);
    await stocked;
    const sent = ids.map((id, at) => shop.send(id, "order.create", 1 + (at % 3)));
    await shop.environment.advance(150);
    const cancels = ids.filter((_, at) => at % 5 === 0).map((id) => shop.send(id, "order.cancel"));
    await shop.environment.advance(2_000_000);
    await Promise.all([...sent, ...cancels]);
    expect(shop.buried).toEqual([]);
    expect(shop.store.timerIds()).toEqual([]);
    await balance(shop, ids, available);
  });
}

async function balance(
  shop: ReturnType<typeof openShop>,
  ids: readonly string[],
  available: number,
): Promise<void> {
  const { store, provider } = shop;
  const orders = store.rows("orders").map((row) => decodeOrder(row.data));
  expect(orders.map((order) => order.id).toSorted()).toEqual(ids.toSorted());
  let units = 0;
  const ends = new Set<string>();
  for (const order of orders) {
    const timeline = await store.timeline(order.id, 0);
    expect(timeline.map((entry) => entry.version)).toEqual(timeline.map((_, at) => at + 1));
    expect(order.version).toBe(timeline.length);
    const [payment] = await store.load("payments", [order.id]);
    const status = payment && decodePayment(payment.data).status;
    const effect = provider.effectOf(`${order.id}:capture`);
    const [row] = await store.load("shipments", [order.id]);
    const shipment = row && decodeShipment(row.data).status;
    ends.add(`${order.status} ${order.cancelReason ?? ""}`.trim());
    if (order.status === "delivered") {
      units += order.items.reduce((sum, item) => sum + item.quantity, 0);
      expect([status, effect, shipment]).toEqual(["completed", "captured", "delivered"]);
    } else {
      expect(order.status).toBe("cancelled");
      expect(status).toBeOneOf(["refunded", "voided", "declined"]);
      expect(effect).toBeOneOf(["refunded", "voided", undefined]);
      expect(shipment).toBeOneOf(["cancelled", undefined]);
    }
  }
  expect(stockOf(store, "tea")).toEqual([available - units, 0, units]);
  for (const end of ["delivered", "cancelled out_of_stock", "cancelled requested"]) {
    expect(ends).toContain(end);
  }
}
