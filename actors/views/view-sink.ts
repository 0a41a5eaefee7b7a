/**
 * The sink port: a store of a view on a server of its own, which takes a record again without
 * changing anything.
 *
 * A sink keeps no cursor: its records have ids that follow from the frame alone, so whoever feeds
 * it may give what is in doubt once more, and two who feed it the same do no harm. It refuses to
 * hold up what comes behind for a record that it cannot read: that is counted and passed by.
 */

import type { FeedRecord } from "../brokers/feed.ts";

export interface ViewSink {
  /**
   * Resolves once all of `records` are stored for good and will be found by readers within a
   * second. Records of one partition come in order. Rejects with `STORAGE_FAULT` or `STORAGE_FULL`
   * (retry `later`): all of them are given again.
   */
  append(records: readonly FeedRecord[]): Promise<void>;
  /** Housekeeping, in idle time where there is any: retention, roll-ups, seals. */
  maintain(nowMs: number): Promise<void>;
  /** Idempotent. */
  close(): Promise<void>;
}
