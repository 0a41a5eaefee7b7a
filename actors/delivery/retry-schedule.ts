/**
 * When a failed attempt is made again, and when it is given up: a function from numbers to numbers.
 *
 * Exponential back-off, a share of every delay random, so that frames that failed together do not
 * come back together ("Exponential Backoff and Jitter", AWS Architecture Blog, 2015). Refuses
 * policies whose delays shrink or that never end.
 */

import { assert } from "../../runtime/errors.ts";

export interface RetryPolicy {
  /** Attempts after which a frame is poison. Those ended by a crash or a close count as well. */
  readonly attemptsMax: number;
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  /** 0..1: the delay is spread over ± this share of itself. */
  readonly jitter: number;
  /** No attempt begins later than this after the frame was made; absent: however late. */
  readonly deadlineMs?: number;
}

export type RetryDecision =
  { readonly kind: "wait"; readonly delayMs: number } | { readonly kind: "poison" };

/** Throws `InvariantError` unless the policy's numbers fit each other. */
export function checkRetryPolicy(policy: RetryPolicy): void {
  const { attemptsMax, delayMinMs, delayMaxMs, jitter } = policy;
  assert(Number.isInteger(attemptsMax) && attemptsMax >= 1, "attemptsMax must be at least 1");
  assert(delayMinMs > 0 && delayMinMs <= delayMaxMs, "0 < delayMinMs <= delayMaxMs must hold");
  assert(Number.isFinite(delayMaxMs), "delayMaxMs must be finite");
  assert(jitter >= 0 && jitter <= 1, "jitter must be within 0..1");
  assert(policy.deadlineMs === undefined || policy.deadlineMs > 0, "deadlineMs must be positive");
}

/** What follows the failure of attempt `attempt` (from 1). `random` is uniform in [0, 1). */
export function afterFailure(policy: RetryPolicy, attempt: number, random: number): RetryDecision {
  if (attempt >= policy.attemptsMax) return { kind: "poison" };
  return { kind: "wait", delayMs: backoffMs(policy, attempt, random) };
}

/** min(delayMaxMs, delayMinMs · 2ⁿ⁻¹) · (1 ± jitter) for the n-th failure in a row. */
export function backoffMs(policy: RetryPolicy, failures: number, random: number): number {
  // 2 ** 52 is past every delayMaxMs; the exponent is capped so that the product stays finite.
  const doublings = Math.min(Math.max(failures - 1, 0), 52);
  const delayMs = Math.min(policy.delayMaxMs, policy.delayMinMs * 2 ** doublings);
  return delayMs * (1 + policy.jitter * (2 * random - 1));
}

/** The longest wait `backoffMs` can answer. */
export function longestBackoffMs(policy: RetryPolicy): number {
  return policy.delayMaxMs * (1 + policy.jitter);
}
