/**
 * Every bound of the delivery layer, and how they relate.
 *
 * A policy whose numbers contradict each other is refused when the consumer starts, not found out
 * under load.
 */

import type { RetryPolicy } from "./retry-schedule.ts";

import { assert } from "../../runtime/errors.ts";
import { checkRetryPolicy, longestBackoffMs } from "./retry-schedule.ts";

export interface DeliveryPolicy {
  readonly retry: RetryPolicy;
  /**
   * Attempts after which a frame is buried unhandled: it must have ended its handler's process
   * every time, since a handler that fails is given up on long before.
   */
  readonly deliveriesMax: number;
  /** Deliveries in hand at one time, whether handled, parked behind their key, or waiting. */
  readonly creditFrames: number;
  readonly creditBytes: number;
  /** A call of the handler that takes longer is given up: its messages are handled again. */
  readonly handleTimeoutMs: number;
  /** Calls of one message given up, while others came back, after which it is buried. */
  readonly hangsMax: number;
  /** How long the broker leaves a delivery with a consumer that does nothing about it. */
  readonly leaseMs: number;
  /** What becomes of a frame whose deadline passed before it was handled. `drop` is counted. */
  readonly expired: "bury" | "drop";
}

export const DELIVERY_POLICY: DeliveryPolicy = {
  retry: { attemptsMax: 12, delayMinMs: 50, delayMaxMs: 5_000, jitter: 0.2 },
  deliveriesMax: 100,
  creditFrames: 2_048,
  creditBytes: 8 * 1_024 * 1_024,
  handleTimeoutMs: 30_000,
  hangsMax: 3,
  leaseMs: 60_000,
  expired: "bury",
};

/** Throws `InvariantError` unless the numbers fit each other and `handled` calls at one time. */
export function checkPolicy(policy: DeliveryPolicy, handled: number): void {
  checkRetryPolicy(policy.retry);
  assert(handled >= 1, "at least one message must be handled at a time");
  assert(policy.creditFrames >= handled, "creditFrames must cover everything handled at one time");
  assert(policy.creditBytes > 0, "creditBytes must be positive");
  assert(policy.deliveriesMax > policy.retry.attemptsMax, "deliveriesMax must exceed attemptsMax");
  assert(policy.hangsMax >= 1, "hangsMax must be at least 1");
  assert(
    policy.handleTimeoutMs > 0 && policy.handleTimeoutMs < policy.leaseMs,
    "handleTimeoutMs must be positive and less than leaseMs",
  );
  assert(
    policy.leaseMs > longestBackoffMs(policy.retry),
    "leaseMs must exceed the longest wait for a retry",
  );
}
