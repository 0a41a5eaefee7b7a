/**
 * The feed port: a log read in order by someone who keeps the position beside what came of it.
 *
 * A group acknowledges to the broker; a reader of a feed writes the cursor into its own database,
 * in the transaction of the effects, so that after a crash it goes on exactly where its effects
 * end. The broker keeps every record until the reader has released it. Order holds per partition;
 * a record appears once as long as the cursor is carried on.
 */

import type { FeedReading } from "./feed-reading.ts";

/** Opaque: where a feed stands, as text that its own adapter wrote. */
export type FeedCursor = string;

/** One record; `bytes` is the frame as it was published, not checked, perhaps not even a frame. */
export interface FeedRecord {
  readonly topic: string;
  readonly partition: number;
  /** Position in the partition: starts at 1, without gaps. */
  readonly sequence: number;
  readonly bytes: Uint8Array;
  /** When the broker stored it, ms since the epoch. */
  readonly storedAtMs: number;
  /** Of a record that several readers share, see `readingOf`. */
  readonly reading?: FeedReading;
}

/** Records that follow a cursor, and the cursor that follows them. */
export interface FeedBatch {
  readonly records: readonly FeedRecord[];
  readonly cursor: FeedCursor;
}

export interface FeedLag {
  readonly records: number;
  /** 0 when there is none. */
  readonly ageMs: number;
}

export interface Feed {
  /**
   * Up to `recordsMax` records with at most `bytesMax` bytes together (at least one when there is
   * one) after `cursor`; `undefined` starts at the oldest that is kept. Resolves with no records
   * when there are none. Rejects with `DATA_DAMAGED` naming the record, `STALE` when records after
   * the cursor are gone or the log ends before it, `STORAGE_FAULT` or `CLOSED`. What comes before
   * a loss is given first. The cursor of a batch may be further than its records: what follows it
   * concerned no topic of the feed.
   */
  read(cursor: FeedCursor | undefined, recordsMax: number, bytesMax: number): Promise<FeedBatch>;
  /**
   * The cursor of a reader that has reported the loss `read` rejected with (`STALE` or
   * `DATA_DAMAGED`) and goes on with the oldest record that is kept behind it. Never before
   * `cursor`: nothing that was read comes again.
   */
  passLoss(cursor: FeedCursor | undefined): Promise<FeedCursor>;
  /** Everything up to `cursor` is safe with the reader: the broker need not keep it for it. */
  release(cursor: FeedCursor): Promise<void>;
  /** Records after `cursor`, and the age of the oldest of them. */
  lag(cursor: FeedCursor | undefined): Promise<FeedLag>;
  /** The same after what was released last: for a reader that cannot tell where it stands. */
  unreleased(): Promise<FeedLag>;
  close(): Promise<void>;
}

/** What turns a feed into a store of its own: audit, analytics. */
export interface Projection {
  readonly name: string;
  readonly topics: readonly string[];
  /** Where its effects end; `undefined`: it has none yet. */
  cursor(): FeedCursor | undefined;
  /**
   * Applies `batch` and remembers its cursor, both or neither, durable on return. What it cannot
   * read of a record it counts and passes by; it never holds up what comes behind. Throws a
   * `ShopError` for storage that fails: the batch is given again.
   */
  apply(batch: FeedBatch): void;
  /** Housekeeping in idle time, for at most about `budgetMs`. */
  maintain(nowMs: number, budgetMs: number): void;
  /** Idempotent. */
  close(): void;
}
