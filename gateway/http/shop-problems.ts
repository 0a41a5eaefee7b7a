/**
 * What the shop refuses or fails at, as the problem that a client is told.
 *
 * The one place where codes of the shop become statuses of HTTP. Anything that is not an expected
 * failure is `undefined` here: the caller answers 500 and tells only the log.
 */

import type { CommandReply } from "../../actors/contracts/order-state.ts";
import type { ErrorCode } from "../../runtime/errors.ts";
import { InvariantError, isShopError } from "../../runtime/errors.ts";
import type { ProblemKind } from "./problem.ts";
import { Problem, retryLater } from "./problem.ts";

type Refusal = Extract<CommandReply, { kind: "refused" }>;

const REFUSALS: Readonly<Record<Refusal["code"], ProblemKind>> = {
  not_found: "not_found",
  not_cancellable: "not_cancellable",
  idempotency_mismatch: "idempotency_mismatch",
  version_conflict: "stale_version",
  version_required: "version_required",
  storage_unavailable: "unavailable",
  expired: "timed_out",
  failed: "internal",
};

const DETAILS: Readonly<Partial<Record<ProblemKind, string>>> = {
  not_found: "nothing is stored under this id",
  not_cancellable: "the order has been shipped",
  idempotency_mismatch: "the same Idempotency-Key came with another body before",
  stale_version: "the current version is not one that the request allows",
  version_required: "the resource exists; send If-Match with the ETag of the version you read",
  timed_out: "it is not known whether the request took effect; read, or repeat it with its key",
  internal: "the failure has been logged under the correlation id",
};

const SATURATED: ReadonlySet<ErrorCode> = new Set(["SATURATED", "MAILBOX_FULL"]);
const UNAVAILABLE: ReadonlySet<ErrorCode> = new Set([
  "CLOSED",
  "PROVIDER_UNAVAILABLE",
  "STORAGE_FAULT",
  "STORAGE_FULL",
]);
const UNKNOWN_OUTCOME: ReadonlySet<ErrorCode> = new Set(["ASK_TIMEOUT", "INDETERMINATE"]);

/** The problem for a refused command. `detail` of the reply is for the log, not for the client. */
export function problemOfRefusal(refusal: Refusal): Problem {
  const kind = REFUSALS[refusal.code];
  return kind === "unavailable" ? unavailable() : describe(kind);
}

/** The problem for something thrown; `undefined` when it was not expected. */
export function problemOfError(error: unknown): Problem | undefined {
  if (!isShopError(error)) return undefined;
  if (SATURATED.has(error.code)) return saturated("the shards have more work than they can hold");
  if (UNAVAILABLE.has(error.code)) return unavailable();
  if (UNKNOWN_OUTCOME.has(error.code)) return describe("timed_out");
  // Of reads whose store this process does not have: their text is written for clients. That of
  // what else cannot be used names hosts and users, and is for the log.
  if (error.code === "READS_UNAVAILABLE") return retryLater("unavailable", error.message);
  return error.code === "PAYLOAD_TOO_LARGE"
    ? new Problem("body_too_large", "the order is too large to be stored")
    : undefined;
}

/** The reply, when it is of the `kind` that its command is answered with, or the refusal. */
export function expectReply<Kind extends "order" | "stock">(
  reply: CommandReply,
  kind: Kind,
): Extract<CommandReply, { kind: Kind }> | Problem {
  if (reply.kind === "refused") return problemOfRefusal(reply);
  if (reply.kind !== kind) throw new InvariantError(`a ${kind} was answered with ${reply.kind}`);
  return reply as Extract<CommandReply, { kind: Kind }>; // the line above has checked the kind
}

export function saturated(detail: string): Problem {
  return retryLater("saturated", detail);
}

export function describe(kind: ProblemKind): Problem {
  return new Problem(kind, DETAILS[kind] ?? "");
}

function unavailable(): Problem {
  return retryLater("unavailable", "the storage or a service cannot be reached; nothing was taken");
}
