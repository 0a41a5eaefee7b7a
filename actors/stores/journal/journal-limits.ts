/**
 * The bounds of the journal, in one place.
 *
 * They are defaults where `JournalTuning` can set them, and fixed where changing them would change
 * the format or a guarantee. A relation that does not hold stops the process at import.
 */

import { assert } from "../../../runtime/errors.ts";
import type { JournalTuning } from "./journal-types.ts";

/** Partitions of all topics together: the log's index stores one in 16 bits. */
export const PARTS_MAX = 65_535;
export const ERROR_CHARS_MAX = 4_096;
export const KEY_CHARS_MAX = 1_024;
/** Findings named in a message; the rest are counted. */
export const DAMAGE_NAMED_MAX = 10;
/** Findings kept of one verification. */
export const DAMAGE_KEPT_MAX = 1_000;
export const ORDERS_PAGE_MAX = 1_000;
export const TIMELINE_PAGE_MAX = 1_000;
/** How long another process may hold the database (a backup, a shell) before we report a fault. */
export const BUSY_TIMEOUT_MS = 2_000;
/**
 * Share of `logBytesMax` kept for units that settle something and for timers: consumers must be
 * able to publish their results, or a full log could never drain.
 */
export const LOG_RESERVE_SHARE = 0.25;
/** Pruning steps `commit` makes by itself when the log is full. */
export const PRUNE_STEPS_MAX = 8;
export const PRUNE_STEP_ROWS = 4_096;
/** Grain of the time at which a row of table `fraud` was last written. */
export const WRITTEN_GRAIN_MS = 86_400_000;
/** Rows read between two looks at the clock while verifying. */
export const SCRUB_SLICE_ROWS = 256;

export const JOURNAL_TUNING: JournalTuning = {
  segmentRecords: 4_096,
  walFramesSoft: 2_000,
  walFramesHard: 16_000,
  cacheBytes: 32 * 1024 * 1024,
  verifyBudgetMs: 500,
  reopensMax: 3,
};

assert(JOURNAL_TUNING.walFramesSoft < JOURNAL_TUNING.walFramesHard, "maintain comes before commit");
assert(LOG_RESERVE_SHARE > 0 && LOG_RESERVE_SHARE < 1, "the log keeps some room in reserve");
