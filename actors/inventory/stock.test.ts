/**
 * Stock by example and by law: all or nothing, never negative, and no unit made or lost.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { EventOf } from "../contracts/messages.ts";
import type { InventoryInput, Line, Snapshot } from "./stock.ts";

import { InventoryReserved } from "../contracts/messages.ts";
import { applyToStock, decideSetStock, productsOf, publicStock } from "./stock.ts";

const terms = { nowMs: 1_000, reservationTtlMs: 500 };

function snapshotOf(available: Readonly<Record<string, number>>): Snapshot {
  const stock = Object.entries(available).map(([productId, count]) => [
    productId,
    { productId, available: count, reserved: 0, shipped: 0, version: 1 },
  ]);
  return { stock: new Map(stock as never), reservations: new Map() };
}

function created(orderId: string, lines: readonly Line[]): EventOf<"order.created"> {
  const items = lines.map((line) => ({ ...line, priceMinor: 100 }));
  return {
    type: "order.created",
    orderId,
    customerId: "ada",
    items,
    totalMinor: 0,
    currency: "USD",
  };
}

function counts(snapshot: Snapshot, productId: string) {
  const { available, reserved, shipped } = snapshot.stock.get(productId) ?? {
    available: 0,
    reserved: 0,
    shipped: 0,
  };
  return [available, reserved, shipped];
}

const cancelled = (orderId: string) =>
  ({ type: "order.cancelled", orderId, reason: "requested" }) as const;
const shipped = (orderId: string) =>
  ({ type: "order.shipped", orderId, trackingNumber: "SS1", carrier: "c" }) as const;

describe("a reservation", () => {
  test("takes every item and says when it lapses", () => {
    const snapshot = snapshotOf({ tea: 3, cup: 1 });
    const lines = [
      { productId: "tea", quantity: 2 },
      { productId: "cup", quantity: 1 },
    ];
    expect(applyToStock(created("a", lines), snapshot, terms)).toEqual({
      kind: "applied",
      event: {
        type: "inventory.reserved",
        orderId: "a",
        status: "reserved",
        expiresAtMs: 1_500,
      },
    });
    expect(counts(snapshot, "tea")).toEqual([1, 2, 0]);
    expect(counts(snapshot, "cup")).toEqual([0, 1, 0]);
  });

  test("takes nothing when one item is short, and names what is", () => {
    const snapshot = snapshotOf({ tea: 3, cup: 1 });
    const lines = [
      { productId: "tea", quantity: 2 },
      { productId: "cup", quantity: 2 },
      { productId: "jug", quantity: 1 },
    ];
    expect(applyToStock(created("a", lines), snapshot, terms)).toMatchObject({
      event: {
        status: "failed",
        failedItems: [
          { productId: "cup", requested: 2, available: 1 },
          { productId: "jug", requested: 1, available: 0 },
        ],
      },
    });
    expect(counts(snapshot, "tea")).toEqual([3, 0, 0]);
  });

  test("sums the lines of one product", () => {
    const snapshot = snapshotOf({ tea: 3 });
    const lines = [
      { productId: "tea", quantity: 2 },
      { productId: "tea", quantity: 2 },
    ];
    const outcome = applyToStock(created("a", lines), snapshot, terms);
    expect(outcome).toMatchObject({
      event: { failedItems: [{ productId: "tea", requested: 4, available: 3 }] },
    });
    expect(counts(snapshot, "tea")).toEqual([3, 0, 0]);
  });

  test("can name a sum that no single line may have", () => {
    const lines = Array.from({ length: 100 }, () => ({ productId: "tea", quantity: 10_000 }));
    const outcome = applyToStock(created("a", lines), snapshotOf({ tea: 3 }), terms);
    const { type: _, ...fields } =
      outcome.kind === "applied" ? (outcome.event ?? {}) : ({} as never);
    expect(() => InventoryReserved.check(fields)).not.toThrow();
  });

  test("of several orders gives to the first what it has", () => {
    const snapshot = snapshotOf({ tea: 3 });
    const statuses = ["a", "b", "c"].map((orderId) => {
      const quantity = orderId === "b" ? 2 : 1;
      const order = created(orderId, [{ productId: "tea", quantity }]);
      const outcome = applyToStock(order, snapshot, terms);
      return outcome.kind === "applied" && outcome.event?.type === "inventory.reserved"
        ? outcome.event.status
        : outcome.kind;
    });
    expect(statuses).toEqual(["reserved", "reserved", "failed"]);
    expect(counts(snapshot, "tea")).toEqual([0, 3, 0]);
  });

  test("is made once, whether it was held or failed", () => {
    const snapshot = snapshotOf({ tea: 1 });
    const held = created("a", [{ productId: "tea", quantity: 1 }]);
    const failed = created("b", [{ productId: "tea", quantity: 1 }]);
    applyToStock(held, snapshot, terms);
    applyToStock(failed, snapshot, terms);
    applyToStock(cancelled("a"), snapshot, terms);
    expect(applyToStock(held, snapshot, terms).kind).toBe("nothing");
    expect(applyToStock(failed, snapshot, terms).kind).toBe("nothing");
    expect(counts(snapshot, "tea")).toEqual([1, 0, 0]);
  });
});

describe("what was reserved", () => {
  const order = created("a", [{ productId: "tea", quantity: 2 }]);

  test("comes back when the order is cancelled, once", () => {
    const snapshot = snapshotOf({ tea: 3 });
    applyToStock(order, snapshot, terms);
    expect(applyToStock(cancelled("a"), snapshot, terms)).toEqual({
      kind: "applied",
      event: {
        type: "inventory.released",
        orderId: "a",
        items: [{ productId: "tea", quantity: 2 }],
      },
    });
    expect(applyToStock(cancelled("a"), snapshot, terms).kind).toBe("nothing");
    expect(counts(snapshot, "tea")).toEqual([3, 0, 0]);
  });

  test("leaves when the order is shipped, once, and does not come back", () => {
    const snapshot = snapshotOf({ tea: 3 });
    applyToStock(order, snapshot, terms);
    expect(applyToStock(shipped("a"), snapshot, terms).kind).toBe("applied");
    expect(applyToStock(shipped("a"), snapshot, terms).kind).toBe("nothing");
    expect(applyToStock(cancelled("a"), snapshot, terms).kind).toBe("nothing");
    expect(counts(snapshot, "tea")).toEqual([1, 0, 2]);
  });

  test("is the only thing that can be shipped", () => {
    const snapshot = snapshotOf({ tea: 3 });
    expect(applyToStock(shipped("a"), snapshot, terms).kind).toBe("misplaced");
    applyToStock(order, snapshot, terms);
    applyToStock(cancelled("a"), snapshot, terms);
    expect(applyToStock(shipped("a"), snapshot, terms).kind).toBe("misplaced");
    expect(counts(snapshot, "tea")).toEqual([3, 0, 0]);
  });

  test("stays away from an order that was cancelled before its creation was seen", () => {
    const snapshot = snapshotOf({ tea: 3 });
    expect(applyToStock(cancelled("a"), snapshot, terms)).toEqual({
      kind: "applied",
      event: undefined,
    });
    expect(applyToStock(order, snapshot, terms).kind).toBe("nothing");
    expect(counts(snapshot, "tea")).toEqual([3, 0, 0]);
  });

  test("names the products whose rows are needed", () => {
    const reservation = {
      orderId: "a",
      items: order.items,
      status: "held",
      expiresAtMs: 0,
    } as const;
    expect(productsOf(order, undefined)).toEqual(["tea"]);
    expect(productsOf(cancelled("a"), reservation)).toEqual(["tea"]);
    expect(productsOf(cancelled("a"), undefined)).toEqual([]);
  });
});

describe("setting stock", () => {
  const command = { type: "inventory.set", productId: "tea", available: 7 } as const;
  const row = { productId: "tea", available: 1, reserved: 2, shipped: 3, version: 4 };

  test("creates a product that is not there", () => {
    const decision = decideSetStock(command, undefined, "m1");
    expect(decision).toMatchObject({
      kind: "set",
      created: true,
      stock: { available: 7, reserved: 0, shipped: 0, version: 1 },
    });
  });
  test("asks for the version of one that is", () =>
    expect(decideSetStock(command, row, "m1")).toMatchObject({ code: "version_required" }));
  test("refuses another version", () => {
    for (const expectedVersion of [0, 3, 5]) {
      const decision = decideSetStock({ ...command, expectedVersion }, row, "m1");
      expect(decision).toMatchObject({ code: "version_conflict" });
    }
    const decision = decideSetStock({ ...command, expectedVersion: 1 }, undefined, "m1");
    expect(decision).toMatchObject({ code: "version_conflict" });
  });
  test("sets what is available and nothing else", () => {
    const decision = decideSetStock({ ...command, expectedVersion: 4 }, row, "m1");
    expect(decision).toMatchObject({ kind: "set", created: false });
    if (decision.kind !== "set") throw new Error("refused");
    expect(publicStock(decision.stock)).toEqual({ ...row, available: 7, version: 5 });
  });
  test("knows its own command again", () => {
    const set = { ...command, expectedVersion: 4 };
    const first = decideSetStock(set, row, "m1");
    if (first.kind !== "set") throw new Error("refused");
    expect(decideSetStock(set, first.stock, "m1")).toMatchObject({ kind: "repeat" });
    expect(decideSetStock(set, first.stock, "m2")).toMatchObject({ code: "version_conflict" });
  });
});

test("no unit is made, lost or promised twice, whatever happens to however many orders", () => {
  const products = ["tea", "cup", "jug"];
  const line = fc.record({
    productId: fc.constantFrom(...products, "none"),
    quantity: fc.integer({ min: 1, max: 4 }),
  });
  const input: fc.Arbitrary<InventoryInput> = fc.oneof(
    fc
      .tuple(fc.integer({ min: 0, max: 9 }), fc.array(line, { minLength: 1, maxLength: 4 }))
      .map(([order, lines]) => created(`o${order}`, lines)),
    fc.integer({ min: 0, max: 9 }).map((order) => cancelled(`o${order}`)),
    fc.integer({ min: 0, max: 9 }).map((order) => shipped(`o${order}`)),
  );
  const property = fc.property(
    fc.array(fc.integer({ min: 0, max: 8 }), { minLength: 3, maxLength: 3 }),
    fc.array(input, { maxLength: 60 }),
    (available, inputs) => {
      const initial = Object.fromEntries(products.map((name, at) => [name, available[at] ?? 0]));
      const snapshot = snapshotOf(initial);
      for (const each of inputs) {
        const { kind } = applyToStock(each, snapshot, terms);
        expect(["applied", "nothing", "misplaced"]).toContain(kind);
        checkStock(snapshot, initial);
      }
    },
  );
  fc.assert(property, { numRuns: 300 });
});

function checkStock(snapshot: Snapshot, initial: Readonly<Record<string, number>>): void {
  for (const [productId, total] of Object.entries(initial)) {
    const [available = 0, reserved = 0, gone = 0] = counts(snapshot, productId);
    expect(Math.min(available, reserved, gone)).toBeGreaterThanOrEqual(0);
    expect(available + reserved + gone).toBe(total);
    expect(reserved).toBe(unitsIn(snapshot, "held", productId));
    expect(gone).toBe(unitsIn(snapshot, "shipped", productId));
  }
}

function unitsIn(snapshot: Snapshot, status: string, productId: string): number {
  let units = 0;
  for (const reservation of snapshot.reservations.values()) {
    if (reservation.status !== status) continue;
    for (const line of reservation.items) {
      if (line.productId === productId) units += line.quantity;
    }
  }
  return units;
}
