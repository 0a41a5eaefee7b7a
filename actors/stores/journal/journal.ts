/**
 * The journal: topic log, positions, inbox, rows, timers and dead letters in one SQLite database.
 *
 * Synchronous, for one thread. Many units share a transaction; what `commit` returns as committed
 * is on the disk. After an input or output error it acknowledges nothing before the database has
 * been closed, reopened, verified and synced again; when that fails too often it throws, and the
 * process must end. A full disk refuses units and heals by itself.
 */

import type { Row, Table } from "../unit-of-work.ts";
import type { CoreOptions, JournalCore } from "./journal-core.ts";
import type {
  Damage,
  FeedGroup,
  FeedStanding,
  Journal,
  JournalDeadLetter,
  JournalOptions,
  JournalOutcome,
  JournalStats,
  JournalTuning,
  JournalUnit,
  LogHolders,
  LogRecord,
  PartitionPosition,
  PruneResult,
  ReleasedTopic,
} from "./journal-types.ts";
import type { ProcessLock } from "./process-lock.ts";

import { join } from "node:path";

import { assert, ShopError } from "../../../runtime/errors.ts";
import { areFeedsKept, feedStanding, keepFeeds, releaseFeed } from "./feed-groups.ts";
import { commitBatch, fireDue, isSettlingOnly, makeRoom, outgoingBytes } from "./journal-commit.ts";
import { finishTransaction, openCore, readRecords } from "./journal-core.ts";
import { JOURNAL_TUNING } from "./journal-limits.ts";
import { makeDurableDirectory } from "./durable-directory.ts";
import { partOf } from "./log-parts.ts";
import { logHolders } from "./log-holders.ts";
import { lockDirectory } from "./process-lock.ts";
import { sqliteFailure, storageError } from "./sqlite-failure.ts";

/** The database file of a data directory. */
export function journalPath(directory: string): string {
  return join(directory, "journal.db");
}

/**
 * Opens or creates the journal in `options.directory`. Throws `DATA_DIRECTORY_IN_USE`,
 * `DATA_DAMAGED`, `BAD_CONFIGURATION` (other slots), `STORAGE_FULL` or `STORAGE_FAULT`.
 */
export function openJournal(options: JournalOptions): Journal {
  makeDurableDirectory(options.directory);
  const lock = lockDirectory(options.directory);
  try {
    return new SqliteJournal(options, lock);
  } catch (error) {
    lock.release();
    const failure = sqliteFailure(error);
    throw failure === undefined ? error : storageError(failure, error);
  }
}

interface Attempt {
  readonly outcomes: readonly JournalOutcome[];
  /** Nothing was written, for want of space. */
  readonly isFull: boolean;
}

class SqliteJournal implements Journal {
  readonly damage: readonly Damage[];
  readonly #options: CoreOptions;
  readonly #tuning: JournalTuning;
  readonly #lock: ProcessLock;
  /** `undefined` after an I/O error, until a reopen succeeds. */
  #core: JournalCore | undefined;
  #isClosed = false;
  #reopens = 0;
  #reopensFailed = 0;
  #checkpoints = 0;

  constructor(options: JournalOptions, lock: ProcessLock) {
    const { groups } = options;
    this.#options = groups === undefined ? options : { ...options, attended: new Set(groups) };
    this.#tuning = { ...JOURNAL_TUNING, ...options.tuning };
    this.#lock = lock;
    this.#core = openCore(journalPath(options.directory), this.#options, this.#tuning);
    this.damage = this.#core.damage;
  }

  commit(units: readonly JournalUnit[]): readonly JournalOutcome[] {
    if (units.length === 0) return [];
    const first = this.#attempt(units);
    if (!first.isFull) return first.outcomes;
    // A checkpoint lets the WAL start again at its beginning; settling needs hardly more.
    this.#checkpoint();
    const second = this.#attempt(units);
    if (!second.isFull) return second.outcomes;
    const settling = units.filter(isSettlingOnly);
    if (settling.length === 0 || settling.length === units.length) return second.outcomes;
    const settled = this.#attempt(settling).outcomes.values();
    return units.map((unit, index) => {
      const outcome = isSettlingOnly(unit) ? settled.next().value : second.outcomes[index];
      assert(outcome !== undefined, "every unit has an outcome");
      return outcome;
    });
  }

  read(
    topic: string,
    partition: number,
    afterSequence: number,
    framesMax: number,
    bytesMax: number,
  ): readonly LogRecord[] {
    return this.#run((core) => {
      const part = partOf(core.topology, topic, partition);
      return readRecords(core, part, afterSequence, framesMax, bytesMax);
    });
  }

  registerGroup(group: string, topics: readonly string[], from: "earliest" | "latest"): void {
    this.#options.attended?.add(group);
    // A group that is known is joined without a write: a full disk must not keep it out.
    const known = new Set(this.positions(group).map(({ topic }) => topic));
    if (topics.every((topic) => known.has(topic))) return;
    this.#writeWhole(({ topology, settle }) => {
      for (const topic of topics) {
        if (topology.firstPart(topic) === undefined) {
          throw new ShopError("UNKNOWN_TOPIC", `no topic ${topic}`, "never");
        }
        settle.register(group, topic, from);
      }
    });
  }

  forgetGroup(group: string): void {
    this.#writeWhole(({ settle }) => settle.forget(group));
  }

  keepFeeds(feeds: readonly FeedGroup[]): readonly string[] {
    if (this.#run((core) => areFeedsKept(core, feeds))) return [];
    return this.#writeWhole((core) => keepFeeds(core, feeds));
  }

  releaseFeed(name: string, released: readonly ReleasedTopic[]): void {
    this.#writeWhole((core) => releaseFeed(core, name, released));
  }

  feedStanding(name: string): FeedStanding {
    return this.#run((core) => feedStanding(core, name));
  }

  logHolders(): LogHolders {
    return this.#run((core) => logHolders(core, this.#options));
  }

  positions(group: string): readonly PartitionPosition[] {
    return this.#run(({ settle }) => settle.positions(group));
  }

  nextTimerDueMs(): number | undefined {
    return this.#run(({ timers }) => timers.nextDueMs());
  }

  fireTimers(nowMs: number, limit: number): readonly LogRecord[] {
    return this.#write((core, wallMs) => {
      const fired = fireDue(core, nowMs, wallMs, limit, this.#options);
      if (fired.length > 0) finishTransaction(core, wallMs);
      return fired;
    });
  }

  deadLetters(topic: string, afterId: number, limit: number): readonly JournalDeadLetter[] {
    return this.#run(({ deadLetters }) => deadLetters.list(topic, afterId, limit));
  }

  load(table: Table, keys: readonly string[]): readonly (Row | undefined)[] {
    return this.#run(({ rows }) => keys.map((key) => rows.load(table, key)));
  }

  prune(nowMs: number, budgetRows: number): PruneResult {
    return this.#write((core, wallMs) => {
      const result = core.pruner.step(nowMs, budgetRows);
      const { logRecords, inboxMarks, idempotencyRows, fraudRows, deadLetters } = result;
      if (logRecords + inboxMarks + idempotencyRows + fraudRows + deadLetters > 0) {
        finishTransaction(core, wallMs, { inboxMarks, deadLetters });
      }
      return result;
    });
  }

  maintain(): void {
    const core = this.#core;
    if (core === undefined || core.database.walFrames() < this.#tuning.walFramesSoft) return;
    this.#checkpoint();
  }

  scrub(budgetMs: number): readonly Damage[] {
    return this.#run(({ scrubber }) => scrubber.run(budgetMs));
  }

  stats(): JournalStats {
    return this.#run(({ log, deadLetters, state, database, scrubber }) => ({
      logRecords: log.records,
      logBytes: log.bytes,
      deadLetters: deadLetters.count(),
      deadLettersDropped: state.values.deadDropped,
      inboxMarks: state.values.inboxMarks,
      batches: state.values.batches,
      walFrames: database.walFrames(),
      databaseBytes: database.databaseBytes(),
      checkpoints: this.#checkpoints,
      reopens: this.#reopens,
      scrubRounds: scrubber.rounds,
    }));
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      this.#core?.database.close();
    } finally {
      this.#core = undefined;
      this.#lock.release();
    }
  }

  #attempt(units: readonly JournalUnit[]): Attempt {
    const outcomes: JournalOutcome[] = [];
    const core = this.#ready();
    if (core === undefined) return refuseAll(units, this.#notReady());
    let inBatch = core.state.values.batches;
    try {
      if (core.database.walFrames() >= this.#tuning.walFramesHard) this.#checkpointOrThrow(core);
      makeRoom(core, outgoingBytes(units), this.#options);
      inBatch = core.state.values.batches;
      commitBatch(core, units, this.#options, outcomes);
      return { outcomes, isFull: false };
    } catch (error) {
      const failure = sqliteFailure(error);
      if (failure === undefined) throw error;
      const refusal = storageError(failure, error);
      if (failure === "corrupt") throw refusal;
      if (failure !== "fault") return refuseAll(units, refusal, failure === "full");
      const isCommitted = this.#reopenAndAsk(inBatch, outcomes.length === units.length);
      return isCommitted ? { outcomes, isFull: false } : refuseAll(units, refusal);
    }
  }

  /** Runs `work` on the open database; storage failures become `ShopError`s. */
  #run<T>(work: (core: JournalCore) => T): T {
    const core = this.#ready();
    if (core === undefined) throw this.#notReady();
    try {
      return work(core);
    } catch (error) {
      const failure = sqliteFailure(error);
      if (failure === undefined) throw error;
      if (failure === "fault") this.#reopen();
      throw storageError(failure, error);
    }
  }

  /** Runs `work` in a transaction; what it returns is durable. */
  #write<T>(work: (core: JournalCore, nowMs: number) => T): T {
    const core = this.#ready();
    if (core === undefined) throw this.#notReady();
    const inBatch = core.state.values.batches;
    let done: { readonly result: T } | undefined;
    try {
      return core.database.transaction(() => {
        const result = work(core, this.#options.environment.nowMs());
        done = { result };
        return result;
      });
    } catch (error) {
      const failure = sqliteFailure(error);
      if (failure === undefined) throw error;
      if (failure !== "fault") throw storageError(failure, error);
      const isCommitted = this.#reopenAndAsk(inBatch, done !== undefined);
      if (isCommitted && done !== undefined) return done.result;
      throw storageError(failure, error);
    }
  }

  /** As `#write`, with what every transaction leaves for its end. */
  #writeWhole<T>(work: (core: JournalCore) => T): T {
    return this.#write((core, nowMs) => {
      const result = work(core);
      finishTransaction(core, nowMs);
      return result;
    });
  }

  /**
   * Reopens after a fault: was the transaction after batch `inBatch` committed? If it may have
   * been, there is no going on without an answer: others would see records nobody knows of.
   */
  #reopenAndAsk(inBatch: number, mayBeCommitted: boolean): boolean {
    let core = this.#reopen();
    for (let tries = 1; mayBeCommitted && core === undefined; tries++) {
      if (tries >= this.#tuning.reopensMax) throw this.#beyondRepair();
      core = this.#open();
    }
    return core !== undefined && core.openedAtBatch > inBatch;
  }

  #checkpoint(): void {
    const core = this.#core;
    if (core === undefined) return;
    try {
      this.#checkpointOrThrow(core);
    } catch (error) {
      const failure = sqliteFailure(error);
      if (failure === undefined || failure === "corrupt") throw error;
      // Nothing is lost by a checkpoint that did not happen; only a fault spoils the handle.
      if (failure === "fault") this.#reopen();
    }
  }

  #checkpointOrThrow({ database }: JournalCore): void {
    database.checkpoint();
    this.#checkpoints++;
  }

  #ready(): JournalCore | undefined {
    if (this.#isClosed) throw new ShopError("CLOSED", "the journal is closed", "never");
    return this.#core ?? this.#open();
  }

  #notReady(): ShopError {
    const message = `the journal could not be reopened ${this.#reopensFailed} times`;
    return new ShopError("STORAGE_FAULT", message, "later");
  }

  #reopen(): JournalCore | undefined {
    const core = this.#core;
    this.#core = undefined;
    core?.database.close();
    return this.#open();
  }

  /** Opens again; `undefined` when that failed. Throws when it failed too often in a row. */
  #open(): JournalCore | undefined {
    const path = journalPath(this.#options.directory);
    try {
      const core = openCore(path, this.#options, { ...this.#tuning, verifyBudgetMs: 0 });
      this.#adopt(core);
      return core;
    } catch (error) {
      const failure = sqliteFailure(error);
      if (failure === undefined) throw error;
      if (failure === "corrupt") throw storageError(failure, error);
      // A full disk is waited out; a disk that fails again and again is not.
      if (failure !== "full") this.#reopensFailed++;
      if (this.#reopensFailed < this.#tuning.reopensMax) return undefined;
      throw this.#beyondRepair(error);
    }
  }

  #beyondRepair(cause?: unknown): ShopError {
    const message = "the journal fails to reopen after a fault";
    return new ShopError("STORAGE_FAULT", message, "never", { cause });
  }

  /** Takes over a reopened core once all it recovered is known to be on the disk. */
  #adopt(core: JournalCore): void {
    try {
      core.database.sync();
    } catch (error) {
      core.database.close();
      throw error;
    }
    this.#core = core;
    this.#reopens++;
    this.#reopensFailed = 0;
  }
}

function refuseAll(units: readonly JournalUnit[], error: ShopError, isFull = false): Attempt {
  return { outcomes: units.map(() => ({ kind: "refused", error })), isFull };
}
