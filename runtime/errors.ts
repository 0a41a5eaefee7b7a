/**
 * The two kinds of failure, and nothing else.
 *
 * A bug is an `InvariantError`: the actor that hit it dies and its supervisor decides. Everything
 * that can be expected is a `ShopError`: a code from a closed union, and one bit that says whether
 * trying again later can help. Matching on message text is refused by the check command.
 */

export type ErrorCode =
  | "ASK_TIMEOUT"
  | "BAD_CONFIGURATION"
  | "BAD_FRAME"
  | "BAD_MESSAGE"
  | "CHECK_UNAVAILABLE"
  | "CIRCUIT_OPEN"
  | "CLOSED"
  | "DATA_DIRECTORY_IN_USE"
  | "DATA_DAMAGED"
  | "FENCED"
  | "HANDLER_TIMEOUT"
  | "INDETERMINATE"
  | "MAILBOX_FULL"
  | "PAYLOAD_TOO_LARGE"
  | "PROVIDER_UNAVAILABLE"
  | "READS_UNAVAILABLE"
  | "SATURATED"
  | "SERVER_UNUSABLE"
  | "STALE"
  | "STORAGE_FAULT"
  | "STORAGE_FULL"
  | "UNKNOWN_TOPIC"
  | "VERSION_CONFLICT";

/** `later`: the same call may succeed after a wait. `never`: it cannot. */
export type Retry = "never" | "later";

/** An expected failure. `code` is what callers branch on; the message is for people. */
export class ShopError extends Error {
  override readonly name = "ShopError";
  readonly code: ErrorCode;
  readonly retry: Retry;

  constructor(code: ErrorCode, message: string, retry: Retry, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.retry = retry;
  }
}

/** A broken promise inside our own code: never caught to continue, only to report and restart. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** Throws `InvariantError` unless `condition` holds. Left on in production. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** True for a `ShopError` with one of `codes` (any code when none is given). */
export function isShopError(error: unknown, ...codes: readonly ErrorCode[]): error is ShopError {
  return error instanceof ShopError && (codes.length === 0 || codes.includes(error.code));
}

/** One line about anything that was thrown. */
export function describeError(error: unknown): string {
  if (error instanceof ShopError) return `${error.code}: ${error.message}`;
  if (error instanceof Error) return `${error.name}: ${error.message}`;
  return String(error);
}
