/**
 * What a message of a partition's queue has beside its bytes: which copy it is, how often it came.
 *
 * Its properties are decoded at the first look at them, which costs more than all else that is done
 * with a frame. It refuses nothing: a message of another publisher may have no name, or one that is
 * nobody's here.
 */

import type { LazyMessage } from "amqplib";

import type { Postponement } from "../broker.ts";

/** Given out before, by the queue's own count. */
export function wasGivenOut(message: LazyMessage): boolean {
  return message.hasHeaders && deliveryCount(message) > 0;
}

function deliveryCount({ properties }: LazyMessage): number {
  const count: unknown = properties.headers?.["x-delivery-count"];
  return typeof count === "number" ? count : 0;
}

export function attemptAfter(
  message: LazyMessage,
  postponed: Postponement | undefined,
): { attempt: number; notBeforeMs?: number } {
  const attempt = Math.max(deliveryCount(message) + 1, postponed?.attempt ?? 1);
  return postponed === undefined ? { attempt } : { attempt, notBeforeMs: postponed.notBeforeMs };
}

/** Publishing gives each copy a name; a message of another publisher has none. */
export function copyOf({ properties }: LazyMessage): string {
  const copy: unknown = properties.correlationId;
  return typeof copy === "string" ? copy : "";
}
