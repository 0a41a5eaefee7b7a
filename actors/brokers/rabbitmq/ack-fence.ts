/**
 * Acknowledgements that are certain: the server has them, and they are on its disk.
 *
 * AMQP does not answer an acknowledgement. So its queue is asked something on the same channel,
 * which it answers after having taken the acknowledgement, and then something is stored behind it,
 * confirmed. Many acknowledgements share one such round. While the server is short of disk the
 * second step is left out. It does not refuse: false means that the channel was lost.
 */

import type { PartitionClaim } from "./partition-claim.ts";

type Fenced = Pick<PartitionClaim, "barrier">;

interface Asked {
  readonly claim: Fenced;
  readonly resolve: (isCertain: boolean) => void;
}

export class AckFence {
  readonly #store: () => Promise<void>;
  #asked: Asked[] = [];
  #isRunning = false;

  /** `store` resolves when something new is on the server's disk. */
  constructor(store: () => Promise<void>) {
    this.#store = store;
  }

  /** What `claim` has settled so far. */
  pass(claim: Fenced): Promise<boolean> {
    return new Promise((resolve) => {
      this.#asked.push({ claim, resolve });
      if (!this.#isRunning) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#asked.length > 0) {
      const round = this.#asked;
      this.#asked = [];
      const claims = new Map<Fenced, Promise<boolean>>();
      for (const { claim } of round) {
        if (!claims.has(claim)) claims.set(claim, claim.barrier());
      }
      await Promise.all(claims.values());
      // The server has them: without the second step they survive the member all the same.
      await this.#store().catch(() => undefined);
      for (const { claim, resolve } of round) {
        const barrier = claims.get(claim);
        if (barrier === undefined) resolve(false);
        else void barrier.then(resolve);
      }
    }
    this.#isRunning = false;
  }
}
