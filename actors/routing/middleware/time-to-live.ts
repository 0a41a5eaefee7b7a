/**
 * The time-to-live of a route: a frame that comes too late for every row it matches is buried.
 *
 * One that is in time for some of them passes; each copy carries the deadline of its own row, and
 * whoever takes it next looks at that. A wall clock that jumps makes this late, never early.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { Outcome } from "../../delivery/outcome.ts";
import type { Middleware, Passage } from "../passage.ts";

import { createExpiryClock } from "../../delivery/expiry-clock.ts";
import { concerns, handOn } from "../passage.ts";
import { deadlineOf } from "../routed-frame.ts";

const EXPIRED: Outcome = {
  kind: "bury",
  reason: "expired",
  error: "its time-to-live was over before it could be forwarded",
};

export function timeToLive(environment: Environment): Middleware {
  const clock = createExpiryClock(environment);

  function isOver({ rows, message }: Passage): boolean {
    return rows.every(({ policy }) => {
      if (policy.ttlMs === undefined) return false;
      return clock.hasPassed(deadlineOf(message.frame, policy.ttlMs));
    });
  }

  return (next) => (passages) => {
    const isConcerned = (passage: Passage): boolean =>
      concerns(passage, ({ policy }) => policy.ttlMs !== undefined);
    if (!passages.some(isConcerned)) return next(passages);
    return handOn(passages, (one) => (isConcerned(one) && isOver(one) ? EXPIRED : undefined), next);
  };
}
