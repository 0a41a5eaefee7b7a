/**
 * The journal's SQLite handle: settings, transactions, checkpoints.
 *
 * WAL with `synchronous = FULL`: COMMIT returns after fsync. Checkpoints are made by hand, so that
 * no commit pays for one that could wait. Refuses nested transactions. After an error of kind
 * `fault` the handle must be closed: SQLite goes on accepting writes after a failed fsync, on pages
 * that the kernel may already have dropped.
 */

import { Database } from "bun:sqlite";

import { assert } from "../../../runtime/errors.ts";
import type { FaultPoint, JournalTuning } from "./journal-types.ts";
import { makePrivateFile } from "./durable-directory.ts";
import { BUSY_TIMEOUT_MS } from "./journal-limits.ts";
import { createUndoLog } from "./undo-log.ts";
import type { UndoLog } from "./undo-log.ts";

const SYNCHRONOUS_FULL = 2;
const PAGE_BYTES = 4_096;

export interface JournalDatabase {
  readonly handle: Database;
  /** Where tables leave the way back for what they mirror in memory. */
  readonly undo: UndoLog;
  /** Runs `work` in a transaction that is durable on return; all or nothing. */
  transaction<T>(work: () => T): T;
  /** Runs `work`; rolls its changes back, and nothing else, when it returns false. */
  guarded(work: () => boolean): void;
  /** Copies what it can from WAL to database without waiting for readers. */
  checkpoint(): void;
  /**
   * Makes everything in the WAL durable again by copying it to the database. Throws an error of
   * kind `busy` when a reader was in the way.
   */
  sync(): void;
  walFrames(): number;
  databaseBytes(): number;
  close(): void;
}

export function openDatabase(
  path: string,
  tuning: JournalTuning,
  faults: ((point: FaultPoint) => void) | undefined,
): JournalDatabase {
  faults?.("open");
  makePrivateFile(path);
  const handle = new Database(path, { create: true, readwrite: true, strict: true });
  try {
    configure(handle, tuning);
    return wrap(handle, faults);
  } catch (error) {
    handle.close(true);
    throw error;
  }
}

function configure(handle: Database, tuning: JournalTuning): void {
  handle.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  handle.run(`PRAGMA page_size = ${PAGE_BYTES}`);
  handle.run("PRAGMA journal_mode = WAL");
  handle.run("PRAGMA synchronous = FULL");
  handle.run("PRAGMA wal_autocheckpoint = 0");
  handle.run("PRAGMA temp_store = MEMORY");
  handle.run(`PRAGMA cache_size = -${Math.ceil(tuning.cacheBytes / 1024)}`);
  const mode = handle.prepare<{ journal_mode: string }, []>("PRAGMA journal_mode").get();
  assert(mode?.journal_mode === "wal", "the journal's database must be in WAL mode");
  const level = handle.prepare<{ synchronous: number }, []>("PRAGMA synchronous").get();
  assert(level?.synchronous === SYNCHRONOUS_FULL, "the journal's commits must be synced");
}

interface CheckpointRow {
  readonly busy: number;
  readonly log: number;
  readonly checkpointed: number;
}

function wrap(
  handle: Database,
  faults: ((point: FaultPoint) => void) | undefined,
): JournalDatabase {
  const undo = createUndoLog();
  const begin = handle.prepare("BEGIN IMMEDIATE");
  const commit = handle.prepare("COMMIT");
  const rollback = handle.prepare("ROLLBACK");
  const savepoint = handle.prepare("SAVEPOINT unit");
  const release = handle.prepare("RELEASE unit");
  const rollbackTo = handle.prepare("ROLLBACK TO unit");
  const look = handle.prepare<CheckpointRow, []>("PRAGMA wal_checkpoint(NOOP)");
  const passive = handle.prepare<CheckpointRow, []>("PRAGMA wal_checkpoint(PASSIVE)");
  const truncate = handle.prepare<CheckpointRow, []>("PRAGMA wal_checkpoint(TRUNCATE)");
  const pages = handle.prepare<{ page_count: number }, []>("PRAGMA page_count");

  return {
    handle,
    undo,
    transaction(work) {
      faults?.("begin");
      begin.run();
      try {
        const result = work();
        faults?.("commit");
        commit.run();
        faults?.("committed");
        undo.commit();
        return result;
      } catch (error) {
        undo.rollback();
        // A full disk makes SQLite roll back by itself.
        if (handle.inTransaction) rollback.run();
        throw error;
      }
    },
    guarded(work) {
      savepoint.run();
      if (!work()) rollbackTo.run();
      release.run();
    },
    checkpoint() {
      faults?.("checkpoint");
      passive.get();
    },
    sync() {
      faults?.("checkpoint");
      if (truncate.get()?.busy !== 0) throw new BusyCheckpoint();
    },
    // -1 before the first write.
    walFrames: () => Math.max(0, look.get()?.log ?? 0),
    databaseBytes: () => (pages.get()?.page_count ?? 0) * PAGE_BYTES,
    // Without `true` the connection, and its locks, live on until every statement is collected.
    close: () => handle.close(true),
  };
}

/** Has the code of the SQLite error that the pragma answers instead of throwing. */
class BusyCheckpoint extends Error {
  readonly code = "SQLITE_BUSY";
}
