/** A child that dies just as it likes, in no time: its supervisor never gives up. */

import { describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import type { RestartPolicy } from "./view-restarts.ts";

import { decide } from "../../runtime/supervision/decide.ts";
import { restartsMax, THREAD_RESTARTS, VIEW_RESTARTS } from "./view-restarts.ts";

/** Waits are the shortest there are. */
const SHORTEST = 0;

/** The most restarts that counted at one time, when the child lives for `livesMs` in turn. */
function mostRestarts(policy: RestartPolicy, livesMs: readonly number[]): number {
  let nowMs = 0;
  let series = 0;
  let restartTimesMs: readonly number[] = [];
  let most = 0;
  for (const lifeMs of livesMs) {
    const startedAtMs = nowMs;
    nowMs += lifeMs;
    const child = { id: "view", restart: "permanent", alive: false, series, startedAtMs } as const;
    const exit = { kind: "abnormal", error: "died" } as const;
    const decision = decide(
      policy,
      new Map([["view", child]]),
      restartTimesMs,
      { childId: "view", exit },
      { nowMs, random: SHORTEST },
    );
    const [directive] = decision.directives;
    if (directive?.kind !== "restart") return Number.POSITIVE_INFINITY;
    nowMs += directive.afterMs;
    ({ series, restartTimesMs } = decision);
    most = Math.max(most, restartTimesMs.length);
  }
  return most;
}

function times(count: number, livesMs: readonly number[]): readonly number[] {
  return Array.from({ length: count }, () => livesMs).flat();
}

for (const [name, policy] of [
  ["the thread of the views", THREAD_RESTARTS],
  ["a view", VIEW_RESTARTS],
] as const) {
  const { backoff, periodMs, intensity } = policy;
  const bound = restartsMax(backoff, periodMs);

  describe(name, () => {
    test("that dies at once for ever is begun ever less often", () => {
      const most = mostRestarts(policy, times(1_000, [0]));
      expect(most).toBeGreaterThan(5);
      expect(most).toBeLessThan(20);
    });

    test("that lives just long enough for short waits again never ends its supervisor", () => {
      for (let quick = 1; quick <= 20; quick++) {
        const round = [...times(quick, [0]), backoff.resetAfterMs];
        const most = mostRestarts(policy, times(200, round));
        expect(most).toBeLessThanOrEqual(bound);
        expect(most).toBeLessThan(intensity);
      }
    });

    test("never ends its supervisor, however it dies", () => {
      const life = fc.constantFrom(0, 0, 0, 1, backoff.resetAfterMs - 1, backoff.resetAfterMs);
      fc.assert(
        fc.property(fc.array(life, { maxLength: 300 }), (lives) => {
          expect(mostRestarts(policy, lives)).toBeLessThanOrEqual(bound);
        }),
      );
    });
  });
}
