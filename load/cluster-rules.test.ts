/** Each promise of a cluster, broken by hand: the judge must name it, and nothing else. */

import { describe, expect, test } from "bun:test";

import type { CancelRecord } from "./order-canceller.ts";
import type { ClusterEvidence } from "./cluster-rules.ts";
import type { ObservedOrder, TimelineEvent } from "./evidence.ts";

import { eventsExpected, judgeCluster } from "./cluster-rules.ts";

const ID = "o1";

function ordersOf(status: string, reason = "requested") {
  const order: ObservedOrder = {
    id: ID,
    customerId: "c",
    items: [],
    totalMinor: 0,
    currency: "USD",
    version: 3,
    status,
    paymentStatus: "completed",
    inventoryStatus: "reserved",
  };
  const end = status === "cancelled" ? "order.cancelled" : "order.shipped";
  const types = ["order.created", "payment.processed", end];
  const timeline = types.map((type, index): TimelineEvent => {
    return { version: index + 1, type, atMs: index, data: type === end ? { reason } : {} };
  });
  return { orders: new Map([[ID, order]]), timelines: new Map([[ID, timeline]]) };
}

const WELL: ClusterEvidence = {
  cancels: [],
  published: new Map([[ID, ["order.created", "order.shipped"]]]),
  leftovers: {
    outboxFrames: 0,
    timers: 0,
    deadLetters: [],
    doubledCustomers: [],
    living: ["p1", "p2"],
  },
  living: ["p2", "p1"],
  unwell: new Map(),
};

const SLEPT = { name: "p2", pauses: 1, wasFenced: true, cutTransactions: 1 };

function brokenBy(change: Partial<ClusterEvidence>, orders = ordersOf("shipped")) {
  return judgeCluster(orders, { ...WELL, ...change }).map(({ check }) => check);
}

function cancel(outcome: CancelRecord["outcome"], detail = ""): Partial<ClusterEvidence> {
  return { cancels: [{ orderId: ID, outcome, detail, tookMs: 1 }] };
}

const CANCELLED = { published: new Map([[ID, ["order.created", "order.cancelled"]]]) };

describe("a cluster", () => {
  test("in which everything is well breaks no promise", () => {
    expect(brokenBy({})).toEqual([]);
    expect(eventsExpected(ordersOf("shipped").timelines)).toBe(2);
  });

  test.each([
    ["an event that was never published", ["order.created"]],
    ["events in another order", ["order.shipped", "order.created"]],
    ["an event that was published twice", ["order.created", "order.shipped", "order.shipped"]],
    ["no events at all", []],
  ])("is broken by %s", (_, types) => {
    expect(brokenBy({ published: new Map([[ID, types]]) })).toEqual(["events"]);
  });

  test("leaves no frame, no timer, no letter and no second order", () => {
    const { leftovers } = WELL;
    const letter = { group: "g", topic: "t", reason: "fenced", error: "e" };
    expect(brokenBy({ leftovers: { ...leftovers, outboxFrames: 1 } })).toEqual(["rest"]);
    expect(brokenBy({ leftovers: { ...leftovers, timers: 1 } })).toEqual(["rest"]);
    expect(brokenBy({ leftovers: { ...leftovers, deadLetters: [letter] } })).toEqual(["letters"]);
    expect(brokenBy({ leftovers: { ...leftovers, doubledCustomers: ["c"] } })).toEqual(["doubled"]);
  });

  test("has a lease for each process that runs and for no other, and all are well", () => {
    const { leftovers } = WELL;
    expect(brokenBy({ leftovers: { ...leftovers, living: ["p1"] } })).toEqual(["rest"]);
    expect(brokenBy({ leftovers: { ...leftovers, living: ["p1", "p1", "p2"] } })).toEqual(["rest"]);
    expect(brokenBy({ unwell: new Map([["p1", "degraded"]]) })).toEqual(["rest"]);
  });

  test("fences a process that was paused", () => {
    const zombie = { ...SLEPT, refusedCommits: 1 };
    expect(brokenBy({ zombie })).toEqual([]);
    expect(brokenBy({ zombie: { ...zombie, wasFenced: false } })).toEqual(["fence"]);
  });

  test("neither fences a process that leaves in order nor refuses a commit", () => {
    const leaver = { name: "p2", refusedCommits: 0, fencings: 0 };
    expect(brokenBy({ leaver })).toEqual([]);
    expect(brokenBy({ leaver: { ...leaver, refusedCommits: 1 } })).toEqual(["fence"]);
    expect(brokenBy({ leaver: { ...leaver, fencings: 1 } })).toEqual(["fence"]);
  });

  test("shows that one that was paused with work in hand was refused what it wrote late", () => {
    const zombie = { ...SLEPT, refusedCommits: 0 };
    expect(brokenBy({ zombie })).toEqual(["fence"]);
  });
});

describe("a cancellation", () => {
  test("ends as it was answered", () => {
    expect(brokenBy({ ...CANCELLED, ...cancel("cancelled") }, ordersOf("cancelled"))).toEqual([]);
    expect(brokenBy({ ...CANCELLED, ...cancel("accepted") }, ordersOf("cancelled"))).toEqual([]);
    expect(brokenBy(cancel("accepted"))).toEqual([]);
    expect(brokenBy(cancel("refused"))).toEqual([]);
  });

  test("answered 200 of an order that was shipped is a lie", () => {
    expect(brokenBy(cancel("cancelled"))).toEqual(["cancels"]);
  });

  test("refused and carried out is a lie", () => {
    const done = ordersOf("cancelled");
    expect(brokenBy({ ...CANCELLED, ...cancel("refused") }, done)).toEqual(["cancels"]);
    const soldOut = ordersOf("cancelled", "out_of_stock");
    expect(brokenBy({ ...CANCELLED, ...cancel("refused") }, soldOut)).toEqual([]);
  });

  test.each([
    ["unknown", ""],
    ["unanswered", "connection refused"],
    ["accepted", "202 with location undefined"],
  ] as const)("that is %s (%s) is a broken promise", (outcome, detail) => {
    expect(brokenBy(cancel(outcome, detail))).toEqual(["cancels"]);
  });
});
