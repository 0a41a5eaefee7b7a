/**
 * What becomes of a delivery whose turn has come: a message for the handler, or an outcome at once.
 *
 * It refuses to let through bytes that are no frame, a body that does not decode, a frame past its
 * deadline, and one that has been handed out time and again to no end.
 */

import type { Frame } from "../../runtime/frames/frame-header.ts";
import type { Delivery } from "../brokers/broker.ts";
import type { DeliveryPolicy } from "./delivery-policy.ts";
import type { ExpiryClock } from "./expiry-clock.ts";
import type { Item } from "./in-hand.ts";
import type { Message, Outcome } from "./outcome.ts";

import { IGNORED } from "./in-hand.ts";
import { ACK, outcomeOfFailure } from "./outcome.ts";

export interface Examiner<Body> {
  readonly policy: Pick<DeliveryPolicy, "deliveriesMax" | "expired">;
  readonly expiry: ExpiryClock;
  /** Throws what a body is refused with. */
  readonly decode: (frame: Frame) => Body;
  readonly onExpired: (delivery: Delivery) => void;
}

/** What is to be handled, or the outcome of what must not be. */
export function examine<Body>(item: Item, examiner: Examiner<Body>): Message<Body> | Outcome {
  const { content, delivery, attempt } = item;
  const { policy, expiry, decode, onExpired } = examiner;
  if (content === IGNORED) return ACK;
  if (typeof content === "string") {
    const { fault } = delivery;
    if (fault !== undefined) return { kind: "bury", reason: "foreign_record", error: fault };
    return { kind: "bury", reason: "bad_frame", error: content };
  }
  if (expiry.hasPassed(content.deadlineMs)) {
    onExpired(delivery);
    if (policy.expired === "drop") return ACK;
    return { kind: "bury", reason: "expired", error: "its deadline passed before its turn" };
  }
  if (attempt > policy.deliveriesMax) {
    return { kind: "bury", reason: "poison", error: `given out ${attempt} times to no end` };
  }
  try {
    return { delivery, frame: content, attempt, body: decode(content) };
  } catch (error) {
    return outcomeOfFailure(error);
  }
}
