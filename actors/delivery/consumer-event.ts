/**
 * What a consumer tells its owner, for logs and metrics.
 *
 * Events describe; nothing may be decided by them, and a listener must not throw.
 */

import type { Burial, DeliveryRef } from "../brokers/broker.ts";
import type { Outcome } from "./outcome.ts";

export type ConsumerEvent =
  /** One attempt ended. `durationMs` is the handler's own time (of the batch, if it was one). */
  | {
      readonly kind: "handled";
      readonly delivery: DeliveryRef;
      readonly attempt: number;
      readonly outcome: Outcome["kind"];
      readonly durationMs: number;
    }
  /** Attempt `attempt` failed; the next one comes in `delayMs`. */
  | {
      readonly kind: "retry";
      readonly delivery: DeliveryRef;
      readonly attempt: number;
      readonly delayMs: number;
      readonly error: unknown;
    }
  | { readonly kind: "buried"; readonly delivery: DeliveryRef; readonly burial: Burial }
  /** Its deadline had passed; acknowledged unhandled, as the policy says. */
  | { readonly kind: "expired"; readonly delivery: DeliveryRef }
  /** A batch of `messages` failed as a whole; each is handled again on its own. */
  | { readonly kind: "batch_split"; readonly messages: number; readonly error: unknown }
  /** The broker did not take a settlement. An alarm when `what` is `bury`: that key is blocked. */
  | {
      readonly kind: "settle_failed";
      readonly what: "ack" | "bury" | "postpone";
      readonly delivery: DeliveryRef;
      readonly error: unknown;
    }
  | {
      readonly kind: "revoked";
      readonly topic: string;
      readonly partitions: readonly number[];
      /** Deliveries of these partitions that were in hand. */
      readonly returned: number;
    };

/** For people: what was given up on, and why. */
export function burialText(
  group: string,
  { delivery, burial }: Extract<ConsumerEvent, { readonly kind: "buried" }>,
): string {
  const { topic, partition, sequence } = delivery;
  return `${group} buried ${topic}/${partition}/${sequence}: ${burial.reason}: ${burial.lastError}`;
}
