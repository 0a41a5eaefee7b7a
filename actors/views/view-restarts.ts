/**
 * How often views, and their thread, are begun again: for ever, and never so often that it counts.
 *
 * Nothing on the way of an order waits for a view, so no supervisor of one may ever give up. Waits
 * double while a child does not live long; one that lives just long enough each time begins with
 * short waits again, which is what the bound must hold for. It is checked at import.
 */

import type { SupervisorSpec } from "../../runtime/supervision/child.ts";

import { assert } from "../../runtime/errors.ts";
import { VIEWS } from "../contracts/topics.ts";

type Backoff = NonNullable<SupervisorSpec["backoff"]>;

/** All of a supervisor but its name and its children. */
export type RestartPolicy = Required<
  Pick<SupervisorSpec, "strategy" | "intensity" | "periodMs" | "backoff">
>;

/** Of the thread, as a child of the shop. */
export const THREAD_RESTARTS: RestartPolicy = {
  strategy: "one_for_one",
  intensity: 240,
  periodMs: 60_000,
  backoff: { minMs: 10, maxMs: 10_000, jitter: 0.2, resetAfterMs: 10_000 },
};

/** Of the views, as children of their thread. */
export const VIEW_RESTARTS: RestartPolicy = {
  strategy: "one_for_one",
  intensity: 240,
  periodMs: 60_000,
  backoff: { minMs: 50, maxMs: 10_000, jitter: 0.2, resetAfterMs: 30_000 },
};

/** No child is begun again more often than this within `periodMs`, whatever it does. */
export function restartsMax(backoff: Backoff, periodMs: number): number {
  const { minMs, maxMs, jitter, resetAfterMs } = backoff;
  const doublings = Math.ceil(Math.log2(maxMs / minMs));
  const ofOneSeries = doublings + 1 + Math.ceil(periodMs / (maxMs * (1 - jitter)));
  const series = Math.floor(periodMs / resetAfterMs) + 1;
  return ofOneSeries * series;
}

assertEndless(THREAD_RESTARTS, 1);
assertEndless(VIEW_RESTARTS, Object.keys(VIEWS).length);

function assertEndless({ backoff, periodMs, intensity }: RestartPolicy, children: number): void {
  const most = restartsMax(backoff, periodMs) * children;
  assert(most <= intensity, `${most} restarts within ${periodMs} ms must be allowed`);
}
