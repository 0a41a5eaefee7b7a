/**
 * What the journal takes and gives, as types.
 *
 * The journal is synchronous and lives in one thread; whoever owns that thread turns these values
 * into messages. Expected failures of one unit are outcomes, not exceptions: a unit that is refused
 * must not disturb the others of its transaction. What a method throws, ends the thread.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { ShopError } from "../../../runtime/errors.ts";
import type {
  Burial,
  DeadLetter,
  DeliveryRef,
  Postponement,
  SettleResult,
} from "../../brokers/broker.ts";
import type { PassedRange } from "../../brokers/log-source.ts";
import type { CommitResult, Row, Table, UnitOfWork } from "../unit-of-work.ts";

/** How long and how much is kept. Nothing that a registered group has not settled is removed. */
export interface Retention {
  /** Settled log records older than this are removed. */
  readonly logAgeMs: number;
  /** Payload bytes of the log at which new publishes are refused with `STORAGE_FULL`. */
  readonly logBytesMax: number;
  /** How long a processed message id is remembered. */
  readonly inboxAgeMs: number;
  /** How long a row of table `idempotency` is kept after its last write. */
  readonly idempotencyAgeMs: number;
  /** How long a row of table `fraud` is kept after its last write, and up to a day longer. */
  readonly fraudAgeMs: number;
  /** Dead letters beyond this are dropped, oldest first, and counted. */
  readonly deadLettersMax: number;
}

/** Where a test may throw an error that looks like SQLite's (`code: "SQLITE_IOERR_FSYNC"`). */
export type FaultPoint = "open" | "begin" | "unit" | "commit" | "committed" | "checkpoint";

export interface JournalTuning {
  /** Log records a segment of the index holds; also the grain of retention by age. */
  readonly segmentRecords: number;
  /** WAL frames from which `maintain` copies pages back into the database. */
  readonly walFramesSoft: number;
  /** WAL frames from which `commit` does it itself, before the next transaction. */
  readonly walFramesHard: number;
  readonly cacheBytes: number;
  /** Most time spent on verifying, at open, what is not necessary to start. */
  readonly verifyBudgetMs: number;
  /** Failed reopens in a row after which the journal gives up. */
  readonly reopensMax: number;
}

export interface JournalOptions {
  /** Created when missing. One process at a time: `DATA_DIRECTORY_IN_USE`. */
  readonly directory: string;
  /** Partitions of every topic; fixed for the life of the data. */
  readonly slots: number;
  readonly topics: readonly string[];
  readonly environment: Environment;
  readonly retention: Retention;
  /** Default `refuse`. */
  readonly onDamage?: "refuse" | "quarantine";
  readonly tuning?: Partial<JournalTuning>;
  readonly faults?: (point: FaultPoint) => void;
  /**
   * Consumer groups that will have members; absent: all that are known. Those that join later
   * count as well. What any other has not read goes once the log is over its size.
   */
  readonly groups?: readonly string[];
  /** Records were removed that `group`, of which nobody is a member, had not read. */
  readonly onUnreadDropped?: (group: string) => void;
}

/** One thing to commit: a unit of work and what it settles, all or nothing. */
export interface JournalUnit {
  readonly unit: UnitOfWork;
  readonly acks: readonly DeliveryRef[];
  readonly postponements?: readonly JournalPostponement[];
  readonly burials?: readonly JournalBurial[];
  /** Records that do not concern a group, settled without having been handed out. */
  readonly passed?: readonly PassedRange[];
  /** Moves up to so many due timers to the log, and does nothing else; refused: none. */
  readonly timersFiredMax?: number;
}

export interface JournalPostponement {
  readonly delivery: DeliveryRef;
  readonly postponement: Postponement;
}

export interface JournalBurial {
  readonly delivery: DeliveryRef;
  readonly burial: Burial;
}

/** A reader of the log that keeps its own cursor; see `feed-groups.ts`. */
export interface FeedGroup {
  readonly name: string;
  readonly topics: readonly string[];
}

/** How far a feed needs nothing more of a topic: by partition, the last sequence; 0: nothing. */
export interface ReleasedTopic {
  readonly topic: string;
  readonly sequences: readonly number[];
}

/** What a feed has not released. */
export interface FeedStanding {
  readonly records: number;
  /** When the oldest of them was stored, ms since the epoch; absent: there is none. */
  readonly oldestAtMs?: number;
}

/** A group that holds much of the log. */
export interface LogHolder {
  readonly group: string;
  readonly records: number;
  /** Of `logBytesMax`, about. */
  readonly share: number;
}

export interface LogHolders {
  /** The group that holds most of the log, when that is much. */
  readonly largest?: LogHolder;
  /** Groups for which records are kept though nobody is a member of them, so far. */
  readonly unattended: readonly Omit<LogHolder, "share">[];
}

export interface FeedRelease {
  readonly name: string;
  readonly released: readonly ReleasedTopic[];
}

/** A frame in the log. `bytes` of an appended record are those that were given, not a copy. */
export interface LogRecord {
  readonly topic: string;
  readonly partition: number;
  readonly sequence: number;
  readonly bytes: Uint8Array;
}

export interface JournalCommitted {
  readonly kind: "committed";
  /** In the order of `unit.outgoing`. */
  readonly appended: readonly LogRecord[];
  /** One per ack, postponement and burial, in their order. */
  readonly acks: readonly SettleResult[];
  readonly postponements: readonly SettleResult[];
  readonly burials: readonly SettleResult[];
}

/**
 * `refused`: nothing of this unit was written. Codes: `UNKNOWN_TOPIC`, `BAD_FRAME`, `BAD_MESSAGE`
 * (the unit itself), `STALE` (settles what the journal does not know), `STORAGE_FULL`,
 * `STORAGE_FAULT`. It is never left open whether a unit was committed.
 */
export type JournalOutcome =
  | JournalCommitted
  | Exclude<CommitResult, { readonly kind: "committed" }>
  | { readonly kind: "refused"; readonly error: ShopError };

/** How far a group is in one partition. */
export interface PartitionPosition {
  readonly topic: string;
  readonly partition: number;
  /** Everything at or below is settled. */
  readonly position: number;
  /** Settled sequences above `position`, ascending. */
  readonly settledAbove: readonly number[];
  /** Ascending by sequence. */
  readonly postponed: readonly Postponed[];
  /** Sequence of the newest record of the partition; 0 when there was never one. */
  readonly last: number;
}

export interface Postponed {
  readonly sequence: number;
  readonly attempt: number;
  readonly notBeforeMs: number;
  readonly firstError: string;
  readonly lastError: string;
}

/** A dead letter with what could still be read of its frame. */
export interface JournalDeadLetter extends DeadLetter {
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Time in the frame's header, ms since the epoch. */
  readonly frameTimeMs?: number;
}

/** One finding of a verification. */
export interface Damage {
  readonly what: "log" | "timer" | "row" | "timeline" | "position" | "index" | "dead_letter";
  readonly topic?: string;
  readonly partition?: number;
  readonly sequence?: number;
  readonly table?: string;
  readonly key?: string;
  readonly reason: string;
}

export interface PruneResult {
  readonly logRecords: number;
  readonly inboxMarks: number;
  readonly idempotencyRows: number;
  readonly fraudRows: number;
  readonly deadLetters: number;
  /** False when the budget ran out before the work did. */
  readonly done: boolean;
}

export interface JournalStats {
  readonly logRecords: number;
  readonly logBytes: number;
  readonly deadLetters: number;
  readonly deadLettersDropped: number;
  readonly inboxMarks: number;
  /** Transactions since the data directory was made. */
  readonly batches: number;
  readonly walFrames: number;
  readonly databaseBytes: number;
  readonly checkpoints: number;
  readonly reopens: number;
  /** Times everything stored has been verified since the journal was opened. */
  readonly scrubRounds: number;
}

/** The journal. Everything is synchronous; nothing may be called after `close`. */
export interface Journal {
  /** What was found at open; under policy `refuse` there is nothing, or there is no journal. */
  readonly damage: readonly Damage[];
  /**
   * Commits every unit that can be committed in one transaction, durable on return. Later units
   * see the effects of earlier ones. Throws when the journal is beyond repair.
   */
  commit(units: readonly JournalUnit[]): readonly JournalOutcome[];
  /**
   * Up to `framesMax` records after `afterSequence` with at most `bytesMax` bytes together, but at
   * least one when there is one. Throws `DATA_DAMAGED` naming the record.
   */
  read(
    topic: string,
    partition: number,
    afterSequence: number,
    framesMax: number,
    bytesMax: number,
  ): readonly LogRecord[];
  /** Adds the topics the group does not have yet; the position of the others stays. */
  registerGroup(group: string, topics: readonly string[], from: "earliest" | "latest"): void;
  /** Forgets a group and its positions, so that it no longer holds the log back. */
  forgetGroup(group: string): void;
  /**
   * Keeps the log for `feeds` and no others; a new one begins at the oldest record. Returns the
   * names of feeds that are forgotten with this, and hold the log back no longer.
   */
  keepFeeds(feeds: readonly FeedGroup[]): readonly string[];
  /** The feed needs nothing up to `released` any more. Throws `STALE` for one that is not kept. */
  releaseFeed(name: string, released: readonly ReleasedTopic[]): void;
  /** How much the feed has not released; nothing for one that is not kept. */
  feedStanding(name: string): FeedStanding;
  /** Who holds the log back. */
  logHolders(): LogHolders;
  /** Every partition of every topic of `group`; empty when it is not registered. */
  positions(group: string): readonly PartitionPosition[];
  /** When the next timer may be due; `undefined`: there is none. May be early, never late. */
  nextTimerDueMs(): number | undefined;
  /** Moves up to `limit` due timers to the log in one transaction. */
  fireTimers(nowMs: number, limit: number): readonly LogRecord[];
  /** Oldest first, with an id above `afterId`. */
  deadLetters(topic: string, afterId: number, limit: number): readonly JournalDeadLetter[];
  /** The rows at `keys`, in that order. Throws `DATA_DAMAGED` naming table and key. */
  load(table: Table, keys: readonly string[]): readonly (Row | undefined)[];
  /** One step of retention that removes about `budgetRows` rows at most. */
  prune(nowMs: number, budgetRows: number): PruneResult;
  /** Housekeeping that may take some milliseconds: call it after acknowledgements are out. */
  maintain(): void;
  /** Verifies the next slice of everything stored; call it again and again in idle time. */
  scrub(budgetMs: number): readonly Damage[];
  stats(): JournalStats;
  close(): void;
}
