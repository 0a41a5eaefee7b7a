/**
 * What SQLite throws at the audit, as its callers see it.
 *
 * It sorts by the journal's rules. Anything that did not come from the storage passes as it is: it
 * is a bug and not to be caught.
 */

import { describeError, ShopError } from "../../runtime/errors.ts";
import { sqliteFailure } from "../stores/journal/sqlite-failure.ts";

/** What to throw instead of `error`. */
export function auditFailure(error: unknown): unknown {
  // Only a record that is not ours can stand in the place of the next one.
  const failure = isConstraint(error) ? "corrupt" : sqliteFailure(error);
  if (failure === undefined) return error;
  const text = describeError(error);
  switch (failure) {
    case "full":
      return new ShopError("STORAGE_FULL", `no space left for the audit (${text})`, "later", {
        cause: error,
      });
    case "corrupt":
      return new ShopError("DATA_DAMAGED", `the audit's file is damaged (${text})`, "never", {
        cause: error,
      });
    case "busy":
    case "fault":
      return new ShopError("STORAGE_FAULT", `the audit's disk failed (${text})`, "later", {
        cause: error,
      });
  }
}

function isConstraint(error: unknown): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  return typeof error.code === "string" && error.code.startsWith("SQLITE_CONSTRAINT");
}
