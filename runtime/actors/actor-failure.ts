/**
 * What is known about an actor's failure: who, which incarnation, and over which messages.
 *
 * It is a report, never thrown: supervisors get it as the error of an abnormal exit, and what was
 * thrown is its `cause`. Its text names kinds of messages and never shows their contents.
 */

import { describeError } from "../errors.ts";
import type { Exit } from "../supervision/child.ts";

export class ActorFailure extends Error {
  override readonly name = "ActorFailure";
  readonly path: string;
  readonly incarnation: number;
  /** What was being handled; empty when a hook, setup or a signal failed. */
  readonly messages: readonly unknown[];

  constructor(
    path: string,
    incarnation: number,
    doing: string,
    messages: readonly unknown[],
    cause: unknown,
  ) {
    super(`${path}#${incarnation} failed in ${doing}: ${describeError(cause)}`, { cause });
    this.path = path;
    this.incarnation = incarnation;
    this.messages = messages;
  }
}

export function abnormalExit(failure: ActorFailure): Exit {
  return { kind: "abnormal", error: failure };
}

/** What was thrown, for a hook: the failure around it is for supervisors. */
export function causeOfExit(exit: Exit): unknown {
  if (exit.kind !== "abnormal") return undefined;
  return exit.error instanceof ActorFailure ? exit.error.cause : exit.error;
}

/** `receive(order.create)` for a discriminated message, `receive` for any other. */
export function describeHandling(messages: readonly unknown[]): string {
  const [first] = messages;
  if (messages.length === 0) return "a signal";
  if (messages.length > 1) return `receiveBatch(${messages.length} messages)`;
  const kind = kindOf(first);
  return kind === undefined ? "receive" : `receive(${kind})`;
}

function kindOf(message: unknown): string | undefined {
  if (typeof message !== "object" || message === null) return undefined;
  if ("type" in message && typeof message.type === "string") return message.type;
  if ("kind" in message && typeof message.kind === "string") return message.kind;
  return undefined;
}
