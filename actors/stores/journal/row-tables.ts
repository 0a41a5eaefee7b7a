/**
 * The rows of entities and the timeline of orders: conditional writes and checked reads.
 *
 * A write names the version it expects; the database compares. Every row carries a checksum over
 * its key, version, indexed columns and data, compared at each read. Refuses to return a damaged
 * row: `DATA_DAMAGED` names table and key.
 */

import type { Database } from "bun:sqlite";
import type { OrderColumns, Row, RowWrite, Table, TimelineEntry } from "../unit-of-work.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { TABLES } from "../unit-of-work.ts";
import { WRITTEN_GRAIN_MS } from "./journal-limits.ts";
import { recordChecksum } from "./record-checksum.ts";

/** A row as stored; the columns only in `orders`. */
export interface StoredRow extends Row, Partial<OrderColumns> {
  readonly crc: number;
}

/** Name the columns of a `StoredRow` in a query on `table`. */
export function rowColumns(table: Table): string {
  const own = "key, version, crc, data";
  if (table !== "orders") return own;
  return `${own}, customer_id AS customerId, status, created_at AS createdAtMs`;
}

export function rowChecksum(row: Omit<StoredRow, "crc">): number {
  const { key, version, customerId, status, createdAtMs } = row;
  const columns = customerId === undefined ? "" : `|${customerId}|${status}|${createdAtMs}`;
  return recordChecksum(`${version}|${key}${columns}`, row.data);
}

export function timelineChecksum(entry: TimelineEntry): number {
  const { orderId, version, type, atMs } = entry;
  return recordChecksum(`${version}|${orderId}|${type}|${atMs}`, entry.data);
}

/** The row without what only the store needs. Throws `DATA_DAMAGED`. */
export function checkedRow(table: Table, stored: StoredRow): Row {
  const { key, version, data } = stored;
  if (stored.crc === rowChecksum(stored)) return { key, version, data };
  const message = `row ${key} of table ${table} fails its checksum`;
  throw new ShopError("DATA_DAMAGED", message, "never");
}

/** Writes one row; `undefined`, or the stored version (0: none) when it was not the expected. */
export type RowWriter = (write: RowWrite, nowMs: number) => number | undefined;

export class RowTables {
  readonly #writers: ReadonlyMap<Table, RowWriter>;
  readonly #loaders: ReadonlyMap<Table, (key: string) => Row | undefined>;
  readonly #insertTimeline;
  readonly #latestTimeline;

  constructor(handle: Database) {
    this.#writers = new Map(TABLES.map((table) => [table, createWriter(handle, table)]));
    this.#loaders = new Map(TABLES.map((table) => [table, createLoader(handle, table)]));
    this.#insertTimeline = handle.prepare<
      unknown,
      [string, number, string, number, number, Uint8Array]
    >("INSERT OR IGNORE INTO timeline VALUES (?, ?, ?, ?, ?, ?)");
    this.#latestTimeline = handle.prepare<{ version: number }, [string]>(
      "SELECT coalesce(max(version), 0) AS version FROM timeline WHERE order_id = ?",
    );
  }

  /** `undefined`: written. Otherwise the stored version, 0 when there is no row. */
  write(write: RowWrite, nowMs: number): number | undefined {
    return this.#writers.get(write.table)?.(write, nowMs);
  }

  /** `undefined`: written. Otherwise that entry was there; the newest version of the order. */
  addToTimeline(entry: TimelineEntry): number | undefined {
    const { orderId, version, type, atMs, data } = entry;
    const crc = timelineChecksum(entry);
    const { changes } = this.#insertTimeline.run(orderId, version, type, atMs, crc, data);
    return changes === 1 ? undefined : (this.#latestTimeline.get(orderId)?.version ?? 0);
  }

  /** The row at `key`, checked. Throws `DATA_DAMAGED`. */
  load(table: Table, key: string): Row | undefined {
    return this.#loaders.get(table)?.(key);
  }
}

export function createLoader(handle: Database, table: Table): (key: string) => Row | undefined {
  const select = handle.prepare<StoredRow, [string]>(
    `SELECT ${rowColumns(table)} FROM ${table} WHERE key = ?`,
  );
  return (key) => {
    const stored = select.get(key);
    return stored === null ? undefined : checkedRow(table, stored);
  };
}

function createWriter(handle: Database, table: Table): RowWriter {
  const select = handle.prepare<{ version: number }, [string]>(
    `SELECT version FROM ${table} WHERE key = ?`,
  );
  const apply = writerOf(handle, table);
  return (write, nowMs) => {
    const version = write.expectedVersion + 1;
    const { key, data, columns } = write;
    const crc = rowChecksum({ key, version, data, ...columns });
    if (apply(write, version, crc, nowMs)) return undefined;
    return select.get(key)?.version ?? 0;
  };
}

function writerOf(handle: Database, table: Table): Apply {
  if (table === "orders") return ordersWriter(handle);
  return table === "fraud" ? fraudWriter(handle) : plainWriter(handle, table);
}

type Apply = (write: RowWrite, version: number, crc: number, nowMs: number) => boolean;

function plainWriter(handle: Database, table: Table): Apply {
  const isAged = table === "idempotency";
  const insert = handle.prepare<unknown, [string, number, number, Uint8Array, ...number[]]>(
    `INSERT OR IGNORE INTO ${table} VALUES (?, ?, ?, ?${isAged ? ", ?" : ""})`,
  );
  const update = handle.prepare<unknown, [number, number, Uint8Array, ...(string | number)[]]>(
    `UPDATE ${table} SET version = ?, crc = ?, data = ?${isAged ? ", written_at = ?" : ""}
     WHERE key = ? AND version = ?`,
  );
  return ({ key, expectedVersion, data }, version, crc, nowMs) => {
    const at = isAged ? [nowMs] : [];
    if (expectedVersion === 0) return insert.run(key, version, crc, data, ...at).changes === 1;
    return update.run(version, crc, data, ...at, key, expectedVersion).changes === 1;
  };
}

/** A row is as old as the day of its last write, so that its index is touched once a day. */
function fraudWriter(handle: Database): Apply {
  const insert = handle.prepare<unknown, [string, number, number, Uint8Array, number]>(
    "INSERT OR IGNORE INTO fraud VALUES (?, ?, ?, ?, ?)",
  );
  const updateData = handle.prepare<unknown, [number, number, Uint8Array, string, number, number]>(
    `UPDATE fraud SET version = ?, crc = ?, data = ?
     WHERE key = ? AND version = ? AND written_at = ?`,
  );
  const updateAll = handle.prepare<unknown, [number, number, Uint8Array, number, string, number]>(
    `UPDATE fraud SET version = ?, crc = ?, data = ?, written_at = ?
     WHERE key = ? AND version = ?`,
  );
  return ({ key, expectedVersion: old, data }, version, crc, nowMs) => {
    const dayMs = nowMs - (nowMs % WRITTEN_GRAIN_MS);
    if (old === 0) return insert.run(key, version, crc, data, dayMs).changes === 1;
    return (
      updateData.run(version, crc, data, key, old, dayMs).changes === 1 ||
      updateAll.run(version, crc, data, dayMs, key, old).changes === 1
    );
  };
}

/** Most updates change none of the indexed columns: trying that first spares three indexes. */
function ordersWriter(handle: Database): Apply {
  const insert = handle.prepare<
    unknown,
    [string, number, number, Uint8Array, string, string, number]
  >("INSERT OR IGNORE INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)");
  const updateData = handle.prepare<
    unknown,
    [number, number, Uint8Array, string, number, string, string, number]
  >(
    `UPDATE orders SET version = ?, crc = ?, data = ? WHERE key = ? AND version = ?
     AND customer_id = ? AND status = ? AND created_at = ?`,
  );
  const updateStatus = handle.prepare<
    unknown,
    [number, number, Uint8Array, string, string, number, string, number]
  >(
    `UPDATE orders SET version = ?, crc = ?, data = ?, status = ? WHERE key = ? AND version = ?
     AND customer_id = ? AND created_at = ?`,
  );
  const updateAll = handle.prepare<
    unknown,
    [number, number, Uint8Array, string, string, number, string, number]
  >(
    `UPDATE orders SET version = ?, crc = ?, data = ?, customer_id = ?, status = ?, created_at = ?
     WHERE key = ? AND version = ?`,
  );
  return ({ key, expectedVersion: old, data, columns }, version, crc) => {
    if (columns === undefined) return false;
    const { customerId: customer, status, createdAtMs: created } = columns;
    if (old === 0) {
      return insert.run(key, version, crc, data, customer, status, created).changes === 1;
    }
    return (
      updateData.run(version, crc, data, key, old, customer, status, created).changes === 1 ||
      updateStatus.run(version, crc, data, status, key, old, customer, created).changes === 1 ||
      updateAll.run(version, crc, data, customer, status, created, key, old).changes === 1
    );
  };
}
