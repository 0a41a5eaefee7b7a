/**
 * Frames under way from one broker to another, and what a policy of the way is made of.
 *
 * A middleware takes the handler that comes after it and answers a handler: it gives some frames
 * their outcome itself and hands the others on, in order. It never settles a delivery, which is
 * for the consumer that gave the frames, and it answers one outcome for each of them.
 */

import type { Message, Outcome } from "../delivery/outcome.ts";
import type { Copy, CompiledRow } from "./route-table.ts";

/** One frame, with the rows whose policies hold for it and the copies it becomes. */
export interface Passage {
  readonly message: Message<unknown>;
  readonly rows: readonly CompiledRow[];
  readonly copies: readonly Copy[];
}

/** No two of `passages` share a key. */
export type PassHandler = (passages: readonly Passage[]) => Promise<readonly Outcome[]>;

export type Middleware = (next: PassHandler) => PassHandler;

/** Hands on those for which `verdict` has none, and answers for all of them in their order. */
export async function handOn(
  passages: readonly Passage[],
  verdict: (passage: Passage) => Outcome | undefined,
  next: PassHandler,
): Promise<readonly Outcome[]> {
  let verdicts: (Outcome | undefined)[] | undefined;
  for (let at = 0; at < passages.length; at++) {
    const own = verdict(passages[at]!); // `!`: the loop's bound
    if (own !== undefined) (verdicts ??= passages.map(() => undefined))[at] = own;
  }
  if (verdicts === undefined) return await next(passages);
  const own = verdicts;
  const rest = passages.filter((_, at) => own[at] === undefined);
  const answers = rest.length === 0 ? [] : await next(rest);
  let answered = 0;
  return own.map((outcome) => outcome ?? answers[answered++] ?? missing());
}

function missing(): Outcome {
  return { kind: "retry", error: "a policy of the route gave no outcome" };
}

/** True when a row of `passage` has a policy that `has` looks for. */
export function concerns(passage: Passage, has: (row: CompiledRow) => boolean): boolean {
  for (const row of passage.rows) if (has(row)) return true;
  return false;
}
