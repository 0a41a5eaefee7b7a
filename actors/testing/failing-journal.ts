/**
 * The journal's thread with storage that fails on demand: a word of shared memory says how.
 *
 * For the tests of storage faults; no part of the shop.
 */

import type { JournalThreadData } from "../stores/journal-runner.ts";

import { workerData } from "node:worker_threads";

import { runJournal } from "../stores/journal-runner.ts";
import { DISK_FULL, IO_FAULT } from "./storage-fault.ts";

export interface FailingJournalData extends JournalThreadData {
  /** One Int32 with the fault in force. */
  readonly fault: SharedArrayBuffer;
}

/** What SQLite's own errors look like to whoever catches them. */
class StorageError extends Error {
  readonly code: string;

  constructor(code: string) {
    super(`${code}: on request`);
    this.code = code;
  }
}

// Made by the tests, which are of this build.
const data = workerData as FailingJournalData;
const fault = new Int32Array(data.fault);
await runJournal(data, (point) => {
  // Set by the test's thread.
  const inForce = Atomics.load(fault, 0);
  if (inForce === DISK_FULL && point === "unit") throw new StorageError("SQLITE_FULL");
  if (inForce === IO_FAULT && point === "commit") throw new StorageError("SQLITE_IOERR_FSYNC");
});
