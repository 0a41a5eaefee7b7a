/**
 * How a view reads the log: batches, pace, and how it behaves when something fails.
 *
 * Plain values that are sent to the views' thread. A relation that does not hold stops the process
 * at import.
 */

import { assert } from "../../runtime/errors.ts";

export interface ViewSettings {
  /** A batch is applied at once when it has this many records, or this many bytes. */
  readonly recordsMax: number;
  readonly bytesMax: number;
  /** Otherwise what there is is applied after this time; also how often an idle view looks. */
  readonly flushMs: number;
  /**
   * Of a view on a server of its own: from one batch to the next under traffic. What comes after a
   * rest is stored at once.
   */
  readonly gatherMs: number;
  /** Between two words to the broker that what was applied need not be kept. */
  readonly releaseMs: number;
  /** Between two looks at how far behind it is. */
  readonly lagMs: number;
  /** Housekeeping: how often when idle, how often when never idle, and how long each time. */
  readonly maintainMs: number;
  readonly maintainBusyMs: number;
  readonly maintainBudgetMs: number;
  /** Wait after a failure, doubled each time. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

export const VIEW_SETTINGS: ViewSettings = {
  recordsMax: 1_000,
  bytesMax: 4 * 1_024 * 1_024,
  flushMs: 250,
  gatherMs: 500,
  releaseMs: 1_000,
  lagMs: 1_000,
  maintainMs: 1_000,
  maintainBusyMs: 30_000,
  maintainBudgetMs: 10,
  retryMinMs: 100,
  retryMaxMs: 5_000,
};

assert(VIEW_SETTINGS.flushMs <= VIEW_SETTINGS.releaseMs, "a release is worth several batches");
assert(VIEW_SETTINGS.retryMinMs < VIEW_SETTINGS.retryMaxMs, "retries get rarer");
