/**
 * Removes what has been kept long enough, a bounded number of rows at a time.
 *
 * A log record goes when every registered group has settled it and everything before it in its
 * partition, and when it is older than the age or the log is larger than its size. Processed
 * message ids, idempotency rows, the fraud check's rows and dead letters go by age and count.
 * Refuses to remove what a group has not settled: then the log stays full and `laggard` names who
 * holds it. The exception is a group that nobody here is a member of: what a role that is switched
 * off has not read is kept for as long as there is room, and then goes, oldest first, and told.
 */

import type { Database } from "bun:sqlite";
import type { JournalDatabase } from "./journal-database.ts";
import type { PruneResult, Retention } from "./journal-types.ts";
import type { DeadLetterTable } from "./dead-letter-table.ts";
import type { InboxTable } from "./inbox-table.ts";
import type { LogTable } from "./log-table.ts";
import type { SettleTable } from "./settle-table.ts";
import type { Topology } from "./log-parts.ts";

import { WRITTEN_GRAIN_MS } from "./journal-limits.ts";
import { absentGroups } from "./group-names.ts";

/** Who reads the log. */
export interface LogReaders {
  /** Consumer groups that have members, or will; absent: all that are known. */
  readonly attended?: ReadonlySet<string> | undefined;
  readonly onUnreadDropped?: ((group: string) => void) | undefined;
}

/** A log over its size is pruned to this share of it, so that the next publish has room. */
const LOG_TARGET_SHARE = 0.9;

export class Pruner {
  readonly #retention: Retention;
  readonly #topology: Topology;
  readonly #log: LogTable;
  readonly #settle: SettleTable;
  readonly #inbox: InboxTable;
  readonly #deadLetters: DeadLetterTable;
  readonly #readers: LogReaders;
  readonly #pruneIdempotency;
  readonly #pruneFraud;

  constructor(
    { handle }: JournalDatabase,
    retention: Retention,
    tables: {
      readonly topology: Topology;
      readonly log: LogTable;
      readonly settle: SettleTable;
      readonly inbox: InboxTable;
      readonly deadLetters: DeadLetterTable;
    },
    readers: LogReaders,
  ) {
    this.#readers = readers;
    this.#retention = retention;
    this.#topology = tables.topology;
    this.#log = tables.log;
    this.#settle = tables.settle;
    this.#inbox = tables.inbox;
    this.#deadLetters = tables.deadLetters;
    this.#pruneIdempotency = prepareAged(handle, "idempotency");
    this.#pruneFraud = prepareAged(handle, "fraud");
  }

  /** One step. Inside a transaction of the caller. */
  step(nowMs: number, budgetRows: number): PruneResult {
    const { inboxAgeMs, idempotencyAgeMs, fraudAgeMs, deadLettersMax } = this.#retention;
    let budget = budgetRows;
    const logRecords = this.pruneLog(nowMs, budget);
    budget -= logRecords;
    let inboxMarks = 0;
    while (budget > 0) {
      const marks = this.#inbox.pruneBatch(nowMs - inboxAgeMs);
      if (marks === 0) break;
      inboxMarks += marks;
      budget -= marks;
    }
    let idempotencyRows = 0;
    if (budget > 0) {
      idempotencyRows = this.#pruneIdempotency.run(nowMs - idempotencyAgeMs, budget).changes;
      budget -= idempotencyRows;
    }
    let fraudRows = 0;
    if (budget > 0) {
      // The time of a row is the beginning of its day.
      fraudRows = this.#pruneFraud.run(nowMs - fraudAgeMs - WRITTEN_GRAIN_MS, budget).changes;
      budget -= fraudRows;
    }
    const excess = Math.min(budget, this.#deadLetters.count() - deadLettersMax);
    const deadLetters = excess > 0 ? this.#deadLetters.dropOldest(excess) : 0;
    budget -= deadLetters;
    return { logRecords, inboxMarks, idempotencyRows, fraudRows, deadLetters, done: budget > 0 };
  }

  /** Removes up to `budget` log records that are old, or too many, and settled; how many. */
  pruneLog(nowMs: number, budget: number): number {
    const { logAgeMs, logBytesMax } = this.#retention;
    const isOver = this.#log.bytes > logBytesMax * LOG_TARGET_SHARE;
    const { tailLastAtMs } = this.#log;
    const isTailOld = tailLastAtMs !== undefined && tailLastAtMs <= nowMs - logAgeMs;
    // Only closed segments are pruned; a quiet or small log would keep its tail for ever.
    if (isTailOld || (isOver && this.#log.segments.length === 0)) this.#log.closeSegment(true);
    const throughId = Math.max(
      this.#throughAge(nowMs - logAgeMs),
      isOver ? this.#throughSize() : 0,
    );
    if (throughId === 0) return 0;
    const pruned = this.#log.prune(throughId, (part) => this.#settle.settledThrough(part), budget);
    return pruned + (isOver ? this.#pruneUnattended(budget - pruned) : 0);
  }

  /** What no group needs but such that nobody is a member of, as far as the size asks for it. */
  #pruneUnattended(budget: number): number {
    const { attended, onUnreadDropped } = this.#readers;
    const throughId = this.#throughSize();
    if (attended === undefined || budget <= 0 || throughId === 0) return 0;
    const absent = absentGroups(this.#settle.groups(), attended);
    if (absent.length === 0) return 0;
    const limit = (part: number): number => this.#settle.settledThrough(part, absent);
    const pruned = this.#log.prune(throughId, limit, budget);
    for (const group of absent) {
      if (pruned > 0 && this.#settle.passGone(group)) onUnreadDropped?.(group);
    }
    return pruned;
  }

  /** The group that is furthest behind, for a message. */
  laggard(): string {
    let most = 0;
    let text = "no group lags; the size is too small";
    for (let part = 0; part < this.#topology.parts; part++) {
      const topic = this.#topology.topicOf(part);
      const partition = this.#topology.partitionOf(part);
      for (const { group, sets } of this.#settle.consumersOf(topic)) {
        const lag = this.#log.last(part) - (sets[partition]?.position ?? 0);
        if (lag <= most) continue;
        most = lag;
        text = `group ${group} is ${lag} records behind in ${topic}/${partition}`;
      }
    }
    return text;
  }

  /** Id of the last record of the last segment that is old enough, as are all before it. */
  #throughAge(cutoffMs: number): number {
    let throughId = 0;
    for (const { firstId, count, lastAtMs } of this.#log.segments) {
      if (lastAtMs > cutoffMs) break;
      throughId = firstId + count - 1;
    }
    return throughId;
  }

  /** Id up to which the log would have to go to fit its size. */
  #throughSize(): number {
    let excess = this.#log.bytes - this.#retention.logBytesMax * LOG_TARGET_SHARE;
    let throughId = 0;
    for (const { firstId, count, bytes, remaining } of this.#log.segments) {
      if (excess <= 0) break;
      throughId = firstId + count - 1;
      excess -= (bytes * remaining) / count;
    }
    return throughId;
  }
}

/** Removes up to a number of the rows of `table` that were last written before a time. */
function prepareAged(handle: Database, table: "idempotency" | "fraud") {
  return handle.prepare<unknown, [writtenBeforeMs: number, limit: number]>(
    `DELETE FROM ${table} WHERE key IN
       (SELECT key FROM ${table} WHERE written_at < ? ORDER BY written_at LIMIT ?)`,
  );
}
