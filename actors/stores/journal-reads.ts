/**
 * The read side of the embedded store: its own read-only connection, usable in any thread.
 *
 * A WAL reader sees every transaction that was committed before its statement began, so it sees
 * every write that was acknowledged, and never waits for the writer. It verifies the checksum of
 * every row it returns. Refuses pages larger than the bounds, and a directory without a journal.
 */

import type { OrderQuery, OrderReads, Row, Table, TimelineEntry } from "./unit-of-work.ts";
import type { StoredRow } from "./journal/row-tables.ts";

import { Database } from "bun:sqlite";

import { assert, ShopError } from "../../runtime/errors.ts";
import { BUSY_TIMEOUT_MS, ORDERS_PAGE_MAX, TIMELINE_PAGE_MAX } from "./journal/journal-limits.ts";
import { journalPath } from "./journal/journal.ts";
import { checkedRow, createLoader, rowColumns, timelineChecksum } from "./journal/row-tables.ts";
import { sqliteFailure, storageError } from "./journal/sqlite-failure.ts";
import { TABLES } from "./unit-of-work.ts";

export interface JournalReads extends OrderReads {
  /** The rows at `keys`, in that order; `undefined` where there is none. */
  load(table: Table, keys: readonly string[]): Promise<readonly (Row | undefined)[]>;
  /** Idempotent. */
  close(): void;
}

/**
 * Opens the journal of `directory` for reading. Throws `STORAGE_FAULT` while there is none. The
 * methods reject with `DATA_DAMAGED`, `STORAGE_FAULT` or `CLOSED`.
 */
export function openJournalReads(directory: string): JournalReads {
  const handle = openReadOnly(directory);
  const tables = new Map(TABLES.map((table) => [table, createLoader(handle, table)]));
  const selectTimeline = handle.prepare<
    TimelineEntry & { readonly crc: number },
    [string, number, number]
  >(
    `SELECT order_id AS orderId, version, type, at AS atMs, crc, data FROM timeline
     WHERE order_id = ? AND version > ? ORDER BY version LIMIT ?`,
  );
  const pages = createOrderPages(handle);
  let isClosed = false;

  async function run<T>(work: () => T): Promise<T> {
    if (isClosed) throw new ShopError("CLOSED", "the reads of the journal are closed", "never");
    try {
      return work();
    } catch (error) {
      const failure = sqliteFailure(error);
      throw failure === undefined ? error : storageError(failure, error);
    }
  }

  function load(table: Table, key: string): Row | undefined {
    const loader = tables.get(table);
    assert(loader !== undefined, "there is a loader for each table");
    return loader(key);
  }

  return {
    order: (id) => run(() => load("orders", id)),
    stock: (productId) => run(() => load("stock", productId)),
    load: (table, keys) => run(() => keys.map((key) => load(table, key))),
    orders: (query) => run(() => pages(query)),
    timeline: (orderId, afterVersion) =>
      run(() =>
        selectTimeline.all(orderId, afterVersion, TIMELINE_PAGE_MAX).map(({ crc, ...entry }) => {
          if (crc === timelineChecksum(entry)) return entry;
          const message = `entry ${entry.version} of the timeline of ${orderId} is damaged`;
          throw new ShopError("DATA_DAMAGED", message, "never");
        }),
      ),
    close() {
      if (isClosed) return;
      isClosed = true;
      handle.close(true);
    },
  };
}

/** A connection of its own to the journal of `directory`; throws `STORAGE_FAULT` without one. */
export function openReadOnly(directory: string): Database {
  try {
    const handle = new Database(journalPath(directory), { readonly: true });
    handle.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
    return handle;
  } catch (error) {
    const failure = sqliteFailure(error);
    throw failure === undefined ? error : storageError(failure, error);
  }
}

/** One statement per combination of filters, so that each runs on the index made for it. */
function createOrderPages(handle: Database): (query: OrderQuery) => readonly Row[] {
  function prepare(filters: string) {
    return handle.prepare<StoredRow, (string | number)[]>(
      `SELECT ${rowColumns("orders")} FROM orders
       WHERE ${filters} (created_at, key) < (?, ?) ORDER BY created_at DESC, key DESC LIMIT ?`,
    );
  }
  const all = prepare("");
  const byCustomer = prepare("customer_id = ? AND");
  const byStatus = prepare("status = ? AND");
  // The unary plus keeps the planner on the customer's index, which is the narrower one.
  const byBoth = prepare("customer_id = ? AND +status = ? AND");

  return ({ customerId, status, limit, after }) => {
    assert(limit >= 1 && limit <= ORDERS_PAGE_MAX, `a page of ${limit} orders`);
    const place = [after?.createdAtMs ?? Number.MAX_SAFE_INTEGER, after?.key ?? "", limit];
    const rows =
      customerId === undefined
        ? status === undefined
          ? all.all(...place)
          : byStatus.all(status, ...place)
        : status === undefined
          ? byCustomer.all(customerId, ...place)
          : byBoth.all(customerId, status, ...place);
    return rows.map((row) => checkedRow("orders", row));
  };
}
