/**
 * The rate of a route: what is over it waits, and is not blamed for it.
 *
 * Each row has one bucket for everything it sends through here. A shard has its share of the rate
 * and of the burst, so that all shards together keep to it. Nothing is refused for good.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { Retry } from "../../delivery/outcome.ts";
import type { Middleware, Passage } from "../passage.ts";
import type { RateGate } from "../rate-gate.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { concerns, handOn } from "../passage.ts";
import { createRateGate } from "../rate-gate.ts";

/** `share` of each rate, 0 < share <= 1, is this shard's. */
export function rateLimit(environment: Environment, share: number): Middleware {
  const gates = new Map<string, RateGate>();

  function verdict({ rows, message }: Passage): Retry | undefined {
    let waitMs = 0;
    let slowest = "";
    for (const { name, policy } of rows) {
      if (policy.rate === undefined) continue;
      const { perSecond, burst } = policy.rate;
      const gate =
        gates.get(name) ??
        createRateGate({
          perSecond: perSecond * share,
          burst: Math.max(1, Math.floor(burst * share)),
        });
      gates.set(name, gate);
      const ownMs = gate.waitMs(message.frame.id, environment.monotonicMs());
      if (ownMs > waitMs) [waitMs, slowest] = [ownMs, name];
    }
    return waitMs === 0 ? undefined : comeBack(slowest, waitMs);
  }

  return (next) => (passages) =>
    passages.some((passage) => concerns(passage, ({ policy }) => policy.rate !== undefined))
      ? handOn(passages, verdict, next)
      : next(passages);
}

function comeBack(row: string, waitMs: number): Retry {
  const delayMs = Math.max(1, waitMs);
  return {
    kind: "retry",
    error: new ShopError("SATURATED", `route ${row} is at its rate`, "later"),
    blameless: true,
    schedule: { attemptsMax: 1, delayMinMs: delayMs, delayMaxMs: delayMs, jitter: 0 },
  };
}
