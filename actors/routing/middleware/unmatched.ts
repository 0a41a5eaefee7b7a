/**
 * What no route wants goes to the dead letters with that reason.
 *
 * Where the configuration names a place for it, the router has given it a copy already, and it
 * passes. Nothing is dropped here.
 */

import type { Outcome } from "../../delivery/outcome.ts";
import type { Middleware } from "../passage.ts";

import { handOn } from "../passage.ts";

const UNMATCHED: Outcome = {
  kind: "bury",
  reason: "unmatched",
  error: "no route matches it, and there is no default",
};

export function buryUnmatched(): Middleware {
  return (next) => (passages) =>
    handOn(passages, ({ copies }) => (copies.length === 0 ? UNMATCHED : undefined), next);
}
