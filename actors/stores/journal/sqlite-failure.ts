/**
 * Sorts what SQLite throws into the few kinds the journal reacts to.
 *
 * Codes are read from the error's `code`; the text is for people. Anything that is none of these
 * kinds is a bug of ours and is not to be caught.
 */

import { describeError, ShopError } from "../../../runtime/errors.ts";

/**
 * `full`: no space; nothing was written and the handle is good. `fault`: input or output failed;
 * the handle cannot be trusted. `corrupt`: what is stored is not a database. `busy`: another
 * process holds the database.
 */
export type SqliteFailure = "full" | "fault" | "corrupt" | "busy";

const EXACT: Readonly<Record<string, SqliteFailure>> = {
  SQLITE_FULL: "full",
  // The shared-memory index could not grow: the same want of space, met at another file.
  SQLITE_IOERR_SHMSIZE: "full",
  SQLITE_NOTADB: "corrupt",
  SQLITE_PROTOCOL: "busy",
};
const PREFIXED: readonly (readonly [prefix: string, failure: SqliteFailure])[] = [
  ["SQLITE_IOERR", "fault"],
  ["SQLITE_CANTOPEN", "fault"],
  ["SQLITE_READONLY", "fault"],
  ["SQLITE_NOMEM", "fault"],
  ["SQLITE_CORRUPT", "corrupt"],
  ["SQLITE_BUSY", "busy"],
  ["SQLITE_LOCKED", "busy"],
];

/** The kind of failure, or `undefined` when `error` did not come from SQLite or is our mistake. */
export function sqliteFailure(error: unknown): SqliteFailure | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  const { code } = error;
  if (typeof code !== "string") return undefined;
  return EXACT[code] ?? PREFIXED.find(([prefix]) => code.startsWith(prefix))?.[1];
}

/** The failure as callers of the journal see it. */
export function storageError(failure: SqliteFailure, cause: unknown): ShopError {
  const text = describeError(cause);
  switch (failure) {
    case "full":
      return new ShopError("STORAGE_FULL", `no space left for the journal (${text})`, "later", {
        cause,
      });
    case "corrupt":
      return new ShopError("DATA_DAMAGED", `the journal's file is damaged (${text})`, "never", {
        cause,
      });
    case "busy":
    case "fault":
      return new ShopError("STORAGE_FAULT", `the journal's disk failed (${text})`, "later", {
        cause,
      });
  }
}
