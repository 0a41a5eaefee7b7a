/**
 * One process (and one journal) per data directory: an exclusive lock on a small file beside it.
 *
 * The lock is SQLite's own, held by an open transaction on `lock.db`, so the kernel releases it
 * when the process ends, however it ends. The owner's pid is written down for the message only.
 * Refuses the second with `DATA_DIRECTORY_IN_USE`. Nothing else may open and close `lock.db` in
 * the process that holds it: POSIX drops a process's locks on a file with its first `close`.
 */

import { Database } from "bun:sqlite";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { describeError, ShopError } from "../../../runtime/errors.ts";
import { sqliteFailure } from "./sqlite-failure.ts";

const LOCK_FILE = "lock.db";
const OWNER_FILE = "owner.pid";

export interface ProcessLock {
  release(): void;
}

/** Takes the lock at once or throws `DATA_DIRECTORY_IN_USE`. `directory` exists. */
export function lockDirectory(directory: string): ProcessLock {
  const handle = new Database(join(directory, LOCK_FILE), { create: true, readwrite: true });
  try {
    handle.run("PRAGMA busy_timeout = 0");
    handle.run("BEGIN EXCLUSIVE");
  } catch (error) {
    handle.close(true);
    if (sqliteFailure(error) !== "busy") throw error;
    const message = `data directory ${directory} is in use by ${owner(directory)}`;
    throw new ShopError("DATA_DIRECTORY_IN_USE", message, "never", { cause: error });
  }
  writeFileSync(join(directory, OWNER_FILE), `${process.pid}\n`);
  return {
    release() {
      handle.close(true);
    },
  };
}

function owner(directory: string): string {
  try {
    return `process ${readFileSync(join(directory, OWNER_FILE), "utf8").trim()}`;
  } catch (error) {
    return `another process (its pid is not known: ${describeError(error)})`;
  }
}
