/**
 * Tells whether a wall-clock deadline has passed, and is not fooled by a jump of the wall clock.
 *
 * It believes a deadline to be over only when two clocks say so: the wall clock, and the one that
 * started with it and has since advanced with the monotonic clock. A jump in either direction
 * can make it late, never early.
 */

import type { Environment } from "../../runtime/environment.ts";

export interface ExpiryClock {
  /** `deadlineMs` since the epoch; 0 never passes. */
  hasPassed(deadlineMs: number): boolean;
}

export function createExpiryClock(environment: Environment): ExpiryClock {
  const offsetMs = environment.nowMs() - environment.monotonicMs();
  return {
    hasPassed(deadlineMs) {
      if (deadlineMs === 0) return false;
      const steadyNowMs = offsetMs + environment.monotonicMs();
      return Math.min(steadyNowMs, environment.nowMs()) >= deadlineMs;
    },
  };
}
