/**
 * The order of the policies on the way in and on the way out, written once.
 *
 * The first of a list is the outermost: it sees a frame first and its outcome last. Whatever is not
 * in these lists is not a policy of routes.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Breaker } from "../delivery/breaker.ts";
import type { FailoverOptions } from "./middleware/failover.ts";
import type { Middleware, PassHandler } from "./passage.ts";

import { circuit } from "./middleware/circuit.ts";
import { deduplication } from "./middleware/deduplication.ts";
import { failover } from "./middleware/failover.ts";
import { rateLimit } from "./middleware/rate-limit.ts";
import { routeRetry } from "./middleware/route-retry.ts";
import { timeToLive } from "./middleware/time-to-live.ts";
import { buryUnmatched } from "./middleware/unmatched.ts";

export interface IngressChain {
  readonly environment: Environment;
  readonly rateShare: number;
  /** Commits what is left. */
  readonly commit: PassHandler;
}

/**
 * What goes nowhere needs no policy. The retry policy is outside of everything that may fail.
 * A frame that is too late, or a repetition, must not take a token of the rate from one that is
 * not; whether it is too late is the cheaper question.
 */
export function ingressChain({ environment, rateShare, commit }: IngressChain): PassHandler {
  return chain(
    [
      buryUnmatched(),
      routeRetry(),
      timeToLive(environment),
      deduplication(environment),
      rateLimit(environment, rateShare),
    ],
    commit,
  );
}

export interface EgressChain {
  readonly environment: Environment;
  readonly rateShare: number;
  readonly breaker: Breaker;
  readonly failoverAfterMs: number;
  readonly move: FailoverOptions["move"];
  /** Throws when the broker fails; answers an outcome for frames that it will never take. */
  readonly publish: PassHandler;
}

/**
 * A frame that leaves by its failover takes no token and does not ask the circuit, but gives up by
 * its route's deadline like any other. The rate comes before the circuit: a frame that has to wait
 * is not to be one of the few trials.
 */
export function egressChain(options: EgressChain): PassHandler {
  const { environment, rateShare, breaker, failoverAfterMs, move, publish } = options;
  return chain(
    [
      routeRetry(),
      failover({ breaker, afterMs: failoverAfterMs, move }),
      rateLimit(environment, rateShare),
      circuit(breaker),
    ],
    publish,
  );
}

function chain(middlewares: readonly Middleware[], last: PassHandler): PassHandler {
  return middlewares.reduceRight((next, middleware) => middleware(next), last);
}
