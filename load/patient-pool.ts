/**
 * A pool that asks again: for what may be asked twice, before and after the faults of a run. A run
 * without faults has no use for it.
 *
 * A judge that gives up at the first answer that does not come says nothing about orders. So a
 * request without an answer, and a 503 or 504, is sent again until an answer comes or patience
 * ends, and then that last answer is what the caller gets. Every other status is an answer, 500
 * among them. What was asked again is counted, for the report. Not for orders, whose tries are
 * evidence, and not for health, whose 503 is its answer.
 */

import { describeError, isShopError } from "../runtime/errors.ts";
import type { HttpPool, HttpRequest } from "./http-pool.ts";
import type { HttpResponse } from "./http-response.ts";

export interface PatientPool extends Pick<HttpPool, "request"> {
  /** Requests that were sent again, by why. */
  readonly repeats: ReadonlyMap<string, number>;
}

/** Of one request, from its first try to its last. */
const PATIENCE_MS = 60_000;
const PAUSE_MS = 250;
/** Nothing was done, or nobody knows: ask later. */
const LATER: readonly number[] = [503, 504];

export function createPatientPool(
  pool: Pick<HttpPool, "request">,
  { patienceMs = PATIENCE_MS, pauseMs = PAUSE_MS } = {},
): PatientPool {
  const repeats = new Map<string, number>();

  /** The answer, or why there is none to be had now. */
  async function tryOnce(request: HttpRequest): Promise<HttpResponse | Error> {
    try {
      return await pool.request(request);
    } catch (error) {
      if (isShopError(error) && error.retry === "later") return error;
      throw error;
    }
  }

  return {
    repeats,
    async request(request) {
      const dueMs = performance.now() + patienceMs;
      for (;;) {
        const result = await tryOnce(request);
        const isLate = performance.now() >= dueMs;
        if (result instanceof Error) {
          if (isLate) throw result;
        } else if (isLate || !LATER.includes(result.status)) return result;
        const why = result instanceof Error ? describeError(result) : String(result.status);
        repeats.set(why, (repeats.get(why) ?? 0) + 1);
        await Bun.sleep(pauseMs);
      }
    },
  };
}
