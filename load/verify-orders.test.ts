/**
 * The judge on forged evidence: one good run, and one forged line for each way to break it.
 *
 * The good run holds a shipped order, a cancelled one and an ambiguous one that arrived, so that
 * every rule has something to look at.
 */

import { describe, expect, test } from "bun:test";

import { mayHeal } from "./evidence.ts";
import { verify } from "./verify-orders.ts";
import type {
  Attempt,
  CheckName,
  Evidence,
  LedgerEffect,
  ObservedOrder,
  TimelineEvent,
} from "./evidence.ts";

const ITEMS = [
  { productId: "p", quantity: 2, priceMinor: 1_001 },
  { productId: "q", quantity: 1, priceMinor: 7 },
];
const TOTAL_MINOR = 2_009;

interface Forgery {
  attempts: Attempt[];
  listedByCustomer: Map<string, readonly string[]>;
  orders: Map<string, ObservedOrder>;
  timelines: Map<string, readonly TimelineEvent[]>;
  stock: Evidence["stock"][number][];
  ledger: LedgerEffect[];
}

function timeline(...entries: readonly (readonly [string, Record<string, unknown>])[]) {
  return entries.map(([type, data], n) => ({ version: n + 1, type, atMs: n, data }));
}

const PAID = ["payment.processed", { status: "completed", amount: 20.09 }] as const;
const CREATED = ["order.created", { total: 20.09 }] as const;
const RESERVED = ["inventory.reserved", { status: "reserved" }] as const;
const DELIVERED = timeline(
  CREATED,
  PAID,
  RESERVED,
  ["order.ready_to_ship", {}],
  ["order.shipped", {}],
  ["order.delivered", {}],
);
const CANCELLED = timeline(
  CREATED,
  RESERVED,
  PAID,
  ["order.ready_to_ship", {}],
  ["order.cancelled", { reason: "requested" }],
  ["payment.refunded", { amount: 20.09 }],
  ["inventory.released", {}],
);

function observed(id: string, fate: "delivered" | "cancelled", version: number): ObservedOrder {
  const done = fate === "delivered";
  return {
    id,
    customerId: `of-${id}`,
    items: ITEMS,
    status: fate,
    paymentStatus: done ? "completed" : "refunded",
    inventoryStatus: done ? "reserved" : "released",
    totalMinor: TOTAL_MINOR,
    currency: "USD",
    version,
  };
}

function attempt(id: string, outcome: Attempt["outcome"]): Attempt {
  const order = {
    customerId: `of-${id}`,
    idempotencyKey: `key-${id}`,
    items: ITEMS,
    totalMinor: TOTAL_MINOR,
    currency: "USD",
  };
  return { order, outcome, intendedAtMs: 0 };
}

function acknowledged(id: string): Attempt {
  return attempt(id, { kind: "acknowledged", orderIds: [id], totalMinor: TOTAL_MINOR });
}

function effect(kind: LedgerEffect["kind"], orderId: string): LedgerEffect {
  return { kind, orderId, amountMinor: TOTAL_MINOR, currency: "USD" };
}

function goodRun(): Forgery {
  return {
    attempts: [
      acknowledged("a"),
      acknowledged("b"),
      attempt("c", { kind: "ambiguous", reason: "cut" }),
      attempt("d", { kind: "refused", reason: "never sent" }),
    ],
    listedByCustomer: new Map([
      ["of-a", ["a"]],
      ["of-b", ["b"]],
      ["of-c", ["c"]],
      ["of-d", []],
    ]),
    orders: new Map([
      ["a", observed("a", "delivered", 6)],
      ["b", observed("b", "cancelled", 7)],
      ["c", observed("c", "delivered", 6)],
    ]),
    timelines: new Map([
      ["a", DELIVERED],
      ["b", CANCELLED],
      ["c", DELIVERED],
    ]),
    stock: [
      { productId: "p", initial: 10, available: 6, reserved: 0, shipped: 4 },
      { productId: "q", initial: 10, available: 8, reserved: 0, shipped: 2 },
    ],
    ledger: [
      effect("capture", "a"),
      effect("capture", "b"),
      effect("refund", "b"),
      effect("capture", "c"),
    ],
  };
}

function changeOrder(run: Forgery, id: string, change: Partial<ObservedOrder>): void {
  const order = run.orders.get(id);
  if (order === undefined) throw new Error(`no order ${id} to forge`);
  run.orders.set(id, { ...order, ...change });
}

function changeStock(run: Forgery, change: Partial<Evidence["stock"][number]>): void {
  const first = run.stock[0];
  if (first !== undefined) run.stock[0] = { ...first, ...change };
}

const FORGERIES: readonly (readonly [string, CheckName, (run: Forgery) => void])[] = [
  ["an acknowledged order that cannot be read", "lost", (run) => run.orders.delete("a")],
  [
    "an acknowledged order that is not listed",
    "lost",
    (run) => run.listedByCustomer.set("of-a", []),
  ],
  [
    "an order that became someone else's",
    "lost",
    (run) => changeOrder(run, "a", { customerId: "of-b" }),
  ],
  [
    "a second order of one customer",
    "doubled",
    (run) => run.listedByCustomer.set("of-a", ["a", "x"]),
  ],
  [
    "two orders answered to one key",
    "doubled",
    (run) => {
      const outcome = {
        kind: "acknowledged",
        orderIds: ["a", "x"],
        totalMinor: TOTAL_MINOR,
      } as const;
      run.attempts[0] = attempt("a", outcome);
    },
  ],
  ["an order that was never sent", "doubled", (run) => run.listedByCustomer.set("of-d", ["c"])],
  ["a total that lost a cent", "amounts", (run) => changeOrder(run, "a", { totalMinor: 2_008 })],
  [
    "a total that is no hundredths",
    "amounts",
    (run) => changeOrder(run, "a", { totalMinor: undefined }),
  ],
  ["another currency", "amounts", (run) => changeOrder(run, "a", { currency: "EUR" })],
  [
    "a cent that moved from one line to another",
    "amounts",
    (run) =>
      changeOrder(run, "a", {
        items: [
          { productId: "p", quantity: 2, priceMinor: 1_000 },
          { productId: "q", quantity: 1, priceMinor: 9 },
        ],
      }),
  ],
  [
    "a payment of another amount",
    "amounts",
    (run) =>
      run.timelines.set("a", [
        ...DELIVERED.slice(0, 1),
        ...timeline(CREATED, ["payment.processed", { status: "completed", amount: 20.1 }]).slice(1),
        ...DELIVERED.slice(2),
      ]),
  ],
  ["an order still on its way", "terminal", (run) => changeOrder(run, "a", { status: "shipped" })],
  [
    "a cancelled order whose money was kept",
    "terminal",
    (run) => changeOrder(run, "b", { paymentStatus: "completed" }),
  ],
  [
    "a cancelled order whose stock is held",
    "terminal",
    (run) => changeOrder(run, "b", { inventoryStatus: "reserved" }),
  ],
  [
    "a timeline with a gap",
    "transitions",
    (run) => run.timelines.set("a", DELIVERED.toSpliced(2, 1)),
  ],
  [
    "a timeline shorter than the order",
    "transitions",
    (run) => changeOrder(run, "a", { version: 7 }),
  ],
  ["no timeline at all", "transitions", (run) => run.timelines.delete("a")],
  [
    "a status that the timeline does not lead to",
    "transitions",
    (run) => changeOrder(run, "b", { status: "delivered" }),
  ],
  ["a piece out of nowhere", "stock", (run) => changeStock(run, { available: 7 })],
  ["a piece sold twice", "stock", (run) => changeStock(run, { available: 7, shipped: 3 })],
  ["stock below zero", "stock", (run) => changeStock(run, { available: -1, shipped: 11 })],
  ["a reservation left behind", "stock", (run) => changeStock(run, { available: 5, reserved: 1 })],
  ["a product that vanished", "stock", (run) => run.stock.shift()],
  ["a second capture", "payments", (run) => run.ledger.push(effect("capture", "a"))],
  ["a missing capture", "payments", (run) => run.ledger.shift()],
  ["a missing refund", "payments", (run) => run.ledger.splice(2, 1)],
  [
    "a capture in two halves",
    "payments",
    (run) => {
      run.ledger[0] = { ...effect("capture", "a"), amountMinor: 1_000 };
      run.ledger.push({ ...effect("capture", "a"), amountMinor: TOTAL_MINOR - 1_000 });
    },
  ],
  [
    "a refund in two halves",
    "payments",
    (run) => {
      run.ledger[2] = { ...effect("refund", "b"), amountMinor: 1_000 };
      run.ledger.push({ ...effect("refund", "b"), amountMinor: TOTAL_MINOR - 1_000 });
    },
  ],
  ["a second refund", "payments", (run) => run.ledger.push(effect("refund", "b"))],
  ["a capture for nobody", "payments", (run) => run.ledger.push(effect("capture", "x"))],
  [
    "a capture in another currency",
    "payments",
    (run) => {
      run.ledger[0] = { ...effect("capture", "a"), currency: "EUR" };
    },
  ],
];

/** Of the forgeries: what inventory or the provider may only not have heard of yet. */
const EARLY: readonly string[] = [
  "a piece sold twice",
  "a reservation left behind",
  "a missing refund",
];

describe("verify", () => {
  test("finds nothing in a good run, and counts what it looked at", () => {
    const { ok, violations, counts } = verify(goodRun());
    expect(violations).toEqual([]);
    expect(ok).toBe(true);
    expect(counts).toEqual({
      attempted: 4,
      acknowledged: 2,
      ambiguous: 1,
      refused: 1,
      found: 3,
      shipped: 2,
      cancelled: 1,
      shippedMinor: 2 * TOTAL_MINOR,
      products: 2,
      ledgerEffects: 4,
      sampled: 0,
      audited: 0,
      texts: 0,
    });
  });

  test("lets an ambiguous order be absent, with its stock and its money", () => {
    const run = goodRun();
    run.listedByCustomer.set("of-c", []);
    run.orders.delete("c");
    run.ledger.pop();
    run.stock = [
      { productId: "p", initial: 10, available: 8, reserved: 0, shipped: 2 },
      { productId: "q", initial: 10, available: 9, reserved: 0, shipped: 1 },
    ];
    expect(verify(run).violations).toEqual([]);
  });

  test.each(FORGERIES)("finds %s, by %s", (what, check, forge) => {
    const run = goodRun();
    forge(run);
    const { violations } = verify(run);
    expect(violations.map((violation) => violation.check)).toContain(check);
    expect(mayHeal(violations, [check])).toBe(EARLY.includes(what));
  });

  test("knows that time alone may mend nothing where nothing is wrong", () => {
    expect(mayHeal(verify(goodRun()).violations, ["stock", "payments"])).toBe(false);
  });

  test.each([
    ["below zero", (run: Forgery) => changeStock(run, { available: -1, reserved: 7 })],
    ["its items make 2009", (run: Forgery) => changeOrder(run, "a", { totalMinor: 2_008 })],
    [
      "asked 2009, acknowledged 2008",
      (run: Forgery) => {
        const outcome = { kind: "acknowledged", orderIds: ["a"], totalMinor: 2_008 } as const;
        run.attempts[0] = attempt("a", outcome);
      },
    ],
  ])("says '%s' beside what else is wrong", (said, forge) => {
    const run = goodRun();
    forge(run);
    const details = verify(run).violations.map((violation) => violation.detail);
    expect(details.join("\n")).toContain(said);
  });

  test("does not ask for books that nobody kept", () => {
    const { ledger: _, ...run } = goodRun();
    expect(verify(run).violations).toEqual([]);
    expect(verify(run).counts.ledgerEffects).toBe(0);
  });
});
