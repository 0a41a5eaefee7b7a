/**
 * A child that did not start, as its supervisor tells it: with its name, and what it failed with.
 *
 * An expected failure stays one, under its code; whoever shows it to people takes the child's own
 * words out of it. It decides nothing, and refuses nothing.
 */

import { describeError, InvariantError, isShopError, ShopError } from "../errors.ts";

class StartFailure extends ShopError {}

/** Says which child it was. */
export function startFailure(childId: string, cause: unknown): Error {
  const message = `child ${childId} did not start: ${describeError(cause)}`;
  if (isShopError(cause)) return new StartFailure(cause.code, message, cause.retry, { cause });
  return new InvariantError(message, { cause });
}

/** What the child itself failed with, however many supervisors are above it. */
export function startedWith(error: unknown): unknown {
  let at = error;
  while (at instanceof StartFailure) at = at.cause;
  return at;
}
