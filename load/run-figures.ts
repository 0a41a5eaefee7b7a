/**
 * Rates and latencies of a run, from its evidence.
 *
 * An order is complete when it was shipped. That moment is the shop's own, from the timeline; the
 * moment the order was due is the client's: both come from one machine's wall clock, so that
 * nothing has to poll while the run is measured. Figures of a shop on another machine carry the
 * difference of the two clocks.
 */

import { summarize } from "./latency-summary.ts";
import type { Evidence, TimelineEvent } from "./evidence.ts";
import type { LatencySummary } from "./latency-summary.ts";

export interface RunFigures {
  readonly accepted: RateFigures;
  readonly complete: RateFigures;
  /** `order.created` to `payment.processed`, both from the timeline. */
  readonly payment: LatencySummary;
  /** Tries that did not end in a 2xx, of all tries. */
  readonly errorShare: number;
  readonly failures: Readonly<Record<string, number>>;
}

export interface RateFigures {
  readonly count: number;
  /** `count` over the time from the first intended order to the last such event. */
  readonly perSecond: number;
  /** From the moment an order was due. */
  readonly latency: LatencySummary;
}

export interface Submission {
  /** Intended moment to 2xx. */
  readonly latency: LatencySummary;
  /** From the first intended moment to the last outcome. */
  readonly durationMs: number;
  readonly failures: ReadonlyMap<string, number>;
}

export function figuresOf(evidence: Evidence, submission: Submission): RunFigures {
  const firstMs = evidence.attempts.reduce(
    (least, attempt) => Math.min(least, attempt.intendedAtMs),
    Infinity,
  );
  const completeMs: number[] = [];
  const paymentMs: number[] = [];
  let lastShippedMs = firstMs;
  for (const { outcome, intendedAtMs } of evidence.attempts) {
    const id = outcome.kind === "acknowledged" ? outcome.orderIds[0] : undefined;
    const timeline = evidence.timelines.get(id ?? "") ?? [];
    const createdMs = timeOf(timeline, "order.created");
    const paidMs = timeOf(timeline, "payment.processed");
    const shippedMs = timeOf(timeline, "order.shipped");
    if (createdMs !== undefined && paidMs !== undefined) paymentMs.push(paidMs - createdMs);
    if (shippedMs === undefined) continue;
    completeMs.push(shippedMs - intendedAtMs);
    lastShippedMs = Math.max(lastShippedMs, shippedMs);
  }
  const failed = [...submission.failures.values()].reduce((sum, count) => sum + count, 0);
  const tries = submission.latency.count + failed;
  return {
    accepted: {
      count: submission.latency.count,
      perSecond: perSecond(submission.latency.count, submission.durationMs),
      latency: submission.latency,
    },
    complete: {
      count: completeMs.length,
      perSecond: perSecond(completeMs.length, lastShippedMs - firstMs),
      latency: summarize(completeMs),
    },
    payment: summarize(paymentMs),
    errorShare: tries === 0 ? 0 : failed / tries,
    failures: Object.fromEntries(submission.failures),
  };
}

function timeOf(timeline: readonly TimelineEvent[], type: string): number | undefined {
  return timeline.find((event) => event.type === type)?.atMs;
}

function perSecond(count: number, durationMs: number): number {
  return durationMs <= 0 ? 0 : Math.round((count / durationMs) * 10_000) / 10;
}
