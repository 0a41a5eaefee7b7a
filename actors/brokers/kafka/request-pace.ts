/**
 * How often requests go out under traffic, so that each carries more than one record.
 *
 * A request costs client and server far more than the records in it. The first few after a rest go
 * at once; who goes on asking gets one an interval, and what comes in between goes together. The
 * algorithm is the generic cell rate algorithm (ITU-T I.371): one time, and no counters. Who goes
 * without asking owes one interval at most. Refuses nothing: it only says how long to wait.
 */

import type { Environment } from "../../../runtime/environment.ts";

/** Requests in a row that wait for nothing: more than one order at rest makes. */
const BURST = 8;

export class RequestPace {
  readonly #environment: Pick<Environment, "monotonicMs">;
  readonly #intervalMs: number;
  /** When the last request would have been due, had all been an interval apart. */
  #dueMs = Number.NEGATIVE_INFINITY;

  /** `intervalMs` 0: nothing ever waits. */
  constructor(environment: Pick<Environment, "monotonicMs">, intervalMs: number) {
    this.#environment = environment;
    this.#intervalMs = intervalMs;
  }

  /** Of the next request; 0: it may go now. At most the interval. */
  waitMs(): number {
    const earliestMs = this.#dueMs - (BURST - 1) * this.#intervalMs;
    return Math.max(0, earliestMs - this.#environment.monotonicMs());
  }

  /** A request goes out. */
  noted(): void {
    const nowMs = this.#environment.monotonicMs();
    const dueMs = Math.max(this.#dueMs, nowMs) + this.#intervalMs;
    this.#dueMs = Math.min(dueMs, nowMs + BURST * this.#intervalMs);
  }
}
