/**
 * Sends one order until it has an outcome, as an honest client does.
 *
 * Every try of an order carries the same Idempotency-Key. A refused connection or a 503 is tried
 * again after a wait; a cut connection, a 5xx or a time-out too, and is remembered: an order that
 * never gets its 2xx is `ambiguous` if any try may have been received, `refused` otherwise. Tries
 * end with a deadline, never with a guess.
 */

import { describeError, isShopError } from "../runtime/errors.ts";
import { createLatencyRecorder } from "./latency-summary.ts";
import type { Attempt, Outcome, PlannedOrder } from "./evidence.ts";
import type { LatencyRecorder } from "./latency-summary.ts";
import type { OrderPlan } from "./order-plan.ts";
import type { PostAnswer, ShopClient } from "./shop-client.ts";
import type { Submit } from "./arrivals.ts";

export interface SubmitterOptions {
  readonly client: ShopClient;
  readonly plan: OrderPlan;
  /** From the first try of an order to giving up. */
  readonly deadlineMs: number;
  /** Longest wait before try n: doubles from the first to the second; half of it is random. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** Every n-th order is sent twice at the same time under one key; 0: none. */
  readonly twinEvery: number;
  /** Called at every 2xx with the times of `performance.now()` of its try and of its arrival. */
  readonly onAccepted?: (sentMs: number, acceptedMs: number) => void;
}

export interface Submitter {
  readonly submit: Submit;
  readonly attempts: readonly Attempt[];
  /** From the intended moment to the 2xx. */
  readonly latency: LatencyRecorder;
  /** Tries that did not end in a 2xx, by what they ended in. */
  readonly failures: ReadonlyMap<string, number>;
  /** When the oldest order without an outcome was due; `Infinity` when there is none. */
  oldestOpenMs(): number;
}

export function createSubmitter(options: SubmitterOptions): Submitter {
  const attempts: Attempt[] = [];
  const failures = new Map<string, number>();
  const latency = createLatencyRecorder();
  const open = new Map<number, number>();

  function count(failure: string): void {
    failures.set(failure, (failures.get(failure) ?? 0) + 1);
  }

  async function submit(index: number, intendedMs: number): Promise<void> {
    const order = options.plan.order(index);
    open.set(index, intendedMs);
    const twin = options.twinEvery > 0 && index % options.twinEvery === 0;
    const tries = [sendUntilAnswered(order, options, count)];
    if (twin) tries.push(sendUntilAnswered(order, options, count));
    const outcome = merge(await Promise.all(tries));
    if (outcome.kind === "acknowledged") latency.record(performance.now() - intendedMs);
    open.delete(index);
    attempts.push({ order, outcome, intendedAtMs: performance.timeOrigin + intendedMs });
  }

  return { submit, attempts, latency, failures, oldestOpenMs: () => Math.min(...open.values()) };
}

async function sendUntilAnswered(
  order: PlannedOrder,
  options: SubmitterOptions,
  count: (failure: string) => void,
): Promise<Outcome> {
  const dueMs = performance.now() + options.deadlineMs;
  let received: string | undefined;
  let lastReason = "";
  let longestMs = options.retryMinMs;
  do {
    const sentMs = performance.now();
    const result = await tryOnce(order, options.client);
    if (result.kind === "accepted") {
      options.onAccepted?.(sentMs, performance.now());
      const { id, totalMinor } = result.order;
      return { kind: "acknowledged", orderIds: [id], totalMinor };
    }
    count(result.reason);
    lastReason = "detail" in result ? `${result.reason}: ${result.detail}` : result.reason;
    if (result.kind === "refused") break;
    if (result.kind === "failed") received = lastReason;
    // A shop that is down must not be met by all of its clients at once when it is back.
    const backoffMs = longestMs * (0.5 + Math.random() / 2);
    longestMs = Math.min(options.retryMaxMs, longestMs * 2);
    const waitMs = result.kind === "busy" ? result.retryAfterMs : backoffMs;
    await Bun.sleep(Math.max(0, Math.min(waitMs, dueMs - performance.now())));
  } while (performance.now() < dueMs);
  if (received !== undefined) return { kind: "ambiguous", reason: received };
  return { kind: "refused", reason: lastReason };
}

type Try = PostAnswer | { readonly kind: "unsent"; readonly reason: string };

async function tryOnce(order: PlannedOrder, client: ShopClient): Promise<Try> {
  try {
    return await client.postOrder(order);
  } catch (error) {
    const reason = describeError(error);
    if (isShopError(error, "CLOSED", "SATURATED")) return { kind: "unsent", reason };
    return { kind: "failed", reason, detail: "" };
  }
}

/** Several sends of one key: every id that was acknowledged counts, once each. */
function merge(outcomes: readonly Outcome[]): Outcome {
  const acknowledged = outcomes.filter((outcome) => outcome.kind === "acknowledged");
  const first = acknowledged[0];
  if (first !== undefined) {
    const orderIds = [...new Set(acknowledged.flatMap((outcome) => outcome.orderIds))];
    return { kind: "acknowledged", orderIds, totalMinor: first.totalMinor };
  }
  const ambiguous = outcomes.find((outcome) => outcome.kind === "ambiguous");
  return ambiguous ?? outcomes[0] ?? { kind: "refused", reason: "never sent" };
}
