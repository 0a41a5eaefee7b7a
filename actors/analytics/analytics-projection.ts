/**
 * The analytics view: reads the log and keeps what it adds up to.
 *
 * A batch, the ids it was made of and the cursor behind it are one transaction, so a crash leaves
 * all of a batch or nothing, and a message that comes again, by whatever way, changes nothing.
 * Everything is decided by the records and the times at which they were stored; the clock is used
 * for housekeeping only. It refuses batches while its disk fails, and takes the same one later.
 */

import type { Database } from "bun:sqlite";

import type { Environment } from "../../runtime/environment.ts";
import type { FeedBatch, FeedCursor, Projection } from "../brokers/feed.ts";
import type { AnalyticsSettings } from "./analytics-tuning.ts";

import { ShopError } from "../../runtime/errors.ts";
import { VIEWS } from "../contracts/topics.ts";
import { sqliteFailure } from "../stores/journal/sqlite-failure.ts";
import { analyticsFailure, openAnalyticsDatabase } from "./analytics-database.ts";
import { ANALYTICS_SETTINGS, checkAnalyticsSettings } from "./analytics-tuning.ts";
import { countRecord } from "./batch-counter.ts";
import { createCellTable } from "./cell-table.ts";
import { HOUR_MS, MINUTE_MS } from "./event-windows.ts";
import { createOrderTable } from "./order-table.ts";
import { PendingCells } from "./pending-cells.ts";
import { createSeenTable } from "./seen-table.ts";
import { createVisitorTable } from "./visitor-table.ts";

/** Housekeeping that found nothing to do is not repeated sooner. */
const REST_MS = MINUTE_MS;

/** `begin` before a batch, `commit` before it is made durable, `committed` after. */
export type AnalyticsFaultPoint = "begin" | "commit" | "committed";

/** What of a batch is in no figure but these. */
export type AnalyticsMisfits = Readonly<Record<(typeof MISFITS)[number], number>>;

const MISFITS = ["late", "future", "unreadable"] as const;

export interface AnalyticsProjectionOptions {
  /** Of the shop's data; must exist. */
  readonly directory: string;
  readonly environment: Pick<Environment, "monotonicMs">;
  readonly settings?: AnalyticsSettings;
  /** Told after the commit of a batch. */
  readonly onApplied?: (misfits: AnalyticsMisfits) => void;
  /** For tests: may throw, at any point, what a disk would. */
  readonly faults?: (point: AnalyticsFaultPoint) => void;
}

/** Opens or creates the view. Throws `STORAGE_FAULT`, `STORAGE_FULL` or `DATA_DAMAGED`. */
export function createAnalyticsProjection(options: AnalyticsProjectionOptions): Projection {
  const { directory, environment, settings = ANALYTICS_SETTINGS, faults } = options;
  checkAnalyticsSettings(settings);
  let store: AnalyticsStore | undefined = openStore(directory, settings, faults);
  let restUntilMs = 0;
  let isClosed = false;

  /** Runs `work`; a handle that has seen its disk fail is not used again. */
  function withStore<T>(work: (opened: AnalyticsStore) => T): T {
    if (isClosed) throw new ShopError("CLOSED", "analytics is closed", "never");
    try {
      store ??= openStore(directory, settings, faults);
      return work(store);
    } catch (error) {
      if (sqliteFailure(error) === "fault") {
        store?.handle.close(true);
        store = undefined;
      }
      throw analyticsFailure(error);
    }
  }

  return {
    name: "analytics",
    topics: VIEWS.analytics,
    cursor: () => withStore((opened) => opened.cursor()),
    apply(batch) {
      const cells = withStore((opened) => opened.apply(batch));
      options.onApplied?.(misfitsIn(cells));
    },
    maintain(nowMs, budgetMs) {
      const startMs = environment.monotonicMs();
      if (startMs < restUntilMs) return;
      while (withStore((opened) => opened.removeSome(nowMs))) {
        if (environment.monotonicMs() - startMs >= budgetMs) return;
      }
      restUntilMs = environment.monotonicMs() + REST_MS;
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      store?.handle.close(true);
    },
  };
}

function misfitsIn(cells: PendingCells): AnalyticsMisfits {
  const counts = { late: 0, future: 0, unreadable: 0 };
  for (const { metric, dimension, count } of cells.minutes()) {
    const misfit = dimension === "all" ? MISFITS.find((name) => name === metric) : undefined;
    if (misfit !== undefined) counts[misfit] += count;
  }
  return counts;
}

interface AnalyticsStore {
  readonly handle: Database;
  cursor(): FeedCursor | undefined;
  apply(batch: FeedBatch): PendingCells;
  /** Removes some of what is too old, in a transaction; false: nothing is. */
  removeSome(nowMs: number): boolean;
}

function openStore(
  directory: string,
  settings: AnalyticsSettings,
  faults: AnalyticsProjectionOptions["faults"],
): AnalyticsStore {
  const handle = openAnalyticsDatabase(directory);
  const cellTable = createCellTable(handle, settings);
  const seen = createSeenTable(handle, settings.seenRetentionMs);
  const orderTable = createOrderTable(handle, settings);
  const visitorTable = createVisitorTable(handle);
  const select = handle.prepare<{ cursor: string }, []>("SELECT cursor FROM progress");
  const advance = handle.prepare<unknown, [string, number]>(
    `INSERT INTO progress VALUES (1, ?, ?) ON CONFLICT DO UPDATE
       SET cursor = excluded.cursor, stored_at = max(stored_at, excluded.stored_at)`,
  );

  const apply = handle.transaction((batch: FeedBatch) => {
    const cells = new PendingCells();
    const memory = orderTable.begin();
    const visitors = visitorTable.begin();
    let storedAtMs = 0;
    for (const record of batch.records) {
      countRecord(record, { settings, seen, memory, visitors, cells });
      storedAtMs = Math.max(storedAtMs, record.storedAtMs);
    }
    memory.save();
    visitors.save();
    cellTable.add(cells);
    advance.run(batch.cursor, storedAtMs);
    faults?.("commit");
    return cells;
  });
  const removeSome = handle.transaction((nowMs: number) => {
    const beforeHourMs = nowMs - settings.hourRetentionMs - HOUR_MS;
    visitorTable.remove(beforeHourMs);
    // Each of them takes its turn, so that none waits for the end of another.
    const removed = [
      cellTable.removeOne("minute", nowMs - settings.minuteRetentionMs - MINUTE_MS),
      cellTable.removeOne("hour", beforeHourMs),
      seen.removeSome(nowMs),
      orderTable.removeSome(nowMs),
    ];
    return removed.includes(true);
  });

  return {
    handle,
    cursor: () => select.get()?.cursor,
    apply(batch) {
      faults?.("begin");
      const cells = apply.immediate(batch);
      faults?.("committed");
      return cells;
    },
    removeSome: (nowMs) => removeSome.immediate(nowMs),
  };
}
