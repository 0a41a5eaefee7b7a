/**
 * What is collected of the stores around the orders: sums of the run alone, orders spread over it,
 * and the moment at which they are asked.
 *
 * A made-up client says what it is told to say; nothing waits for a clock.
 */

import { describe, expect, test } from "bun:test";

import { collectPlatform, readPlatformBase, sampleOf } from "./collect-platform.ts";
import type { Evidence, ObservedOrder } from "./evidence.ts";
import type { BookRow, Tally, ViewState } from "./platform-evidence.ts";
import type { PlatformBase } from "./collect-platform.ts";
import type { PlatformClient } from "./platform-client.ts";

const ORDER: ObservedOrder = {
  id: "o",
  customerId: "c",
  items: [],
  status: "delivered",
  paymentStatus: "completed",
  inventoryStatus: "reserved",
  totalMinor: 1,
  currency: "USD",
  version: 6,
};

function evidenceOf(orders: ReadonlyMap<string, ObservedOrder>): Evidence {
  const none = new Map<string, never>();
  return { attempts: [], listedByCustomer: none, orders, timelines: none, stock: [] };
}

/** `undefined`: the view fails, and is behind by nothing that it knows of. */
type Lag = number | undefined;

/** Says `lags` one after the other, and the last of them for ever; likewise `figures`. */
function clientWith(lags: readonly Lag[], figures: readonly ReadonlyMap<string, Tally>[]) {
  const asked: string[] = [];
  let lagsRead = 0;
  let figuresRead = 0;
  const client: PlatformClient = {
    readViews: async () => {
      asked.push("views");
      const lag = lags[Math.min(lagsRead++, lags.length - 1)];
      return ["audit", "analytics"].map((view) => stateOf(view, lag));
    },
    readFigures: async () => {
      asked.push("figures");
      return figures[Math.min(figuresRead++, figures.length - 1)] ?? new Map();
    },
    readAudit: async () => ({ count: 7, lastSeq: 70 }),
    verifyChain: async ({ count }) => ({ grown: count, verified: count }),
    readAudited: async () => [],
    readNotices: async () => [],
    readBooks: async () => ({ isBalanced: true, rows: [DONE], totals: [DONE] }),
    countDeadLetters: async () => 2,
  };
  return { client, asked };
}

function stateOf(view: string, lag: Lag): ViewState {
  return { view, lagRecords: lag ?? 0, isFailing: lag === undefined };
}

const DONE: BookRow = {
  name: "fraud",
  group: "fraud",
  published: 3,
  acked: 3,
  dead: 0,
  inFlight: 0,
  waiting: 0,
  imbalance: undefined,
};
const BASE: PlatformBase = {
  sinceMs: 0,
  figures: new Map(),
  audit: { count: 0, lastSeq: 0 },
  deadLetters: 2,
};
const OPTIONS = { restDeadlineMs: 60_000, quietMs: 0, askAgainMs: 0, concurrency: 4 };

test("what was counted before the run is taken off, to the cent", async () => {
  const { client } = clientWith(
    [0],
    [
      new Map([["revenue USD", { count: 2, sumMinor: 300 }]]),
      new Map([
        ["revenue USD", { count: 5, sumMinor: 950 }],
        ["orders USD", { count: 1, sumMinor: undefined }],
      ]),
    ],
  );
  const base = await readPlatformBase(client, OPTIONS);
  // Nobody ordered anything for so much: it is asked once, and given as it is.
  const once = { ...OPTIONS, restDeadlineMs: 0 };
  const found = await collectPlatform(client, evidenceOf(new Map()), base, once);
  expect(Object.fromEntries(found.figures)).toEqual({
    "revenue USD": { count: 3, sumMinor: 650 },
    "orders USD": { count: 1, sumMinor: undefined },
  });
  expect(found.deadLetters).toBe(0);
  expect(found.chain).toEqual({ grown: 7, verified: 7 });
});

test("the stores are asked once the views have caught up, and not before", async () => {
  const { client, asked } = clientWith([3, undefined, 0], [new Map()]);
  const afterFaults = { ...OPTIONS, isAfterFaults: true };
  const found = await collectPlatform(client, evidenceOf(new Map()), BASE, afterFaults);
  expect(asked).toEqual(["views", "views", "views", "figures"]);
  expect(found.views).toEqual([stateOf("audit", 0), stateOf("analytics", 0)]);
});

test("what is not there yet although nobody is behind is asked again until it is", async () => {
  const early = new Map([["orders USD", { count: -1, sumMinor: -100 }]]);
  const { client, asked } = clientWith([0], [early, early, new Map()]);
  const found = await collectPlatform(client, evidenceOf(new Map()), BASE, OPTIONS);
  expect(asked).toEqual(["views", "figures", "views", "figures", "views", "figures"]);
  expect(found.figures).toEqual(new Map());
});

test("a view that fails where nothing was broken has failed, although it recovers", async () => {
  const { client, asked } = clientWith([3, undefined, 0], [new Map()]);
  const found = await collectPlatform(client, evidenceOf(new Map()), BASE, OPTIONS);
  expect(asked).toEqual(["views", "views", "figures"]);
  expect(found.views).toEqual([stateOf("audit", undefined), stateOf("analytics", undefined)]);
});

test("what is too much is wrong at first sight, also beside what is not there yet", async () => {
  const wrong = new Map([
    ["orders USD", { count: -1, sumMinor: -100 }],
    ["revenue USD", { count: 1, sumMinor: 100 }],
  ]);
  const { client, asked } = clientWith([0], [wrong, new Map()]);
  const found = await collectPlatform(client, evidenceOf(new Map()), BASE, OPTIONS);
  expect(asked).toEqual(["views", "figures"]);
  expect(found.figures).toEqual(wrong);
});

test("a view that fails before the run is waited for", async () => {
  const { client, asked } = clientWith([undefined, 0], [new Map()]);
  await readPlatformBase(client, OPTIONS);
  expect(asked).toEqual(["views", "views", "figures"]);
});

test("a view that does not catch up is reported as it is when the time is over", async () => {
  const { client } = clientWith([4], [new Map()]);
  const late = { ...OPTIONS, restDeadlineMs: 0 };
  const found = await collectPlatform(client, evidenceOf(new Map()), BASE, late);
  expect(found.views).toEqual([stateOf("audit", 4), stateOf("analytics", 4)]);
});

describe("the sample", () => {
  const run = (count: number, cancelledEvery: number) =>
    new Map(
      Array.from({ length: count }, (_, n): [string, ObservedOrder] => {
        const status = n % cancelledEvery === cancelledEvery - 1 ? "cancelled" : "delivered";
        return [`o${n}`, { ...ORDER, status }];
      }),
    );

  test("is everything of a small run", () => {
    expect(sampleOf({ orders: run(20, 5) })).toHaveLength(20);
    expect(sampleOf({ orders: new Map() })).toEqual([]);
  });

  test("is bounded, and spread over a large run and over its cancelled orders", () => {
    const orders = run(10_000, 50);
    const sample = sampleOf({ orders });
    expect(sample.length).toBeGreaterThan(150);
    expect(sample.length).toBeLessThanOrEqual(202);
    const cancelled = sample.filter((id) => orders.get(id)?.status === "cancelled");
    expect(cancelled.length).toBeGreaterThanOrEqual(50);
    const places = sample.map((id) => Number(id.slice(1)));
    expect(Math.min(...places)).toBeLessThan(100);
    expect(Math.max(...places)).toBeGreaterThan(9_900);
  });
});
