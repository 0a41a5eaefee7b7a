/**
 * Windows: which minute and hour an event belongs to, and what is too late or too early for them.
 *
 * Windows tumble in event time. What is late is decided against the time at which the broker stored
 * the record, never against the clock of the reader: a view that was down for a day, or is built
 * anew from the log, puts every event where it was put the first time. An event that is older than
 * the lateness does not change its window any more, and one that is ahead of its receipt by more
 * than the allowance has no window yet; both are counted as `late` and `future`, in the minute of
 * their receipt.
 */

import type { Placing } from "./behavior-columns.ts";

export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 86_400_000;

export const GRANULARITIES = ["minute", "hour"] as const;
export type Granularity = (typeof GRANULARITIES)[number];

export const WINDOW_MS: Readonly<Record<Granularity, number>> = {
  minute: MINUTE_MS,
  hour: HOUR_MS,
};

export interface WindowSettings {
  /** How much older than its receipt an event may be to count in its window. */
  readonly latenessMs: number;
  /** How far ahead of its receipt an event's time may be. */
  readonly aheadMs: number;
}

export type PlacingKind = "counted" | "late" | "future";

export function windowStart(atMs: number, windowMs: number): number {
  return atMs - (atMs % windowMs);
}

/** The minute for an event of `atMs` that was stored at `storedAtMs`, and how it counts there. */
export function placeEvent(
  atMs: number,
  storedAtMs: number,
  { latenessMs, aheadMs }: WindowSettings,
): Placing<PlacingKind> {
  const oldestMs = storedAtMs - latenessMs;
  const newestMs = storedAtMs + aheadMs;
  if (atMs < oldestMs) return { ...receipt(storedAtMs), kind: "late", fromMs: 0, toMs: oldestMs };
  if (atMs > newestMs) {
    const toMs = Number.MAX_VALUE;
    return { ...receipt(storedAtMs), kind: "future", fromMs: newestMs + 1, toMs };
  }
  const startMs = windowStart(atMs, MINUTE_MS);
  return {
    kind: "counted",
    startMs,
    fromMs: Math.max(startMs, oldestMs),
    toMs: Math.min(startMs + MINUTE_MS, newestMs + 1),
  };
}

function receipt(storedAtMs: number) {
  return { startMs: windowStart(storedAtMs, MINUTE_MS) };
}
