/**
 * How a view is doing, from what its thread counted of it last.
 *
 * A view is degraded when its last try failed, when its thread does not run, or when the oldest
 * record that it has still to take is older than it may be. It never makes more of it than that:
 * no order waits for a view.
 */

import type { Sample } from "../runtime/threads/counter-page.ts";
import type { ServiceHealth } from "./http/gateway-ports.ts";

export interface ViewHealthOptions {
  readonly samples: readonly Sample[];
  /** The thread of the views runs. */
  readonly isRunning: boolean;
  /** Age of the oldest record not taken from which on the view is degraded. */
  readonly lagDegradedMs: number;
  readonly checkedMs: number;
}

export function viewHealth(view: string, options: ViewHealthOptions): ServiceHealth {
  const { samples, isRunning, lagDegradedMs, checkedMs } = options;
  const lagRecords = valueOf(samples, "shopstream_view_lag_records", view);
  const lagSeconds = valueOf(samples, "shopstream_view_lag_seconds", view);
  const isFailing = valueOf(samples, "shopstream_view_failing", view) > 0;
  const isLate = lagSeconds * 1_000 > lagDegradedMs;
  const problem = !isRunning
    ? "the thread of the views does not run"
    : isFailing
      ? "its last try failed"
      : isLate
        ? "it is late"
        : undefined;
  // Nothing may also mean that nobody has been able to look yet.
  const behind =
    lagRecords === 0 ? "" : `: ${lagRecords} records behind, the oldest of them ${lagSeconds} s`;
  return {
    name: view,
    status: problem === undefined ? "up" : "degraded",
    latencyMs: lagSeconds * 1_000,
    errorRate: isFailing || !isRunning ? 1 : 0,
    lastCheckedMs: checkedMs,
    ...(problem === undefined ? {} : { detail: `${problem}${behind}` }),
  };
}

function valueOf(samples: readonly Sample[], name: string, view: string): number {
  const found = samples.find((sample) => sample.name === name && sample.labels["view"] === view);
  return found === undefined || found.kind === "histogram" ? 0 : found.value;
}
