/**
 * Durations of a run, kept one by one and summed up exactly.
 *
 * No buckets and no sampling: a run has at most a few million durations, eight bytes each. A
 * percentile is the nearest-rank one, a value that was really measured.
 */

import { assert } from "../runtime/errors.ts";

export interface LatencySummary {
  readonly count: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export interface LatencyRecorder {
  record(durationMs: number): void;
  summary(): LatencySummary;
}

const DURATIONS_MAX = 20_000_000;

export function createLatencyRecorder(): LatencyRecorder {
  let values = new Float64Array(1_024);
  let count = 0;
  return {
    record(durationMs) {
      if (count === values.length) {
        assert(count < DURATIONS_MAX, `a run keeps at most ${DURATIONS_MAX} durations`);
        const larger = new Float64Array(count * 2);
        larger.set(values);
        values = larger;
      }
      values[count++] = durationMs;
    },
    summary: () => summarize(values.slice(0, count)),
  };
}

/** Nearest-rank percentiles; zeros when nothing was measured. */
export function summarize(durationsMs: Float64Array | readonly number[]): LatencySummary {
  const sorted = Float64Array.from(durationsMs).sort();
  const rank = (share: number): number => {
    const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
    return Math.round(value * 100) / 100;
  };
  return {
    count: sorted.length,
    p50Ms: rank(0.5),
    p95Ms: rank(0.95),
    p99Ms: rank(0.99),
    maxMs: rank(1),
  };
}
