/**
 * Acknowledgements that nobody waits for, told to the server for all partitions together.
 *
 * Each one is a log entry of its queue; told at one time they share the server's writes and its
 * syncs. What is not told when the process ends comes again, as anything unsettled does. Refuses to
 * hold back what somebody waits for: that is flushed by whoever waits.
 */

import type { Environment, Timer } from "../../../runtime/environment.ts";

interface Flushed {
  flush(): void;
}

export class AckGather {
  readonly #environment: Pick<Environment, "defer" | "startTimer">;
  readonly #gatherMs: number;
  readonly #waiting = new Set<Flushed>();
  #timer: Timer | undefined;
  #isDeferred = false;

  /** `gatherMs` of 0: at the end of the turn. */
  constructor(environment: Pick<Environment, "defer" | "startTimer">, gatherMs: number) {
    this.#environment = environment;
    this.#gatherMs = gatherMs;
  }

  /** Flushes `claim` within the time, `isFull` at the end of the turn; others with it. */
  add(claim: Flushed, isFull = false): void {
    this.#waiting.add(claim);
    if (this.#isDeferred) return;
    if (isFull || this.#gatherMs === 0) {
      this.#isDeferred = true;
      this.#environment.defer(() => this.#flush());
      return;
    }
    this.#timer ??= this.#environment.startTimer(this.#gatherMs, () => this.#flush());
  }

  /** What waits is flushed, or given back, by its owner. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#waiting.clear();
  }

  #flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#isDeferred = false;
    const claims = [...this.#waiting];
    this.#waiting.clear();
    for (const claim of claims) claim.flush();
  }
}
