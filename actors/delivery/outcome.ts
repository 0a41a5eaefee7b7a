/**
 * What a handler is given, and what it may answer.
 *
 * A handler never settles a delivery itself: it answers with an outcome, or fails, and the
 * consumer turns that into exactly one of acknowledge, postpone or bury. Outcomes outside this
 * union are refused by the compiler.
 */

import type { Frame } from "../../runtime/frames/frame-header.ts";
import type { ErrorCode } from "../../runtime/errors.ts";
import type { Delivery } from "../brokers/broker.ts";
import type { RetryPolicy } from "./retry-schedule.ts";

import { isShopError } from "../../runtime/errors.ts";

/**
 * Failures of our own storage, of our own end, of lack of room, or of a neighbour that was not even
 * asked: the frame is not to blame, so they do not count towards the attempts after which it is
 * buried. A shard that was fenced or closed buries nothing: what it has in hand is another's.
 */
const BLAMELESS: readonly ErrorCode[] = [
  "CHECK_UNAVAILABLE",
  "CIRCUIT_OPEN",
  "CLOSED",
  "DATA_DAMAGED",
  "FENCED",
  "STORAGE_FULL",
  "STORAGE_FAULT",
  "SATURATED",
];

/** One attempt at one frame. */
export interface Message<Body> {
  /** What a unit of work acknowledges together with its effects. */
  readonly delivery: Delivery;
  /** Header, key, message id and trace of the frame; checked. */
  readonly frame: Frame;
  /** 1 for the first attempt of this group; grows with every retry and redelivery. */
  readonly attempt: number;
  readonly body: Body;
}

/**
 * `settled`: the unit of work acknowledged the delivery in its own commit. `ack`: acknowledge it,
 * nothing else is to be done. `retry`: again after a wait. `bury`: to the dead letters.
 */
export type Outcome =
  | { readonly kind: "settled" }
  | { readonly kind: "ack" }
  | Retry
  | { readonly kind: "bury"; readonly reason: string; readonly error: unknown };

/** Another attempt: by whose schedule, and whether this one counts. */
export interface Retry {
  readonly kind: "retry";
  readonly error: unknown;
  /** Absent: the schedule of the consumer's policy. */
  readonly schedule?: RetryPolicy;
  /** True: the frame is not to blame. Absent: the error's code says. */
  readonly blameless?: boolean;
}

export const SETTLED: Outcome = { kind: "settled" };
export const ACK: Outcome = { kind: "ack" };

/** `signal` is aborted when the consumer closes: what is still unsettled then comes back. */
export type HandleOne<Body> = (message: Message<Body>, signal: AbortSignal) => Promise<Outcome>;

/** Answers one outcome for each message, in the same order. No two messages share a key. */
export type HandleBatch<Body> = (
  messages: readonly Message<Body>[],
  signal: AbortSignal,
) => Promise<readonly Outcome[]>;

/**
 * `concurrencyMax`: calls in progress at one time, over all keys, besides a bounded number of those
 * that have become slow.
 */
export type Handler<Body> =
  | {
      readonly kind: "single";
      readonly concurrencyMax: number;
      readonly handle: HandleOne<Body>;
    }
  | {
      readonly kind: "batch";
      readonly concurrencyMax: number;
      readonly batchMax: number;
      readonly handle: HandleBatch<Body>;
    };

/** A handler of single messages is one of batches that takes them side by side. */
export function batchHandleOf<Body>(handler: Handler<Body>): HandleBatch<Body> {
  if (handler.kind === "batch") return handler.handle;
  const { handle } = handler;
  return async (messages, signal) =>
    Promise.all(messages.map((message) => handle(message, signal)));
}

/** The outcome of a handler that threw: what can never succeed is buried under its code. */
export function outcomeOfFailure(error: unknown): Outcome {
  if (isShopError(error) && error.retry === "never" && !isBlameless(error)) {
    return { kind: "bury", reason: error.code.toLowerCase(), error };
  }
  return { kind: "retry", error };
}

/** True when `error` says nothing about the frame that met it. */
export function isBlameless(error: unknown): boolean {
  return isShopError(error, ...BLAMELESS);
}
