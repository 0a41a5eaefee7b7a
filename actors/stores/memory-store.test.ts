/**
 * The reference store: what the words of the unit-of-work port mean.
 */

import { beforeEach, describe, expect, test } from "bun:test";

import type { DeliveryRef, Outgoing } from "../brokers/broker.ts";
import type { StoreStep } from "./memory-store.ts";
import type { RowWrite, TimerStart, UnitOfWork } from "./unit-of-work.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { createMemoryStore } from "./memory-store.ts";
import { EMPTY_UNIT } from "./unit-of-work.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const frame = (text: string): Outgoing => ({ topic: "orders", frame: bytes(text) });
const delivery: DeliveryRef = {
  group: "order",
  topic: "payments",
  partition: 1,
  sequence: 7,
  epoch: 1,
};

function setUp() {
  const environment = createVirtualEnvironment();
  const outgoing: string[] = [];
  const acknowledged: DeliveryRef[] = [];
  const faults = new Map<StoreStep, ShopError>();
  const store = createMemoryStore({
    environment,
    onOutgoing: (each) => void outgoing.push(new TextDecoder().decode(each.frame)),
    onAcknowledged: (refs) => void acknowledged.push(...refs),
    onStep: (step) => {
      const fault = faults.get(step);
      if (fault !== undefined) throw fault;
    },
  });
  const commit = (unit: Partial<UnitOfWork>) =>
    store.commit({ ...EMPTY_UNIT, ...unit }, [delivery]);
  return { environment, outgoing, acknowledged, faults, store, commit };
}

let shop: ReturnType<typeof setUp>;
beforeEach(() => {
  shop = setUp();
});

function write(key: string, expectedVersion: number, text = "x"): RowWrite {
  return { table: "stock", key, expectedVersion, data: bytes(text) };
}

function order(key: string, customerId: string, status: string, createdAtMs: number): RowWrite {
  const columns = { customerId, status, createdAtMs };
  return { table: "orders", key, expectedVersion: 0, data: bytes(key), columns };
}

function timer(id: string, dueInMs: number, text: string): TimerStart {
  return { id, dueAtMs: shop.environment.nowMs() + dueInMs, outgoing: frame(text) };
}

describe("a unit", () => {
  test("is applied as a whole, at the next version of its rows", async () => {
    const entry = { orderId: "o", version: 1, type: "t", atMs: 1, data: bytes("e") };
    const unit = {
      inbox: [{ group: "order", messageId: "m" }],
      rows: [write("a", 0, "first")],
      timeline: [entry],
      outgoing: [frame("1"), frame("2")],
    };
    expect(await shop.commit(unit)).toEqual({ kind: "committed" });
    expect(await shop.store.load("stock", ["b", "a"])).toMatchObject([
      undefined,
      { key: "a", version: 1, data: bytes("first") },
    ]);
    expect(await shop.store.timeline("o", 0)).toEqual([entry]);
    expect(await shop.store.timeline("o", 1)).toEqual([]);
    expect(shop.store.hasMark("order", "m")).toBe(true);
    expect(shop.outgoing).toEqual(["1", "2"]);
    expect(shop.acknowledged).toEqual([delivery]);
  });

  test("at another version leaves no trace and names the stored one", async () => {
    await shop.commit({ rows: [write("a", 0)] });
    shop.acknowledged.length = 0;
    const inbox = [{ group: "order", messageId: "m" }];
    const rows = [write("b", 0), write("a", 0)];
    expect(await shop.commit({ inbox, rows, outgoing: [frame("1")] })).toEqual({
      kind: "conflict",
      table: "stock",
      key: "a",
      version: 1,
    });
    expect(await shop.store.stock("b")).toBeUndefined();
    expect(shop.store.hasMark("order", "m")).toBe(false);
    expect([shop.outgoing, shop.acknowledged]).toEqual([[], []]);
  });

  test("with a mark that is there is a duplicate and leaves no trace", async () => {
    await shop.commit({ inbox: [{ group: "order", messageId: "m" }] });
    shop.acknowledged.length = 0;
    const inbox = ["k", "m"].map((messageId) => ({ group: "order", messageId }));
    expect(await shop.commit({ inbox, rows: [write("a", 0)] })).toEqual({
      kind: "duplicate",
      messageIds: ["m"],
    });
    expect(await shop.store.stock("a")).toBeUndefined();
    expect(shop.acknowledged).toEqual([]);
    const other = [{ group: "payment", messageId: "m" }];
    expect(await shop.commit({ inbox: other })).toEqual({ kind: "committed" });
  });

  test("that meets a fault before its commit leaves no trace; after it, all of it", async () => {
    const fault = new ShopError("STORAGE_FAULT", "broken", "later");
    shop.faults.set("before_commit", fault);
    expect(shop.commit({ rows: [write("a", 0)] })).rejects.toBe(fault);
    expect(shop.store.rows("stock")).toEqual([]);
    shop.faults.clear();
    shop.faults.set("after_commit", fault);
    expect(shop.commit({ rows: [write("a", 0)] })).rejects.toBe(fault);
    expect(shop.store.rows("stock")).toHaveLength(1);
  });

  test("that writes one row twice, or leaves a gap in a timeline, is a bug", async () => {
    expect(shop.commit({ rows: [write("a", 0), write("a", 1)] })).rejects.toThrow("twice");
    const entry = { orderId: "o", version: 2, type: "t", atMs: 1, data: bytes("e") };
    expect(shop.commit({ timeline: [entry] })).rejects.toThrow("entry 2 after 0");
  });
});

describe("a timer", () => {
  test("publishes its frame when due", async () => {
    await shop.commit({ timersStarted: [timer("b", 20, "late"), timer("a", 10, "early")] });
    expect(shop.store.timerIds()).toEqual(["a", "b"]);
    await shop.environment.advance(10);
    expect(shop.outgoing).toEqual(["early"]);
    await shop.environment.advance(10);
    expect(shop.outgoing).toEqual(["early", "late"]);
    expect(shop.store.timerIds()).toEqual([]);
  });
  test("is replaced by one of the same id, and cancelled by its id", async () => {
    await shop.commit({ timersStarted: [timer("a", 10, "old"), timer("b", 10, "gone")] });
    await shop.commit({ timersStarted: [timer("a", 20, "new")], timersCancelled: ["b", "none"] });
    await shop.environment.advance(100);
    expect(shop.outgoing).toEqual(["new"]);
  });
  test("that is overdue fires at once, but not within the commit", async () => {
    await shop.commit({ timersStarted: [timer("a", -10, "now")] });
    expect(shop.outgoing).toEqual([]);
    await shop.environment.advance(0);
    expect(shop.outgoing).toEqual(["now"]);
  });
});

test("orders are listed newest first, filtered, and page by page", async () => {
  await shop.commit({
    rows: [
      order("a", "ada", "pending", 1),
      order("b", "ada", "shipped", 3),
      order("c", "bob", "pending", 2),
      order("d", "ada", "pending", 3),
    ],
  });
  const keys = async (query: Parameters<typeof shop.store.orders>[0]) =>
    (await shop.store.orders(query)).map((row) => row.key);
  expect(await keys({ limit: 10 })).toEqual(["d", "b", "c", "a"]);
  expect(await keys({ limit: 10, customerId: "ada", status: "pending" })).toEqual(["d", "a"]);
  expect(await keys({ limit: 2, after: { createdAtMs: 3, key: "d" } })).toEqual(["b", "c"]);
  expect(await keys({ limit: 2, after: { createdAtMs: 1, key: "a" } })).toEqual([]);
  expect((await shop.store.order("a"))?.version).toBe(1);
});
