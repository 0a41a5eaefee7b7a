/**
 * The database of analytics: one file beside the journal, with its tables and its transactions.
 *
 * WAL with `synchronous = FULL`: what a transaction did is on the disk when it returns. After a
 * failure of the disk the handle is not trusted any more: it is closed, and the next call opens the
 * file anew. Refuses a file of another version of the tables.
 */

import { Database } from "bun:sqlite";
import { join } from "node:path";

import { ShopError } from "../../runtime/errors.ts";
import { makePrivateFile } from "../stores/journal/durable-directory.ts";
import { sqliteFailure, storageError } from "../stores/journal/sqlite-failure.ts";

const FILE_NAME = "analytics.db";
const SCHEMA_VERSION = 1;
const BUSY_TIMEOUT_MS = 5_000;
const CACHE_KIB = 16_384;
/** The log beside the file is cut back to this after a checkpoint. */
const LOG_BYTES_MAX = 64 * 1_024 * 1_024;

/**
 * `cells`: keyed so that a series over a range of time is one run of rows. `seen` is keyed by day
 * first, so that days are forgotten as a whole.
 */
const DDL = `
CREATE TABLE progress (
  id INTEGER PRIMARY KEY CHECK (id = 1), cursor TEXT NOT NULL, stored_at INTEGER NOT NULL);
CREATE TABLE cells (
  granularity TEXT NOT NULL, metric TEXT NOT NULL, dimension TEXT NOT NULL,
  start INTEGER NOT NULL, currency TEXT NOT NULL, value TEXT NOT NULL,
  count INTEGER NOT NULL, sum INTEGER NOT NULL, sketch BLOB,
  PRIMARY KEY (granularity, metric, dimension, start, currency, value)) WITHOUT ROWID;
CREATE TABLE visitors (start INTEGER PRIMARY KEY, registers BLOB NOT NULL);
CREATE TABLE seen (day INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (day, id)) WITHOUT ROWID;
CREATE TABLE customers (
  id TEXT PRIMARY KEY NOT NULL, orders INTEGER NOT NULL, last_day INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX customers_last ON customers (last_day);
CREATE TABLE open_orders (
  id TEXT PRIMARY KEY NOT NULL, at INTEGER NOT NULL, data BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX open_orders_at ON open_orders (at);
PRAGMA user_version = ${SCHEMA_VERSION};
`;

export function analyticsPath(directory: string): string {
  return join(directory, FILE_NAME);
}

/** What SQLite throws, as the shop knows it; anything else unchanged. */
export function analyticsFailure(error: unknown): unknown {
  const failure = sqliteFailure(error);
  if (failure === undefined) return error;
  const { code, retry } = storageError(failure, error);
  return new ShopError(code, `the store of analytics failed: ${failure}`, retry, { cause: error });
}

/** A connection that writes. Throws `STORAGE_FAULT`, `STORAGE_FULL` or `DATA_DAMAGED`. */
export function openAnalyticsDatabase(directory: string): Database {
  return guarded(() => {
    makePrivateFile(analyticsPath(directory));
    const handle = new Database(analyticsPath(directory), { create: true, readwrite: true });
    try {
      handle.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
      handle.run("PRAGMA journal_mode = WAL");
      handle.run("PRAGMA synchronous = FULL");
      handle.run("PRAGMA temp_store = MEMORY");
      handle.run(`PRAGMA cache_size = -${CACHE_KIB}`);
      handle.run(`PRAGMA journal_size_limit = ${LOG_BYTES_MAX}`);
      handle.transaction(() => {
        if (schemaVersion(handle) === 0) handle.run(DDL);
      })();
      checkVersion(handle);
      return handle;
    } catch (error) {
      handle.close(true);
      throw error;
    }
  });
}

/**
 * A connection that only reads; `undefined` while there is nothing to read. Throws
 * `STORAGE_FAULT` or `DATA_DAMAGED`.
 */
export function openAnalyticsReader(directory: string): Database | undefined {
  return guarded(() => {
    let handle: Database | undefined;
    try {
      handle = new Database(analyticsPath(directory), { readonly: true });
      handle.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
      if (schemaVersion(handle) !== 0) {
        checkVersion(handle);
        return handle;
      }
    } catch (error) {
      if (!isMissing(error)) {
        handle?.close(true);
        throw error;
      }
    }
    handle?.close(true);
    return undefined;
  });
}

function schemaVersion(handle: Database): number {
  const row = handle.prepare<{ user_version: number }, []>("PRAGMA user_version").get();
  return row?.user_version ?? 0;
}

function checkVersion(handle: Database): void {
  const version = schemaVersion(handle);
  if (version === SCHEMA_VERSION) return;
  const problem = `${FILE_NAME} has version ${version} of the tables, this is ${SCHEMA_VERSION}`;
  throw new ShopError("DATA_DAMAGED", problem, "never");
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "SQLITE_CANTOPEN";
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw analyticsFailure(error);
  }
}
