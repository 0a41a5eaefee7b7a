/**
 * What an error of the server or of the connection means for a transaction.
 *
 * Decided by code only, never by message. "Nothing was sent" is said of codes alone that a
 * connection which was there cannot end with: of those of TLS, what a certificate is refused with.
 * Anything without a code that is known here is a bug of ours: it is told apart by `undefined`, to
 * be thrown on.
 */

import type { ErrorCode } from "../../../runtime/errors.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { tlsCodeKind } from "../../../runtime/tls-fault.ts";

/** Raised by `commit_units`. */
const MOVED = "SS001";
const FENCED = "SS002";
const DECIDED = "SS003";

export type PostgresFailureKind =
  /** Rows were not as assumed, or two transactions were in each other's way: look, and again. */
  | "moved"
  | "fenced"
  /** A batch of this number was committed or given up before. */
  | "decided"
  | "full"
  /** Not written, for a reason that may pass. */
  | "fault"
  /** Not written, and never will be: the data itself was refused. */
  | "refused"
  /** The connection ended: whether it was written is not known. */
  | "lost"
  /** There was no connection: nothing was sent. */
  | "unreached";

const MOVED_CODES = new Set([MOVED, "23505", "40001", "40P01"]);
const UNREACHED_CODES = new Set([
  "CONNECT_TIMEOUT",
  "ECONNREFUSED",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOENT",
  "ENOTFOUND",
  "53300",
  "57P03",
]);
const LOST_CODES = new Set([
  "25P03",
  "57P01",
  "57P02",
  "57P05",
  "CONNECTION_CLOSED",
  "CONNECTION_DESTROYED",
  "CONNECTION_ENDED",
  "ECONNABORTED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
]);

/** By the first two characters of a SQLSTATE. */
const CLASSES: Readonly<Record<string, PostgresFailureKind>> = {
  "08": "lost",
  "22": "refused",
  "23": "refused",
  "28": "unreached",
  "3D": "unreached",
  "54": "refused",
};

const SQLSTATE = /^[0-9A-Z]{5}$/;

/** `undefined`: not a failure of the server or of the way to it. */
export function postgresFailure(error: unknown): PostgresFailureKind | undefined {
  const code = errorCode(error);
  if (code === undefined) return undefined;
  if (MOVED_CODES.has(code)) return "moved";
  if (code === FENCED) return "fenced";
  if (code === DECIDED) return "decided";
  if (code === "53100") return "full";
  if (UNREACHED_CODES.has(code)) return "unreached";
  if (LOST_CODES.has(code)) return "lost";
  const tls = tlsCodeKind(code);
  if (tls !== undefined) return tls === "certificate" ? "unreached" : "lost";
  return SQLSTATE.test(code) ? (CLASSES[code.slice(0, 2)] ?? "fault") : undefined;
}

export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

const STORAGE_CODES: Readonly<Record<PostgresFailureKind, ErrorCode>> = {
  moved: "STORAGE_FAULT",
  fenced: "FENCED",
  decided: "STORAGE_FAULT",
  full: "STORAGE_FULL",
  fault: "STORAGE_FAULT",
  refused: "BAD_MESSAGE",
  lost: "INDETERMINATE",
  unreached: "STORAGE_FAULT",
};

/** The failure as the store's callers know it. */
export function storageFailure(kind: PostgresFailureKind, cause: unknown): ShopError {
  const isFinal = kind === "fenced" || kind === "refused";
  const message = `PostgreSQL: ${failureText(cause)}`;
  return new ShopError(STORAGE_CODES[kind], message, isFinal ? "never" : "later", { cause });
}

/** Of a read: it changed nothing, so even a lost connection is only a fault. */
export function readFailure(error: unknown): unknown {
  const kind = postgresFailure(error);
  return kind === undefined ? error : storageFailure(kind === "lost" ? "fault" : kind, error);
}

/** One line; never a parameter, a query or a password. */
export function failureText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = errorCode(error);
  return code === undefined ? error.message : `${error.message} (${code})`;
}
