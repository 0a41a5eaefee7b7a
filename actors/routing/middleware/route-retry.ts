/**
 * The retry policy of a route: its back-off, attempts and deadline for everything that fails
 * behind it.
 *
 * A policy further in that knows when to come back, such as a rate limit, keeps its own delay, and
 * the route's deadline holds for it too. A failure of a whole batch that may be one frame's is left
 * to the consumer, which takes the batch apart.
 */

import type { Outcome, Retry } from "../../delivery/outcome.ts";
import type { Middleware, Passage } from "../passage.ts";
import type { RoutePolicy } from "../route-row.ts";

import { isBlameless, outcomeOfFailure } from "../../delivery/outcome.ts";
import type { RetryPolicy } from "../../delivery/retry-schedule.ts";

export function routeRetry(): Middleware {
  return (next) => async (passages) => {
    let outcomes: readonly Outcome[];
    try {
      outcomes = await next(passages);
    } catch (error) {
      if (passages.length > 1 && !isBlameless(error)) throw error;
      outcomes = passages.map(() => outcomeOfFailure(error));
    }
    return outcomes.map((outcome, at) =>
      outcome.kind === "retry" ? scheduled(outcome, passages[at]) : outcome,
    );
  };
}

function scheduled(outcome: Retry, passage: Passage | undefined): Retry {
  const retry = passage?.rows.find(({ policy }) => policy.retry !== undefined)?.policy.retry;
  if (retry === undefined) return outcome;
  const own = scheduleOf(retry);
  if (outcome.schedule === undefined) return { ...outcome, schedule: own };
  const { deadlineMs } = own;
  if (deadlineMs === undefined) return outcome;
  return { ...outcome, schedule: { ...outcome.schedule, deadlineMs } };
}

function scheduleOf({ deadlineMs, ...rest }: NonNullable<RoutePolicy["retry"]>): RetryPolicy {
  return deadlineMs === undefined ? rest : { ...rest, deadlineMs };
}
