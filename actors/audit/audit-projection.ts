/**
 * The writing side of the audit: every frame of every topic, in a chain, once.
 *
 * What charges a card or reaches a person is dropped before a frame is chained. A batch and its
 * cursor are one transaction, durable when `apply` returns. A message that was recorded is not
 * recorded again, at whatever cursor it comes; identities are kept as long as the records are, for
 * ever. After an error of the disk the file is closed, and opened, read and synced again before
 * anything else is taken. It refuses a file that is damaged or of another format.
 *
 * Later events of an order are filed under the customer that `order.created` named. An event that
 * the feed gives in an earlier batch than that stays without one: its order finds it.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { FeedBatch, FeedCursor, Projection } from "../brokers/feed.ts";
import type { JournalDatabase } from "../stores/journal/journal-database.ts";
import type { FaultPoint } from "../stores/journal/journal-types.ts";
import type { AuditHead } from "./audit-chain.ts";
import type { AuditAppender, HeadRow } from "./audit-database.ts";
import type { AuditEntry } from "./audit-entry.ts";
import type { AuditRecord } from "./audit-record.ts";

import { ShopError } from "../../runtime/errors.ts";
import { VIEWS } from "../contracts/topics.ts";
import { makeDurableDirectory } from "../stores/journal/durable-directory.ts";
import { openDatabase } from "../stores/journal/journal-database.ts";
import { JOURNAL_TUNING } from "../stores/journal/journal-limits.ts";
import { sqliteFailure } from "../stores/journal/sqlite-failure.ts";
import {
  auditPath,
  createAppender,
  mergeWords,
  prepareAudit,
  readHead,
  refuseBeyond,
  wordShards,
} from "./audit-database.ts";
import { asReused, isSameMessage, readEntry } from "./audit-entry.ts";
import { auditFailure } from "./audit-failure.ts";
import { MERGE_PAGES, WAL_FRAMES_HARD, WAL_FRAMES_SOFT } from "./audit-limits.ts";
import { recordHash } from "./audit-record.ts";
import { RecentCustomers } from "./recent-customers.ts";

export interface AuditSettings {
  /** Pages of the database that are kept in memory, in bytes. */
  readonly cacheBytes: number;
  /** Time between two reports of the head. */
  readonly anchorMs: number;
}

export const AUDIT_SETTINGS: AuditSettings = {
  cacheBytes: 32 * 1024 * 1024,
  anchorMs: 60_000,
};

/** What one batch came to. */
export interface AuditCounts {
  readonly recorded: number;
  /** Came again: not recorded again. */
  readonly repeats: number;
  /** Of those recorded: with a fault. */
  readonly faults: number;
}

export interface AuditOptions {
  /** Made when missing. One writer at a time: whoever owns the data directory. */
  readonly directory: string;
  readonly environment: Pick<Environment, "monotonicMs">;
  readonly settings?: AuditSettings;
  /** Told after the commit of a batch. */
  readonly onApplied?: (counts: AuditCounts) => void;
  /** Told of the head by `maintain`, every `anchorMs` while it grows: for a log kept elsewhere. */
  readonly onHead?: (head: AuditHead) => void;
  readonly faults?: (point: FaultPoint) => void;
}

export interface AuditProjection extends Projection {
  head(): AuditHead;
}

/**
 * Opens or creates the audit. Throws `DATA_DAMAGED`, `STORAGE_FULL` or `STORAGE_FAULT`, as do the
 * methods; `CLOSED` after `close`.
 */
export function createAuditProjection(options: AuditOptions): AuditProjection {
  return new AuditWriter(options);
}

/** Field by field: a copy with some of them replaced costs several times as much. */
function placeEntry(entry: AuditEntry, seq: number, customerId: string | null): AuditRecord {
  return {
    seq,
    identity: entry.identity,
    topic: entry.topic,
    partition: entry.partition,
    sequence: entry.sequence,
    type: entry.type,
    orderId: entry.orderId,
    customerId,
    atMs: entry.atMs,
    storedAtMs: entry.storedAtMs,
    fault: entry.fault,
    frame: entry.frame,
  };
}

/** The file while it can be trusted. */
interface OpenAudit {
  readonly database: JournalDatabase;
  readonly appender: AuditAppender;
  /** As committed. */
  head: HeadRow;
}

class AuditWriter implements AuditProjection {
  readonly name = "audit";
  readonly topics = VIEWS.audit;
  readonly #options: AuditOptions;
  readonly #settings: AuditSettings;
  readonly #customers = new RecentCustomers();
  #audit: OpenAudit | undefined;
  #isClosed = false;
  #isMerged = true;
  #anchoredCount = 0;
  #anchoredMs = Number.NEGATIVE_INFINITY;

  constructor(options: AuditOptions) {
    this.#options = options;
    this.#settings = options.settings ?? AUDIT_SETTINGS;
    this.#guard(() => this.#open());
  }

  cursor(): FeedCursor | undefined {
    return this.#guard(() => this.#open().head.cursor ?? undefined);
  }

  head(): AuditHead {
    const { count, hash } = this.#guard(() => this.#open().head);
    return { count, hash };
  }

  apply(batch: FeedBatch): void {
    const counts = this.#guard(() => {
      const audit = this.#open();
      if (batch.cursor === audit.head.cursor) return undefined;
      if (audit.database.walFrames() >= WAL_FRAMES_HARD) audit.database.checkpoint();
      const entries = batch.records.map((record) => readEntry(record));
      // Before the first is recorded: the feed promises no order between two topics.
      for (const { orderId, customerId } of entries) {
        if (orderId !== null && customerId !== null) this.#customers.set(orderId, customerId);
      }
      return this.#commit(audit, entries, batch.cursor);
    });
    if (counts === undefined) return;
    if (counts.recorded > 0) this.#isMerged = false;
    this.#options.onApplied?.(counts);
  }

  maintain(nowMs: number, budgetMs: number): void {
    this.#guard(() => {
      const { database, head } = this.#open();
      this.#anchor(head, nowMs);
      const endMs = this.#options.environment.monotonicMs() + budgetMs;
      const shard = wordShards(database.handle).of(Math.max(1, head.count));
      while (!this.#isMerged && this.#options.environment.monotonicMs() < endMs) {
        this.#isMerged = !database.transaction(() =>
          mergeWords(database.handle, shard, MERGE_PAGES),
        );
        if (this.#isMerged) database.handle.run("PRAGMA optimize");
      }
      if (database.walFrames() >= WAL_FRAMES_SOFT) database.checkpoint();
    });
  }

  close(): void {
    this.#isClosed = true;
    const audit = this.#audit;
    this.#audit = undefined;
    audit?.database.close();
  }

  #commit({ database, appender, head }: OpenAudit, entries: readonly AuditEntry[], cursor: string) {
    let { count, hash, repeats } = head;
    let faults = 0;
    const record = (entry: AuditEntry): boolean => {
      const next = placeEntry(entry, count + 1, this.#customerOf(entry));
      const nextHash = recordHash(hash, next);
      if (!appender.append(next, hash, nextHash)) return false;
      appender.index(next, entry.texts);
      count++;
      hash = nextHash;
      if (entry.fault !== null) faults++;
      return true;
    };
    const sealed = database.transaction(() => {
      for (const entry of entries) {
        if (record(entry)) continue;
        const known = appender.frameOf(entry.identity, entry.topic);
        const isRepeat = known === undefined || isSameMessage(known, entry.frame);
        if (isRepeat || !record(asReused(entry))) repeats++;
      }
      const next = { count, hash, cursor, repeats };
      appender.seal(next);
      return next;
    });
    if (this.#audit !== undefined) this.#audit.head = sealed;
    return { recorded: count - head.count, repeats: repeats - head.repeats, faults };
  }

  #customerOf({ orderId, customerId }: AuditEntry): string | null {
    if (customerId !== null || orderId === null) return customerId;
    const cached = this.#customers.get(orderId);
    if (cached !== undefined) return cached;
    const found = this.#open().appender.customerOf(orderId);
    if (found !== undefined) this.#customers.set(orderId, found);
    return found ?? null;
  }

  #anchor({ count, hash }: HeadRow, nowMs: number): void {
    if (count === this.#anchoredCount || nowMs - this.#anchoredMs < this.#settings.anchorMs) return;
    this.#anchoredCount = count;
    this.#anchoredMs = nowMs;
    this.#options.onHead?.({ count, hash });
  }

  #open(): OpenAudit {
    if (this.#isClosed) throw new ShopError("CLOSED", "the audit is closed", "never");
    if (this.#audit !== undefined) return this.#audit;
    const { directory, faults } = this.#options;
    makeDurableDirectory(directory);
    const tuning = { ...JOURNAL_TUNING, cacheBytes: this.#settings.cacheBytes };
    const database = openDatabase(auditPath(directory), tuning, faults);
    try {
      database.transaction(() => prepareAudit(database.handle));
      const head = readHead(database.handle);
      refuseBeyond(database.handle, head);
      // What a failed sync may have left only in the kernel's memory is written again.
      database.sync();
      this.#audit = { database, appender: createAppender(database.handle), head };
      return this.#audit;
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** Runs `work`; after any failure the file is closed, and read anew by whoever needs it next. */
  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      this.#drop();
      throw auditFailure(error);
    }
  }

  #drop(): void {
    const audit = this.#audit;
    this.#audit = undefined;
    try {
      audit?.database.close();
    } catch (error) {
      // Closing a file whose disk fails may fail too; the first error is the one that is reported.
      if (sqliteFailure(error) === undefined) throw error;
    }
  }
}
