/**
 * The small pure parts of a load run: plan, percentiles, kill moments, flags, money.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import { isShopError } from "../runtime/errors.ts";
import { createOrderPlan } from "./order-plan.ts";
import { parseFlags } from "./flags.ts";
import { planKills, restartsIn } from "./faults.ts";
import { createLatencyRecorder, summarize } from "./latency-summary.ts";
import { minorOf } from "./evidence.ts";

const PLAN = { seed: 3, runId: "r", ordersExpected: 1_000 };

describe("createOrderPlan", () => {
  test("gives order n the same content whatever was asked before", () => {
    const backwards = createOrderPlan(PLAN);
    const orders = Array.from({ length: 50 }, (_, n) => backwards.order(49 - n)).toReversed();
    const forwards = createOrderPlan(PLAN);
    expect(orders).toEqual(Array.from({ length: 50 }, (_, n) => forwards.order(n)));
  });

  test("never repeats a customer or a key, sells only what is shelved, and adds up", () => {
    const plan = createOrderPlan(PLAN);
    const orders = Array.from({ length: 1_000 }, (_, n) => plan.order(n));
    expect(new Set(orders.map((order) => order.customerId)).size).toBe(1_000);
    expect(new Set(orders.map((order) => order.idempotencyKey)).size).toBe(1_000);
    for (const { items, totalMinor } of orders) {
      const products = items.map((item) => item.productId);
      expect(new Set(products).size).toBe(products.length);
      for (const productId of products) expect(plan.stock.has(productId)).toBe(true);
      const sum = items.reduce((total, item) => total + item.quantity * item.priceMinor, 0);
      expect(totalMinor).toBe(sum);
    }
  });

  test("has hot products, dear orders, and half enough of the scarce product", () => {
    const plan = createOrderPlan(PLAN);
    const orders = Array.from({ length: 1_000 }, (_, n) => plan.order(n));
    const lines = orders.flatMap((order) => order.items.map((item) => item.productId));
    const hot = lines.filter((id) => id === "load-r-p0" || id === "load-r-p1").length;
    const scarce = lines.filter((id) => id === "load-r-scarce").length;
    const dear = orders.filter((order) => order.totalMinor > 100_000).length;
    expect(hot / lines.length).toBeGreaterThan(0.35);
    expect(scarce).toBe(20);
    expect(plan.stock.get("load-r-scarce")).toBe(10);
    expect(dear).toBeGreaterThan(50);
    expect(dear).toBeLessThan(200);
  });
});

describe("summarize", () => {
  test("gives values that were measured, by nearest rank", () => {
    const values = Array.from({ length: 200 }, (_, n) => 200 - n);
    expect(summarize(values)).toEqual({
      count: 200,
      p50Ms: 100,
      p95Ms: 190,
      p99Ms: 198,
      maxMs: 200,
    });
    expect(summarize([5])).toEqual({ count: 1, p50Ms: 5, p95Ms: 5, p99Ms: 5, maxMs: 5 });
    expect(summarize([])).toEqual({ count: 0, p50Ms: 0, p95Ms: 0, p99Ms: 0, maxMs: 0 });
  });

  test("forgets nothing when the recorder grows", () => {
    const recorder = createLatencyRecorder();
    for (let n = 1; n <= 10_000; n++) recorder.record(n);
    expect(recorder.summary()).toMatchObject({ count: 10_000, p50Ms: 5_000, maxMs: 10_000 });
  });
});

describe("planKills", () => {
  test("adds up to the number asked for, within its bounds, the same for the same seed", () => {
    const seeds = fc.integer({ min: 0, max: 0xffff_ffff });
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 200 }), (seed, count) => {
        const terms = { seed, count, pauseMsMax: 300 };
        const plan = planKills(terms);
        expect(planKills(terms)).toEqual(plan);
        const kills = plan.reduce(
          (sum, kill) => sum + (kill.againAfterMs === undefined ? 1 : 2),
          0,
        );
        expect(kills).toBe(count);
        for (const { afterMs, againAfterMs = 0 } of plan) {
          expect(afterMs).toBeGreaterThanOrEqual(20);
          expect(afterMs).toBeLessThanOrEqual(300);
          expect(againAfterMs).toBeLessThanOrEqual(500);
        }
      }),
    );
  });

  test("hits some recoveries, and not most", () => {
    const plan = planKills({ seed: 1, count: 200, pauseMsMax: 300 });
    const again = plan.filter((kill) => kill.againAfterMs !== undefined).length;
    expect(again).toBeGreaterThan(5);
    expect(again).toBeLessThan(plan.length / 2);
  });
});

describe("restartsIn", () => {
  test("sums the threads' counters, and says when there are none", () => {
    const line = "shopstream_thread_restarts_total";
    const samples = [`${line}{thread="shard-0"} 2`, `${line}{thread="shard-1"} 3`];
    const text = [`# TYPE ${line} counter`, ...samples, ""].join("\n");
    expect(restartsIn(text)).toBe(5);
    expect(restartsIn("process_resident_memory_bytes 5\n")).toBeUndefined();
  });
});

describe("minorOf", () => {
  test("is exact for every amount of cents and refuses fractions of a cent", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 100_000_000_000 }), (minor) => {
        expect(minorOf(Number((minor / 100).toFixed(2)))).toBe(minor);
      }),
    );
    for (const wrong of [20.005, 0.001, Number.NaN, Infinity, "20.00", null]) {
      expect(minorOf(wrong)).toBeUndefined();
    }
  });
});

describe("parseFlags", () => {
  const specs = {
    rate: { kind: "number", initial: 5, low: 1, high: 10, help: "" },
    mode: { kind: "choice", initial: "a", of: ["a", "b"], help: "" },
  } as const;

  test("takes defaults and what is given", () => {
    expect(parseFlags(specs, ["--rate", "7"])).toEqual({ rate: 7, mode: "a" });
    expect(parseFlags(specs, ["--mode=b"])).toEqual({ rate: 5, mode: "b" });
  });

  test.each([
    [["--rte", "7"], "--rte"],
    [["--rate", "11"], "1 to 10"],
    [["--rate", "many"], "1 to 10"],
    [["--rate="], "1 to 10"],
    [["--mode", "c"], "a, b"],
    [["stray"], "stray"],
  ])("refuses %p and says %s", (argv, said) => {
    let caught: unknown;
    try {
      parseFlags(specs, argv);
    } catch (error) {
      caught = error;
    }
    expect(isShopError(caught, "BAD_CONFIGURATION")).toBe(true);
    expect(String(caught)).toContain(said);
  });
});
