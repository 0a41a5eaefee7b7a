/**
 * Only a handler may let a lease run out; what waits here for its turn is kept alive.
 *
 * It looks at what is in hand a few times within a lease and renews what nobody works on and
 * nothing else has renewed. It refuses nothing: what is gone meanwhile is whoever's who renews.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { Item } from "./in-hand.ts";

/** A lease is renewed once this share of it has passed without anything else renewing it. */
const LEASE_SHARES = 3;

export interface LeaseHeartbeatOptions {
  readonly environment: Environment;
  readonly leaseMs: number;
  readonly inHand: Iterable<Item>;
  readonly renew: (item: Item) => void;
}

export class LeaseHeartbeat {
  readonly #options: LeaseHeartbeatOptions;
  #timer: Timer | undefined;

  constructor(options: LeaseHeartbeatOptions) {
    this.#options = options;
  }

  start(): void {
    const { environment, leaseMs, inHand, renew } = this.#options;
    const everyMs = leaseMs / LEASE_SHARES;
    this.#timer = environment.startTimer(everyMs, () => {
      const staleMs = environment.monotonicMs() - everyMs;
      for (const item of inHand) {
        if (item.state !== "running" && item.leaseFromMs <= staleMs) renew(item);
      }
      this.start();
    });
  }

  stop(): void {
    this.#timer?.cancel();
  }
}
