/**
 * What SQLite says is sorted by code, never by text. What is not known to be storage's failure must
 * not be taken for one.
 */

import { expect, test } from "bun:test";

import { sqliteFailure, storageError } from "./sqlite-failure.ts";

function sqliteError(code: string): Error {
  return Object.assign(new Error("disk I/O error"), { code });
}

test.each([
  ["SQLITE_FULL", "full"],
  ["SQLITE_IOERR_SHMSIZE", "full"],
  ["SQLITE_IOERR", "fault"],
  ["SQLITE_IOERR_FSYNC", "fault"],
  ["SQLITE_CANTOPEN", "fault"],
  ["SQLITE_READONLY_DBMOVED", "fault"],
  ["SQLITE_CORRUPT", "corrupt"],
  ["SQLITE_CORRUPT_INDEX", "corrupt"],
  ["SQLITE_NOTADB", "corrupt"],
  ["SQLITE_BUSY", "busy"],
  ["SQLITE_BUSY_SNAPSHOT", "busy"],
] as const)("%s is a failure of kind %s", (code, failure) => {
  expect(sqliteFailure(sqliteError(code))).toBe(failure);
});

test("our own mistakes and foreign errors are not failures of storage", () => {
  expect(sqliteFailure(sqliteError("SQLITE_CONSTRAINT_UNIQUE"))).toBeUndefined();
  expect(sqliteFailure(sqliteError("SQLITE_MISUSE"))).toBeUndefined();
  expect(sqliteFailure(Object.assign(new Error("x"), { code: 10 }))).toBeUndefined();
  expect(sqliteFailure(new Error("SQLITE_FULL"))).toBeUndefined();
  expect(sqliteFailure({ code: "SQLITE_FULL" })).toBeUndefined();
});

test.each([
  ["full", "STORAGE_FULL", "later"],
  ["fault", "STORAGE_FAULT", "later"],
  ["busy", "STORAGE_FAULT", "later"],
  ["corrupt", "DATA_DAMAGED", "never"],
] as const)("a failure of kind %s is reported as %s, retry %s", (failure, code, retry) => {
  const cause = sqliteError("SQLITE_X");
  expect(storageError(failure, cause)).toMatchObject({ code, retry, cause });
});
