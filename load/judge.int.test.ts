/**
 * The judge is judged: an honest shop passes, and every lie is caught by the check named for it.
 *
 * Uses the fake shop and a real provider on loopback sockets. No case may pass because nothing was
 * looked at, so the honest run also has its counts compared.
 */

import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { runOrders } from "./order-run.ts";
import { startFakeShop } from "./testing/fake-shop.ts";
import { startPaymentProvider } from "./payment-provider.ts";
import type { Arrivals, OrderRunOptions, OrderRunReport } from "./order-run.ts";
import type { CheckName } from "./evidence.ts";
import type { FakeShopOptions } from "./testing/fake-shop.ts";
import type { Lie } from "./testing/fake-life.ts";

const CLOSED: Arrivals = { model: "closed", rounds: 10, batch: 20 };
const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

type Deadlines = Pick<OrderRunOptions, "restDeadlineMs" | "storesDeadlineMs">;

const PATIENT: Deadlines = { restDeadlineMs: 20_000 };
/** The stores around the fake shop's orders are never late: what is missing there stays so. */
const ASKED_ONCE: Deadlines = { ...PATIENT, storesDeadlineMs: 0 };

async function judge(
  lies: readonly Lie[],
  arrivals = CLOSED,
  deadlines = PATIENT,
): Promise<OrderRunReport> {
  return await openJudge(lies)("judge", arrivals, deadlines);
}

/** Judges one run after another in the same shop. */
function openJudge(
  lies: readonly Lie[],
  { twinEvery = 10, ...manner }: Pick<FakeShopOptions, "stammers"> & { twinEvery?: number } = {},
) {
  const directory = mkdtempSync(join(tmpdir(), "judge-"));
  const provider = startPaymentProvider({
    port: 0,
    ledgerFile: join(directory, "ledger.jsonl"),
    latencyMs: 1,
    declineRate: 0.05,
    failureRate: 0.1,
    hangRate: 0,
    hangMs: 0,
    seed: 5,
  });
  const paymentUrl = `http://127.0.0.1:${provider.port}`;
  const dataFile = join(directory, "shop.jsonl");
  const shop = startFakeShop({ port: 0, lies, paymentUrl, stepMs: 2, dataFile, ...manner });
  cleanups.push(async () => {
    await shop.stop();
    await provider.stop();
    rmSync(directory, { recursive: true });
  });
  return (runId: string, arrivals = CLOSED, deadlines = PATIENT): Promise<OrderRunReport> => {
    const before = provider.books().effects.length;
    return runOrders({
      host: "127.0.0.1",
      port: shop.port,
      dataDirectory: directory,
      arrivals,
      seed: 9,
      runId,
      connectionsMax: 20,
      twinEvery,
      ...deadlines,
      quietMs: 0,
      readLedger: async () => provider.books().effects.slice(before),
    });
  };
}

describe("an honest shop", () => {
  test("passes, and every order, product and payment was looked at", async () => {
    const { verdict, figures } = await judge([]);
    expect(verdict.violations).toEqual([]);
    expect(verdict.counts.attempted).toBe(200);
    expect(verdict.counts.acknowledged).toBe(200);
    expect(verdict.counts.found).toBe(200);
    expect(verdict.counts.shipped + verdict.counts.cancelled).toBe(200);
    // The scarce product alone makes two of four orders fail after they were paid.
    expect(verdict.counts.cancelled).toBeGreaterThanOrEqual(2);
    expect(verdict.counts.products).toBe(21);
    expect(verdict.counts.ledgerEffects).toBeGreaterThan(verdict.counts.shipped);
    expect(verdict.counts.sampled).toBeGreaterThanOrEqual(150);
    expect(verdict.counts.audited).toBeGreaterThan(5 * 200);
    expect(verdict.counts.texts).toBeGreaterThan(2 * 200);
    expect(figures.errorShare).toBe(0);
    expect(figures.complete.count).toBe(verdict.counts.shipped);
    expect(figures.accepted.latency.p99Ms).toBeGreaterThan(0);
  });

  test("passes when it is asked only once: nothing of it is late", async () => {
    const { verdict } = await judge([], CLOSED, ASKED_ONCE);
    expect(verdict.violations).toEqual([]);
    expect(verdict.counts.sampled).toBeGreaterThanOrEqual(150);
  });

  test("does not pass when it cannot answer its judge at once: nothing was broken", async () => {
    const judged = openJudge([], { stammers: true })("judge", { ...CLOSED, rounds: 1 });
    expect(String(await judged.catch((error: unknown) => error))).toContain("503");
  });

  test("passes at a fixed rate too, with the number of orders that the rate makes", async () => {
    const { verdict } = await judge([], { model: "open", ratePerSecond: 200, seconds: 1 });
    expect(verdict.violations).toEqual([]);
    expect(verdict.counts.acknowledged).toBe(200);
  });
});

describe("a shop that had orders before", () => {
  const few: Arrivals = { model: "closed", rounds: 2, batch: 20 };

  test("passes: only the orders of the run are counted, in the chain too", async () => {
    const run = openJudge([]);
    const [first, second] = [await run("one", few), await run("two", few)];
    expect(first.verdict.violations).toEqual([]);
    expect(second.verdict.violations).toEqual([]);
    for (const { verdict } of [first, second]) {
      expect(verdict.counts.audited).toBeGreaterThan(5 * 40);
      expect(verdict.counts.audited).toBeLessThan(10 * 40);
    }
  });

  test("is caught when it breaks what it wrote during the run", async () => {
    const run = openJudge(["break_chain"]);
    await run("one", few, ASKED_ONCE);
    const { verdict } = await run("two", few, ASKED_ONCE);
    expect(verdict.violations.map(({ check }) => check)).toContain("audit");
  });
});

describe("a lie is caught by its check", () => {
  const cases: readonly (readonly [Lie, CheckName])[] = [
    ["lose_order", "lost"],
    ["double_order", "doubled"],
    ["lose_cent", "amounts"],
    ["oversell", "stock"],
    ["keep_reserved", "stock"],
    ["ship_unpaid", "transitions"],
    ["skip_version", "transitions"],
    ["capture_twice", "payments"],
    ["keep_money", "payments"],
    ["invent_revenue", "analytics"],
    ["forget_event", "audit"],
    ["break_chain", "audit"],
    ["tell_twice", "notifications"],
    ["write_twice", "outbox"],
    ["lose_record", "books"],
    ["bury", "letters"],
  ];
  /** That something is missing, which the judge waits for if it may. */
  const lasting: readonly Lie[] = ["keep_reserved", "forget_event"];

  test.each(cases)("%s by %s", async (lie, check) => {
    const deadlines = lasting.includes(lie) ? ASKED_ONCE : PATIENT;
    const { verdict } = await judge([lie], CLOSED, deadlines);
    expect(verdict.ok).toBe(false);
    expect(verdict.violations.map((violation) => violation.check)).toContain(check);
  });

  test("lose_order by lost, although a twin of the same key is kept", async () => {
    const few: Arrivals = { model: "closed", rounds: 1, batch: 20 };
    const { verdict } = await openJudge(["lose_order"], { twinEvery: 1 })("judge", few);
    expect(verdict.violations.map(({ check }) => check)).toContain("lost");
  });

  test("lag_behind by views, once the wait for rest is over", async () => {
    const { verdict } = await judge(["lag_behind"], CLOSED, ASKED_ONCE);
    expect(verdict.violations.map(({ check }) => check)).toEqual(["views", "views"]);
  });

  test("never_deliver by terminal, once the wait for rest is over", async () => {
    // So few that all are where they will stay long before.
    const few: Arrivals = { model: "closed", rounds: 2, batch: 20 };
    const { verdict } = await judge(["never_deliver"], few, { restDeadlineMs: 3_000 });
    const checks = new Set(verdict.violations.map((violation) => violation.check));
    expect([...checks]).toEqual(["terminal"]);
  });
});
