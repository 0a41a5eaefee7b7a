/**
 * The inventory service over a store in memory: batches, races between shards, and commands.
 */

import { beforeEach, describe, expect, test } from "bun:test";

import type { Outgoing } from "../brokers/broker.ts";
import type { CommandOf, EventOf, ShopEvent } from "../contracts/messages.ts";
import type { StockState } from "../contracts/order-state.ts";
import type { StoreStep } from "../stores/memory-store.ts";
import type { Line } from "./stock.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { causeFor, delivered, eventsOf, SLOTS, stockOf } from "../order/delivered.suite.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { createInventoryService, INVENTORY_SETTINGS } from "./inventory-actor.ts";

function orderOf(orderId: string, ...lines: readonly Line[]): EventOf<"order.created"> {
  const items = (lines.length === 0 ? [{ productId: "tea", quantity: 1 }] : lines).map((line) => ({
    ...line,
    priceMinor: 100,
  }));
  const terms = { customerId: "ada", totalMinor: 100, currency: "USD" };
  return { type: "order.created", orderId, items, ...terms };
}
const cancelled = (orderId: string) =>
  ({ type: "order.cancelled", orderId, reason: "requested" }) as const;
const shipped = (orderId: string) =>
  ({ type: "order.shipped", orderId, trackingNumber: "SS1", carrier: "c" }) as const;

function setUp(options: { readonly jitterMs?: number } = {}) {
  const environment = createVirtualEnvironment();
  const outgoing: Outgoing[] = [];
  const changed: StockState[] = [];
  const faults = new Map<StoreStep, ShopError[]>();
  const counts = { commits: 0, acknowledged: 0 };
  const store = createMemoryStore({
    environment,
    onOutgoing: (each) => void outgoing.push(each),
    onAcknowledged: (refs) => void (counts.acknowledged += refs.length),
    onStep: async (step) => {
      if (step === "before_commit") counts.commits++;
      const fault = faults.get(step)?.shift();
      if (fault !== undefined) throw fault;
      if (options.jitterMs !== undefined) await pause(environment.random() * options.jitterMs);
    },
  });
  const pause = (delayMs: number) =>
    new Promise<void>((resolve) => void environment.startTimer(delayMs, resolve));
  const shard = (decisionsMax = INVENTORY_SETTINGS.decisionsMax) =>
    createInventoryService({
      store,
      environment,
      slots: SLOTS,
      settings: { ...INVENTORY_SETTINGS, decisionsMax },
      onStockChanged: (stock) => void changed.push(...stock),
    });
  const service = shard();
  const messagesOf = (events: readonly ShopEvent[]) =>
    events.map((event) => delivered(event, "inventory", environment));
  const tell = async (...events: readonly ShopEvent[]) => await service.handle(messagesOf(events));
  const set = (available: number, expectedVersion?: number, productId = "tea") => {
    const base = { type: "inventory.set", productId, available } as const;
    const command = expectedVersion === undefined ? base : { ...base, expectedVersion };
    return service.command(command, { cause: causeFor(environment), deadlineMs: 0 });
  };
  return {
    environment,
    outgoing,
    changed,
    faults,
    counts,
    store,
    shard,
    service,
    messagesOf,
    tell,
    set,
    stock: (productId = "tea") => stockOf(store, productId),
    events: () => eventsOf(outgoing),
  };
}

let shop: ReturnType<typeof setUp>;
beforeEach(() => {
  shop = setUp();
});

describe("a batch", () => {
  test("is one commit, whatever the number of orders", async () => {
    await shop.set(10);
    shop.counts.commits = 0;
    const orders = Array.from({ length: 8 }, (_, at) => orderOf(`o${at}`));
    const outcomes = await shop.tell(...orders);
    expect(outcomes).toEqual(orders.map(() => ({ kind: "settled" })));
    expect(shop.counts).toEqual({ commits: 1, acknowledged: 8 });
    expect(shop.stock()).toEqual([2, 8, 0]);
  });

  test("promises what is there and names what is not", async () => {
    await shop.set(1);
    await shop.tell(orderOf("o1"), orderOf("o2"));
    expect(shop.events()).toEqual([
      {
        type: "inventory.reserved",
        orderId: "o1",
        status: "reserved",
        expiresAtMs: shop.environment.nowMs() + 30 * 60_000,
      },
      {
        type: "inventory.reserved",
        orderId: "o2",
        status: "failed",
        failedItems: [{ productId: "tea", requested: 1, available: 0 }],
      },
    ]);
  });

  test("of cancellations and shipments moves what was held", async () => {
    await shop.set(5);
    await shop.tell(orderOf("o1"), orderOf("o2"), orderOf("o3"));
    await shop.tell(cancelled("o1"), shipped("o2"));
    expect(shop.stock()).toEqual([3, 1, 1]);
    expect(shop.events().at(-1)).toEqual({
      type: "inventory.released",
      orderId: "o1",
      items: [{ productId: "tea", quantity: 1 }],
    });
  });

  test("reports every stock that it changed", async () => {
    await shop.set(5);
    await shop.set(5, undefined, "cup");
    shop.changed.length = 0;
    await shop.tell(orderOf("o1"));
    expect(shop.changed).toEqual([
      { productId: "tea", available: 4, reserved: 1, shipped: 0, version: 2 },
    ]);
  });

  test("that comes again changes nothing", async () => {
    await shop.set(5);
    const messages = shop.messagesOf([orderOf("o1"), orderOf("o2")]);
    await shop.service.handle(messages);
    for (const { frame } of messages) expect(shop.store.hasMark("inventory", frame.id)).toBe(true);
    expect(await shop.service.handle(messages)).toEqual([{ kind: "ack" }, { kind: "ack" }]);
    expect(await shop.shard().handle(messages)).toEqual([{ kind: "ack" }, { kind: "ack" }]);
    expect(shop.stock()).toEqual([3, 2, 0]);
    expect(shop.events()).toHaveLength(2);
  });

  test("with some messages that were handled elsewhere goes on with the others", async () => {
    const racing = setUp({ jitterMs: 0 });
    const set = racing.set(5);
    await racing.environment.advance(10);
    await set;
    const [first, second] = racing.messagesOf([orderOf("o1"), orderOf("o2")]);
    if (first === undefined || second === undefined) throw new Error("no messages");
    // Both read before either commits, so the second meets the first one's mark.
    const both = Promise.all([
      racing.shard().handle([first]),
      racing.shard().handle([first, second]),
    ]);
    await racing.environment.advance(1_000);
    const kinds = (await both).flat().map((outcome) => outcome.kind);
    expect(kinds.filter((kind) => kind === "settled")).toHaveLength(2);
    expect(racing.stock()).toEqual([3, 2, 0]);
  });

  test("acknowledges what is none of its business", async () => {
    const arrived = { type: "order.delivered", orderId: "o1", trackingNumber: "SS1" } as const;
    expect(await shop.tell(arrived)).toEqual([{ kind: "ack" }]);
    expect(shop.counts.commits).toBe(0);
  });

  test("buries a shipment of what was never held", async () => {
    await shop.set(5);
    const outcomes = await shop.tell(shipped("o9"), orderOf("o1"));
    expect(outcomes).toMatchObject([{ kind: "bury", reason: "misplaced" }, { kind: "settled" }]);
  });

  test("whose commit is unclear takes effect once", async () => {
    await shop.set(5);
    shop.faults.set("after_commit", [new ShopError("INDETERMINATE", "no answer", "later")]);
    const outcomes = shop.tell(orderOf("o1"));
    await shop.environment.advance(100);
    expect(await outcomes).toEqual([{ kind: "ack" }]);
    expect(shop.stock()).toEqual([4, 1, 0]);
  });

  test("that meets a storage fault is tried again by the consumer", async () => {
    await shop.set(5);
    shop.faults.set("before_commit", [new ShopError("STORAGE_FAULT", "broken", "later")]);
    expect(shop.tell(orderOf("o1"))).rejects.toMatchObject({ code: "STORAGE_FAULT" });
    expect(await shop.tell(orderOf("o1"))).toEqual([{ kind: "settled" }]);
  });
});

describe("shards racing for a hot product", () => {
  const SHARDS = 4;
  const BATCHES = 10;
  const PER_BATCH = 5;

  async function race(decisionsMax: number) {
    const racing = setUp({ jitterMs: 3 });
    const wanted = SHARDS * BATCHES * PER_BATCH;
    const available = Math.floor(wanted * 0.6);
    const set = racing.set(available);
    await racing.environment.advance(50);
    await set;
    const retried: string[] = [];
    const work = Array.from({ length: SHARDS }, async (_, shard) => {
      const service = racing.shard(decisionsMax);
      for (let batch = 0; batch < BATCHES; batch++) {
        const orders = Array.from({ length: PER_BATCH }, (_unused, at) =>
          orderOf(`${shard}-${batch}-${at}`),
        );
        const messages = racing.messagesOf(orders);
        let open = messages;
        while (open.length > 0) {
          const outcomes = await service.handle(open);
          open = open.filter((_message, at) => outcomes[at]?.kind === "retry");
          retried.push(...open.map((message) => message.frame.id));
        }
      }
    });
    await racing.environment.advance(60_000);
    await Promise.all(work);
    return { ...racing, wanted, available, retried };
  }

  test("never promise more than there is, and promise all of it", async () => {
    const { stock, events, available, wanted, counts } = await race(40);
    expect(stock()).toEqual([0, available, 0]);
    const statuses = events().map((event) => event.type === "inventory.reserved" && event.status);
    expect(statuses.filter((status) => status === "reserved")).toHaveLength(available);
    expect(statuses).toHaveLength(wanted);
    // They did race: some commits were refused.
    expect(counts.commits).toBeGreaterThan(SHARDS * BATCHES + 1);
  });

  test("give a batch back after a bounded number of defeats", async () => {
    const { stock, available, events, wanted, retried } = await race(1);
    expect(retried.length).toBeGreaterThan(0);
    expect(stock()).toEqual([0, available, 0]);
    expect(events()).toHaveLength(wanted);
  });
});

describe("inventory.set", () => {
  test("creates, then asks for the version, then takes it", async () => {
    expect(await shop.set(5)).toEqual({
      kind: "stock",
      stock: { productId: "tea", available: 5, reserved: 0, shipped: 0, version: 1 },
      created: true,
    });
    expect(await shop.set(6)).toMatchObject({ kind: "refused", code: "version_required" });
    expect(await shop.set(6, 2)).toMatchObject({ kind: "refused", code: "version_conflict" });
    expect(await shop.set(6, 1)).toMatchObject({ kind: "stock", created: false });
    expect(shop.stock()).toEqual([6, 0, 0]);
    expect(shop.changed.map((stock) => stock.version)).toEqual([1, 2]);
  });

  test("leaves alone what is reserved and shipped", async () => {
    await shop.set(5);
    await shop.tell(orderOf("o1"), orderOf("o2"));
    await shop.tell(shipped("o2"));
    expect(await shop.set(0, 3)).toMatchObject({ kind: "stock" });
    expect(shop.stock()).toEqual([0, 1, 1]);
  });

  test("sent twice acts once", async () => {
    const command: CommandOf<"inventory.set"> = {
      type: "inventory.set",
      productId: "tea",
      available: 5,
    };
    const origin = { cause: causeFor(shop.environment), deadlineMs: 0 };
    const first = await shop.service.command(command, origin);
    await shop.tell(orderOf("o1"));
    const second = await shop.shard().command(command, origin);
    expect(first).toMatchObject({ kind: "stock", created: true, stock: { available: 5 } });
    expect(second).toMatchObject({ kind: "stock", created: true, stock: { available: 4 } });
    expect(shop.stock()).toEqual([4, 1, 0]);
  });

  test("from two shards at once creates one product", async () => {
    const command = { type: "inventory.set", productId: "tea", available: 5 } as const;
    const replies = await Promise.all(
      [shop.shard(), shop.shard()].map((shard) =>
        shard.command(command, { cause: causeFor(shop.environment), deadlineMs: 0 }),
      ),
    );
    expect(replies.map((reply) => reply.kind).sort()).toEqual(["refused", "stock"]);
  });

  test("is refused past its deadline and when the storage is full", async () => {
    const command = { type: "inventory.set", productId: "tea", available: 5 } as const;
    const cause = causeFor(shop.environment);
    const deadlineMs = shop.environment.nowMs() - 1;
    expect(await shop.service.command(command, { cause, deadlineMs })).toMatchObject({
      code: "expired",
    });
    shop.faults.set("before_commit", [new ShopError("STORAGE_FULL", "full", "later")]);
    expect(await shop.set(5)).toMatchObject({ code: "storage_unavailable" });
    expect(shop.stock()).toEqual([]);
  });
});
