/**
 * What a supervisor does when a child ends: a function from data to directives.
 *
 * Strategies, restart types, intensity and period are those of Erlang/OTP's `supervisor`. There is
 * no clock, no randomness and no I/O here: time and one random number are arguments, and whoever
 * calls carries the directives out, in the order given. Two deliberate differences to OTP: a wait
 * before a restart (`Backoff`), and a supervisor that gives up has failed, not shut down.
 */

import { assert } from "../errors.ts";

import type { Backoff, Exit, RestartType, SupervisorSpec } from "./child.ts";

/** 2ⁿ is not computed beyond this n; `maxMs` is reached long before. */
const BACKOFF_EXPONENT_MAX = 40;

export type RestartPolicy = Pick<SupervisorSpec, "strategy" | "intensity" | "periodMs" | "backoff">;

export interface ChildState {
  readonly id: string;
  readonly restart: RestartType;
  /** There is an incarnation that must end before another may start. */
  readonly alive: boolean;
  /** Restarts in the current series: the n of `Backoff`. */
  readonly series: number;
  /** Monotonic time of the last start that succeeded; `undefined` when the last one failed. */
  readonly startedAtMs: number | undefined;
}

export interface ChildExit {
  readonly childId: string;
  /** A restart that failed is an abnormal exit. */
  readonly exit: Exit;
}

export interface Moment {
  /** Monotonic. */
  readonly nowMs: number;
  /** Uniform in [0, 1). */
  readonly random: number;
}

export type Directive =
  /** End this child, by its own shutdown rule, and wait until it has ended. */
  | { readonly kind: "stop"; readonly id: string }
  /** Drop the child and its specification. */
  | { readonly kind: "forget"; readonly id: string }
  /** Leave the child stopped; its specification is kept. */
  | { readonly kind: "rest"; readonly id: string }
  /** Wait, then start these one after the other. */
  | { readonly kind: "restart"; readonly ids: readonly string[]; readonly afterMs: number }
  /** End every child and this supervisor. */
  | { readonly kind: "give_up"; readonly childId: string; readonly restarts: number };

export interface Decision {
  readonly directives: readonly Directive[];
  /** Monotonic times of the restarts that still count, oldest first; at most intensity + 1. */
  readonly restartTimesMs: readonly number[];
  /** The new `series` of the child that ended. */
  readonly series: number;
}

/**
 * Decides about one exit. `children` are all siblings in start order, the one that ended included.
 * Cost does not grow with the number of children under `one_for_one`.
 */
export function decide(
  policy: RestartPolicy,
  children: ReadonlyMap<string, ChildState>,
  restartTimesMs: readonly number[],
  ended: ChildExit,
  moment: Moment,
): Decision {
  const child = children.get(ended.childId);
  assert(child !== undefined, `${ended.childId} is not a child of this supervisor`);
  if (!mustRestart(child.restart, ended.exit)) {
    const kind = child.restart === "temporary" ? "forget" : "rest";
    return { directives: [{ kind, id: child.id }], restartTimesMs, series: 0 };
  }

  const counted = [...restartTimesMs, moment.nowMs].filter(
    (timeMs) => moment.nowMs - timeMs <= policy.periodMs,
  );
  const n = countSeries(policy.backoff, child, moment.nowMs);
  const progress = { restartTimesMs: counted, series: n + 1 };
  if (counted.length > policy.intensity) {
    const giveUp = { kind: "give_up", childId: child.id, restarts: counted.length } as const;
    return { directives: [giveUp], ...progress };
  }

  const affected = listAffected(policy, children, child);
  const restarted = affected.filter((each) => each.restart !== "temporary");
  const directives: Directive[] = [];
  for (const each of affected.toReversed()) {
    if (each !== child && each.alive) directives.push({ kind: "stop", id: each.id });
    if (each.restart === "temporary") directives.push({ kind: "forget", id: each.id });
  }
  directives.push({
    kind: "restart",
    ids: restarted.map((each) => each.id),
    afterMs: delayBeforeMs(policy.backoff, n, moment.random),
  });
  return { directives, ...progress };
}

/** min(maxMs, minMs · 2ⁿ) · (1 ± jitter), 0 without back-off. `random` is uniform in [0, 1). */
export function delayBeforeMs(backoff: Backoff | undefined, n: number, random: number): number {
  if (backoff === undefined) return 0;
  const growth = 2 ** Math.min(n, BACKOFF_EXPONENT_MAX);
  const baseMs = Math.min(backoff.maxMs, backoff.minMs * growth);
  return baseMs * (1 + backoff.jitter * (2 * random - 1));
}

function mustRestart(restart: RestartType, exit: Exit): boolean {
  switch (restart) {
    case "permanent":
      return true;
    case "transient":
      return exit.kind === "abnormal";
    case "temporary":
      return false;
  }
}

function countSeries(backoff: Backoff | undefined, child: ChildState, nowMs: number): number {
  if (backoff === undefined || child.startedAtMs === undefined) return child.series;
  return nowMs - child.startedAtMs >= backoff.resetAfterMs ? 0 : child.series;
}

/** In start order. As in OTP, siblings that had stopped are started again with the others. */
function listAffected(
  policy: RestartPolicy,
  children: ReadonlyMap<string, ChildState>,
  child: ChildState,
): readonly ChildState[] {
  switch (policy.strategy) {
    case "one_for_one":
      return [child];
    case "one_for_all":
      return [...children.values()];
    case "rest_for_one": {
      const all = [...children.values()];
      return all.slice(all.indexOf(child));
    }
  }
}
