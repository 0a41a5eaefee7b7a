/**
 * The retry schedule as a table, and its bounds as properties.
 *
 * No clock and no consumer: these are functions from numbers to numbers.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { RetryPolicy } from "./retry-schedule.ts";

import { afterFailure, backoffMs, checkRetryPolicy, longestBackoffMs } from "./retry-schedule.ts";

const policy: RetryPolicy = { attemptsMax: 5, delayMinMs: 100, delayMaxMs: 1_000, jitter: 0 };

describe("the retry schedule", () => {
  test("doubles the wait with every failure, up to its largest", () => {
    const waits = [1, 2, 3, 4, 5, 6, 100_000].map((failures) => backoffMs(policy, failures, 0.5));
    expect(waits).toEqual([100, 200, 400, 800, 1_000, 1_000, 1_000]);
  });

  test("spreads the wait over its share of randomness", () => {
    const spread = { ...policy, jitter: 0.2 };
    expect(backoffMs(spread, 1, 0)).toBeCloseTo(80);
    expect(backoffMs(spread, 1, 0.5)).toBeCloseTo(100);
    expect(backoffMs(spread, 1, 0.999_999)).toBeCloseTo(120, 1);
  });

  test("gives up after the last attempt and not before", () => {
    const kinds = [1, 4, 5, 6].map((attempt) => afterFailure(policy, attempt, 0.5).kind);
    expect(kinds).toEqual(["wait", "wait", "poison", "poison"]);
  });

  test("never waits longer than the longest wait it states, nor less than nothing", () => {
    const policies = fc.record({
      attemptsMax: fc.integer({ min: 1, max: 1_000 }),
      delayMinMs: fc.integer({ min: 1, max: 1_000 }),
      delayMaxMs: fc.integer({ min: 1_000, max: 600_000 }),
      jitter: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(policies, fc.integer({ min: 0, max: 100_000 }), random, (each, failures, at) => {
        const waitMs = backoffMs(each, failures, at);
        expect(waitMs).toBeGreaterThanOrEqual(0);
        expect(waitMs).toBeLessThanOrEqual(longestBackoffMs(each));
      }),
    );
  });

  test.each([
    ["no attempt at all", { attemptsMax: 0 }],
    ["half an attempt", { attemptsMax: 1.5 }],
    ["no wait", { delayMinMs: 0 }],
    ["waits that shrink", { delayMinMs: 2_000 }],
    ["an endless wait", { delayMaxMs: Number.POSITIVE_INFINITY }],
    ["more jitter than delay", { jitter: 1.1 }],
    ["negative jitter", { jitter: -0.1 }],
  ])("refuses %s", (_what, change) => {
    expect(() => checkRetryPolicy({ ...policy, ...change })).toThrow();
    expect(() => checkRetryPolicy(policy)).not.toThrow();
  });
});
