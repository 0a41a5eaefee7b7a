/**
 * Commits what was decided, and decides again when someone else wrote first.
 *
 * Answers outcomes for the consumer and refuses to loop: after `redosMax` decisions against rows
 * that moved each time it throws `VERSION_CONFLICT`, to be tried again later.
 */

import type { DeliveryRef } from "../brokers/broker.ts";
import type { Store, UnitOfWork } from "../stores/unit-of-work.ts";
import type { Message, Outcome } from "./outcome.ts";

import { ShopError } from "../../runtime/errors.ts";
import { ACK, SETTLED } from "./outcome.ts";

/** Decisions for one call, the first included. */
const REDOS_MAX = 8;

/** What to commit, and what the caller wants to know once it is. */
export interface Decision<Result> {
  readonly unit: UnitOfWork;
  readonly result: Result;
}

/** `result` is that of the decision that was committed; without one, nothing was left to do. */
export interface Committed<Result> {
  readonly result: Result | undefined;
  /** One for each message, in order. */
  readonly outcomes: readonly Outcome[];
}

/** Commits one decision with the deliveries it settles. `duplicate`: nothing was written. */
export async function commitDecision<Result>(
  store: Store,
  deliveries: readonly DeliveryRef[],
  decide: () => Promise<Decision<Result>>,
  redosMax = REDOS_MAX,
): Promise<
  | { readonly kind: "committed"; readonly result: Result }
  | { readonly kind: "duplicate"; readonly messageIds: readonly string[] }
> {
  let conflict = "";
  for (let round = 0; round < redosMax; round++) {
    const { unit, result } = await decide();
    const answer = await store.commit(unit, deliveries);
    if (answer.kind === "committed") return { kind: "committed", result };
    if (answer.kind === "duplicate") return answer;
    conflict = `${answer.table}/${answer.key} is at version ${answer.version}`;
  }
  throw new ShopError("VERSION_CONFLICT", `after ${redosMax} decisions ${conflict}`, "later");
}

/**
 * Commits one decision over many messages. Those whose inbox mark was there already are left out
 * and acknowledged, and the others are decided anew.
 */
export async function commitMessages<Body, Result>(
  store: Store,
  messages: readonly Message<Body>[],
  decide: (fresh: readonly Message<Body>[]) => Promise<Decision<Result>>,
  redosMax = REDOS_MAX,
): Promise<Committed<Result>> {
  const repeated = new Set<string>();
  // Every round but the last leaves out at least one message.
  for (let round = 0; round <= messages.length; round++) {
    // Almost always: no id is made text for it.
    const isFirst = repeated.size === 0;
    const fresh = isFirst ? messages : messages.filter(({ frame }) => !repeated.has(frame.id));
    if (fresh.length === 0) return { result: undefined, outcomes: messages.map(() => ACK) };
    const deliveries = fresh.map(({ delivery }) => delivery);
    const answer = await commitDecision(store, deliveries, () => decide(fresh), redosMax);
    if (answer.kind === "committed") {
      const outcomes = messages.map(({ frame }) =>
        isFirst || !repeated.has(frame.id) ? SETTLED : ACK,
      );
      return { result: answer.result, outcomes };
    }
    const knownBefore = repeated.size;
    for (const id of answer.messageIds) repeated.add(id);
    if (repeated.size === knownBefore) break;
  }
  throw new ShopError("VERSION_CONFLICT", "duplicates that name no message of the unit", "later");
}
