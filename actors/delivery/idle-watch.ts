/**
 * Those who wait for something to come to rest: a drain for a whole member, a hand-over for some of
 * its partitions.
 *
 * Whoever may have come to rest says so with `notice`; nothing is looked at in between. A wait ends
 * at its deadline too, and it refuses to say which it was: who waited looks for itself.
 */

import type { Environment } from "../../runtime/environment.ts";

interface Waiter {
  readonly isIdle: () => boolean;
  readonly end: () => void;
}

export class IdleWatch {
  readonly #environment: Environment;
  readonly #waiters = new Set<Waiter>();

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** Resolves once `isIdle`, or `withinMs` from now. */
  async wait(isIdle: () => boolean, withinMs: number): Promise<void> {
    if (isIdle()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiter: Waiter = { isIdle, end: resolve };
    this.#waiters.add(waiter);
    const timer = this.#environment.startTimer(withinMs, resolve);
    await promise;
    timer.cancel();
    this.#waiters.delete(waiter);
  }

  /** To be called after each thing that came to rest. */
  notice(): void {
    if (this.#waiters.size === 0) return;
    for (const { isIdle, end } of this.#waiters) if (isIdle()) end();
  }

  /** Ends every wait. */
  endAll(): void {
    for (const { end } of this.#waiters) end();
  }
}
