/**
 * The legal lives of an order, and every single step out of line.
 *
 * The property goes over all short timelines, so that a rule that is too lenient by one event
 * shows; it holds the rules against facts about whole lives, not against themselves.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import { isSettled, judgeTimeline } from "./timeline-rules.ts";

type Entry = readonly [type: string, status?: string];

function judge(entries: readonly Entry[]) {
  return judgeTimeline(
    entries.map(([type, status], n) => ({ version: n + 1, type, atMs: 0, data: { status } })),
  );
}

const CREATED: Entry = ["order.created"];
const PAID: Entry = ["payment.processed", "completed"];
const UNPAID: Entry = ["payment.processed", "failed"];
const RESERVED: Entry = ["inventory.reserved", "reserved"];
const SHORT: Entry = ["inventory.reserved", "failed"];
const READY: Entry = ["order.ready_to_ship"];
const SHIPPED: Entry = ["order.shipped"];
const DELIVERED: Entry = ["order.delivered"];
const CANCELLED: Entry = ["order.cancelled"];
const REFUNDED: Entry = ["payment.refunded"];
const RELEASED: Entry = ["inventory.released"];

const EVERY = [
  CREATED,
  PAID,
  UNPAID,
  RESERVED,
  SHORT,
  READY,
  SHIPPED,
  DELIVERED,
  CANCELLED,
  REFUNDED,
  RELEASED,
];

describe("judgeTimeline", () => {
  test.each([
    ["payment first", [CREATED, PAID, RESERVED, READY, SHIPPED, DELIVERED]],
    ["reservation first", [CREATED, RESERVED, PAID, READY, SHIPPED, DELIVERED]],
    ["declined", [CREATED, RESERVED, UNPAID, CANCELLED, RELEASED]],
    ["declined before the reservation", [CREATED, UNPAID, CANCELLED, RESERVED, RELEASED]],
    ["out of stock after payment", [CREATED, PAID, SHORT, CANCELLED, REFUNDED]],
    ["out of stock before payment", [CREATED, SHORT, CANCELLED, PAID, REFUNDED]],
    ["cancelled at once", [CREATED, CANCELLED, PAID, REFUNDED, RESERVED, RELEASED]],
    ["cancelled when ready", [CREATED, PAID, RESERVED, READY, CANCELLED, RELEASED, REFUNDED]],
  ] satisfies [string, Entry[]][])("accepts the whole life: %s", (_name, entries) => {
    const { problems, standing } = judge(entries);
    expect(problems).toEqual([]);
    expect(isSettled(standing)).toBe(true);
  });

  test.each([
    ["a beginning without creation", [PAID]],
    ["a second creation", [CREATED, CREATED]],
    ["a second payment", [CREATED, PAID, PAID]],
    ["a payment after a decline", [CREATED, UNPAID, PAID]],
    ["ready without payment", [CREATED, RESERVED, READY]],
    ["ready after a decline", [CREATED, RESERVED, UNPAID, READY]],
    ["ready without reservation", [CREATED, PAID, READY]],
    ["shipping what is not ready", [CREATED, PAID, RESERVED, SHIPPED]],
    ["shipping what was cancelled", [CREATED, PAID, RESERVED, READY, CANCELLED, SHIPPED]],
    ["cancelling what was shipped", [CREATED, PAID, RESERVED, READY, SHIPPED, CANCELLED]],
    ["delivering twice", [CREATED, PAID, RESERVED, READY, SHIPPED, DELIVERED, DELIVERED]],
    ["a refund of a living order", [CREATED, PAID, REFUNDED]],
    ["a refund of a decline", [CREATED, UNPAID, CANCELLED, REFUNDED]],
    ["a release of nothing", [CREATED, SHORT, CANCELLED, RELEASED]],
    ["an unknown type", [CREATED, ["order.teleported"]]],
    ["a type from Object.prototype", [CREATED, ["constructor"]]],
    ["an unknown answer", [CREATED, ["payment.processed", "maybe"]]],
  ] satisfies [string, Entry[]][])("refuses %s", (_name, entries) => {
    expect(judge(entries).problems).not.toEqual([]);
  });

  test("refuses a version that skips, repeats or starts late", () => {
    const entry = (version: number, type: string) => ({ version, type, atMs: 0, data: {} });
    for (const versions of [
      [1, 3],
      [1, 1],
      [2, 3],
    ] as const) {
      const [first, second] = versions;
      const { problems } = judgeTimeline([
        entry(first, "order.created"),
        entry(second, "order.cancelled"),
      ]);
      expect(problems).not.toEqual([]);
    }
  });

  test("accepts no life with a repeated entry, none both shipped and cancelled", () => {
    const lives = fc.array(fc.constantFrom(...EVERY), { maxLength: 7 });
    fc.assert(
      fc.property(lives, (entries) => {
        const { problems, standing } = judge([CREATED, ...entries]);
        if (problems.length > 0) return;
        const types = entries.map(([type]) => type);
        expect(new Set(types).size).toBe(types.length);
        expect(types.includes("order.shipped") && types.includes("order.cancelled")).toBe(false);
        if (types.includes("order.shipped")) {
          expect(standing.paymentStatus).toBe("completed");
          expect(standing.inventoryStatus).toBe("reserved");
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("isSettled", () => {
  test.each([
    ["pending", "completed", "reserved"],
    ["shipped", "completed", "reserved"],
    ["cancelled", "pending", "failed"],
    ["cancelled", "completed", "released"],
    ["cancelled", "refunded", "reserved"],
    ["cancelled", "refunded", "pending"],
  ])("%s, %s, %s is not the end", (status, paymentStatus, inventoryStatus) => {
    expect(isSettled({ status, paymentStatus, inventoryStatus })).toBe(false);
  });
});
