/**
 * The decision as a table: every restart type, kind of exit and strategy, and where it gives up.
 *
 * Three children a, b, c run; b ends. Rows are written out, not computed, so that the table can be
 * read against the manual of OTP's `supervisor`.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import { decide, delayBeforeMs } from "./decide.ts";

import type { Exit, RestartType, Strategy } from "./child.ts";
import type { ChildState, Directive, RestartPolicy } from "./decide.ts";

type Row = readonly [RestartType, Exit["kind"], Strategy, string];

const TABLE: readonly Row[] = [
  ["permanent", "normal", "one_for_one", "restart b"],
  ["permanent", "normal", "one_for_all", "stop c, stop a, restart a b c"],
  ["permanent", "normal", "rest_for_one", "stop c, restart b c"],
  ["permanent", "shutdown", "one_for_one", "restart b"],
  ["permanent", "shutdown", "one_for_all", "stop c, stop a, restart a b c"],
  ["permanent", "shutdown", "rest_for_one", "stop c, restart b c"],
  ["permanent", "abnormal", "one_for_one", "restart b"],
  ["permanent", "abnormal", "one_for_all", "stop c, stop a, restart a b c"],
  ["permanent", "abnormal", "rest_for_one", "stop c, restart b c"],
  ["transient", "normal", "one_for_one", "rest b"],
  ["transient", "normal", "one_for_all", "rest b"],
  ["transient", "normal", "rest_for_one", "rest b"],
  ["transient", "shutdown", "one_for_one", "rest b"],
  ["transient", "shutdown", "one_for_all", "rest b"],
  ["transient", "shutdown", "rest_for_one", "rest b"],
  ["transient", "abnormal", "one_for_one", "restart b"],
  ["transient", "abnormal", "one_for_all", "stop c, stop a, restart a b c"],
  ["transient", "abnormal", "rest_for_one", "stop c, restart b c"],
  ["temporary", "normal", "one_for_one", "forget b"],
  ["temporary", "normal", "one_for_all", "forget b"],
  ["temporary", "normal", "rest_for_one", "forget b"],
  ["temporary", "shutdown", "one_for_one", "forget b"],
  ["temporary", "shutdown", "one_for_all", "forget b"],
  ["temporary", "shutdown", "rest_for_one", "forget b"],
  ["temporary", "abnormal", "one_for_one", "forget b"],
  ["temporary", "abnormal", "one_for_all", "forget b"],
  ["temporary", "abnormal", "rest_for_one", "forget b"],
];

const MOMENT = { nowMs: 10_000, random: 0.5 };

describe("A04 what happens to the family when b ends", () => {
  test("the table has every combination once", () => {
    expect(new Set(TABLE.map((row) => row.slice(0, 3).join())).size).toBe(27);
  });

  test.each([...TABLE])("%s, %s exit, %s: %s", (restart, kind, strategy, expected) => {
    const { directives } = decide(
      policy({ strategy }),
      family({ b: { restart, alive: false } }),
      [],
      { childId: "b", exit: exitOf(kind) },
      MOMENT,
    );
    expect(directives.map(show).join(", ")).toBe(expected);
  });
});

test("A05 a temporary sibling is stopped and forgotten, not restarted", () => {
  const children = family({ a: { restart: "temporary" }, b: { alive: false } });
  const { directives } = decideCrash(policy({ strategy: "one_for_all" }), children, []);
  expect(directives.map(show).join(", ")).toBe("stop c, stop a, forget a, restart b c");
});

test("siblings that had stopped by themselves are started again with the others", () => {
  const children = family({ a: { alive: false }, b: { alive: false }, c: { alive: false } });
  const { directives } = decideCrash(policy({ strategy: "one_for_all" }), children, []);
  expect(directives.map(show).join(", ")).toBe("restart a b c");
});

describe("A08 intensity and period", () => {
  const twoPerSecond = policy({ intensity: 2, periodMs: 1_000 });

  test("as many restarts as the intensity are made within the period", () => {
    const { directives, restartTimesMs } = decideCrash(twoPerSecond, family({}), [9_500]);
    expect(directives.map(show)).toEqual(["restart b"]);
    expect(restartTimesMs).toEqual([9_500, 10_000]);
  });

  test("one more gives up, naming the child", () => {
    const { directives } = decideCrash(twoPerSecond, family({}), [9_500, 9_600]);
    expect(directives).toEqual([{ kind: "give_up", childId: "b", restarts: 3 }]);
  });

  test("a restart exactly one period ago still counts, an older one does not", () => {
    expect(decideCrash(twoPerSecond, family({}), [9_000, 9_600]).directives.map(show)).toEqual([
      "give_up b",
    ]);
    const { directives, restartTimesMs } = decideCrash(twoPerSecond, family({}), [8_999, 9_600]);
    expect(directives.map(show)).toEqual(["restart b"]);
    expect(restartTimesMs).toEqual([9_600, 10_000]);
  });

  test("intensity 0 gives up at the first failure, but not for a child that may end", () => {
    const never = policy({ intensity: 0 });
    expect(decideCrash(never, family({}), []).directives.map(show)).toEqual(["give_up b"]);
    const children = family({ b: { restart: "temporary" } });
    expect(decideCrash(never, children, []).directives.map(show)).toEqual(["forget b"]);
  });

  test("no window of one period ever holds more restarts than the intensity", () => {
    const gaps = fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 60 });
    fc.assert(
      fc.property(gaps, fc.integer({ min: 0, max: 6 }), (gapsMs, intensity) => {
        let history: readonly number[] = [];
        const restartsMs: number[] = [];
        let nowMs = 0;
        for (const gapMs of gapsMs) {
          nowMs += gapMs;
          const rules = policy({ intensity, periodMs: 1_000 });
          const decision = decideCrash(rules, family({}), history, nowMs);
          history = decision.restartTimesMs;
          const recent = restartsMs.filter((timeMs) => nowMs - timeMs <= 1_000).length;
          const gaveUp = decision.directives[0]?.kind === "give_up";
          expect(gaveUp).toBe(recent + 1 > intensity);
          expect(history.length).toBeLessThanOrEqual(intensity + 1);
          if (gaveUp) return;
          restartsMs.push(nowMs);
        }
      }),
    );
  });
});

describe("A15 back-off", () => {
  const backoff = { minMs: 10, maxMs: 1_000, jitter: 0.2, resetAfterMs: 5_000 };

  test("delays double from the least to the most, within the jitter", () => {
    const middle = [0, 1, 2, 5, 6, 7, 1_000].map((n) => delayBeforeMs(backoff, n, 0.5));
    expect(middle).toEqual([10, 20, 40, 320, 640, 1_000, 1_000]);
    expect(delayBeforeMs(backoff, 0, 0)).toBeCloseTo(8);
    expect(delayBeforeMs(backoff, 9, 0.999_999)).toBeCloseTo(1_200, 1);
  });

  test("the series grows with each restart, failed starts included", () => {
    const fresh = family({ b: { alive: false, series: 3, startedAtMs: 9_000 } });
    expect(decideCrash(policy({ backoff }), fresh, [])).toMatchObject({
      series: 4,
      directives: [{ kind: "restart", afterMs: 80 }],
    });
    const failed = family({ b: { alive: false, series: 4, startedAtMs: undefined } });
    expect(decideCrash(policy({ backoff }), failed, [])).toMatchObject({
      series: 5,
      directives: [{ kind: "restart", afterMs: 160 }],
    });
  });

  test("a child that ran long enough starts a new series", () => {
    const old = family({ b: { alive: false, series: 7, startedAtMs: 5_000 } });
    expect(decideCrash(policy({ backoff }), old, [])).toMatchObject({
      series: 1,
      directives: [{ kind: "restart", afterMs: 10 }],
    });
  });

  test("without back-off there is no wait", () => {
    expect(delayBeforeMs(undefined, 9, 0.9)).toBe(0);
  });
});

test("an exit of somebody else's child is a broken promise", () => {
  const ended = { childId: "stranger", exit: exitOf("normal") };
  expect(() => decide(policy({}), family({}), [], ended, MOMENT)).toThrow("stranger");
});

function policy(fields: Partial<RestartPolicy>): RestartPolicy {
  return { strategy: "one_for_one", intensity: 3, periodMs: 5_000, ...fields };
}

function family(
  changes: Partial<Record<"a" | "b" | "c", Partial<ChildState>>>,
): ReadonlyMap<string, ChildState> {
  const children = new Map<string, ChildState>();
  for (const id of ["a", "b", "c"] as const) {
    const usual = { id, restart: "permanent", alive: true, series: 0, startedAtMs: 0 } as const;
    children.set(id, { ...usual, ...changes[id] });
  }
  return children;
}

function decideCrash(
  rules: RestartPolicy,
  children: ReadonlyMap<string, ChildState>,
  historyMs: readonly number[],
  nowMs = MOMENT.nowMs,
) {
  const ended = { childId: "b", exit: exitOf("abnormal") };
  return decide(rules, children, historyMs, ended, { nowMs, random: 0.5 });
}

function exitOf(kind: Exit["kind"]): Exit {
  return kind === "abnormal" ? { kind, error: new Error("crash") } : { kind };
}

function show(directive: Directive): string {
  if (directive.kind === "restart") return `restart ${directive.ids.join(" ")}`;
  return `${directive.kind} ${directive.kind === "give_up" ? directive.childId : directive.id}`;
}
