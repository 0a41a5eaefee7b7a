/**
 * The circuit in front of a broker: when it fails again and again, nobody asks it for a while.
 *
 * A frame that meets an open circuit counts no attempt and comes back when the next trial may go
 * out. A broker that could not be reached is not the frame's fault either, however often; only a
 * route with a retry policy of its own counts such attempts.
 */

import type { Breaker } from "../../delivery/breaker.ts";
import type { Outcome } from "../../delivery/outcome.ts";
import type { Middleware } from "../passage.ts";

import { isShopError } from "../../../runtime/errors.ts";
import { concerns } from "../passage.ts";

/** So that frames that met an open circuit do not all come back with its trial. */
const SPREAD = 0.2;
/** No sooner than this, even if the trial is due at once. */
const WAIT_MIN_MS = 50;

export function circuit(breaker: Breaker): Middleware {
  return (next) => async (passages) => {
    try {
      return await breaker.execute(() => next(passages));
    } catch (error) {
      if (isShopError(error, "CIRCUIT_OPEN")) return passages.map(() => comeBack(error));
      return passages.map((passage) => ({
        kind: "retry",
        error,
        blameless: !concerns(passage, ({ policy }) => policy.retry !== undefined),
      }));
    }
  };

  function comeBack(error: unknown): Outcome {
    const delayMs = Math.max(WAIT_MIN_MS, breaker.trialInMs()) * (1 + SPREAD);
    const delays = { delayMinMs: delayMs, delayMaxMs: delayMs, jitter: SPREAD };
    return { kind: "retry", error, blameless: true, schedule: { attemptsMax: 1, ...delays } };
  }
}
