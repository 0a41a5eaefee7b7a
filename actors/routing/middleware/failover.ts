/**
 * The failover of a route: while a broker stays down, its frames go where their route says instead.
 *
 * They move in one transaction, out of this outbox and on to the other destination, and do not
 * fail over again from there. The trial by which the broker is found to be up again still goes to
 * it. Order per key holds within each destination, not over both.
 */

import type { Outcome } from "../../delivery/outcome.ts";
import type { Breaker } from "../../delivery/breaker.ts";
import type { Middleware, Passage } from "../passage.ts";
import type { Copy } from "../route-table.ts";

import { outcomeOfFailure, SETTLED } from "../../delivery/outcome.ts";
import { handOn } from "../passage.ts";

export interface FailoverOptions {
  readonly breaker: Breaker;
  /** How long the circuit has not been closed before frames move. */
  readonly afterMs: number;
  /** Commits the frames of `copies` and acknowledges their passages, both or neither. */
  readonly move: (passages: readonly Passage[], copies: readonly Copy[]) => Promise<void>;
}

export function failover({ breaker, afterMs, move }: FailoverOptions): Middleware {
  return (next) => async (passages) => {
    const isDown = breaker.downForMs() >= afterMs && breaker.trialInMs() > 0;
    if (!isDown) return await next(passages);
    const moving = passages.filter((passage) => elsewhere(passage) !== undefined);
    if (moving.length === 0) return await next(passages);
    const moved = await attempt(moving, move);
    return await handOn(
      passages,
      (passage) => (elsewhere(passage) === undefined ? undefined : moved),
      next,
    );
  };
}

async function attempt(
  moving: readonly Passage[],
  move: FailoverOptions["move"],
): Promise<Outcome> {
  try {
    await move(
      moving,
      moving.flatMap((passage) => elsewhere(passage) ?? []),
    );
    return SETTLED;
  } catch (error) {
    return outcomeOfFailure(error);
  }
}

/** The copy that a frame becomes instead; `undefined` when its route names none. */
function elsewhere({ copies: [copy] }: Passage): Copy | undefined {
  const place = copy?.to.failover;
  return copy === undefined || place === undefined ? undefined : { row: copy.row, to: place };
}
