/**
 * Four ways for a shard to die, on request: for the tests that prove that nothing is lost by it.
 *
 * Reached only through the door that the configuration `sabotage` opens. Anything that is not one
 * of the four is refused by `isSabotage`.
 */

import type { Environment } from "../runtime/environment.ts";

import { InvariantError } from "../runtime/errors.ts";

export const SABOTAGES = ["throw", "reject", "exit", "spin"] as const;
export type Sabotage = (typeof SABOTAGES)[number];

export interface SabotageOrder {
  readonly kind: "sabotage";
  readonly how: Sabotage;
}

const EXIT_CODE = 7;

export function isSabotage(body: unknown): body is SabotageOrder {
  return (
    typeof body === "object" &&
    body !== null &&
    "kind" in body &&
    body.kind === "sabotage" &&
    "how" in body &&
    SABOTAGES.some((how) => how === body.how)
  );
}

/** Ends or hangs this thread in a later turn, outside of whatever runs now. */
export function commitSabotage({ how }: SabotageOrder, environment: Environment): void {
  environment.defer(() => {
    switch (how) {
      case "throw":
        throw new InvariantError("sabotage: thrown");
      case "reject":
        // Unhandled on purpose: that is the fault.
        void Promise.reject(new InvariantError("sabotage: rejected"));
        return;
      case "exit":
        process.exit(EXIT_CODE);
        return;
      case "spin":
        for (let turns = 0; ; turns++) if (turns < 0) return;
    }
  });
}
