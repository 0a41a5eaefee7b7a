/**
 * Asks what became of what a member lost with work of it perhaps under way, until that has ended.
 *
 * Each loss is followed by itself, so that one call that hangs holds up its own slot alone; those
 * that come to rest in one turn are told together. A loss is asked for in a later turn than it
 * happens in: what is assigned again at once was none. It refuses to give up a loss that is none
 * any more, and to guess: one whose subscriber cannot tell, or fails, is followed no further.
 */

import type { AtRest } from "../../brokers/broker.ts";

export interface LossWatchOptions<Loss> {
  /** False: it is the member's again, or was dealt with otherwise. */
  readonly isLost: (loss: Loss) => boolean;
  readonly ask: (loss: Loss) => Promise<AtRest>;
  /** Nothing of them is under way any more. Must not throw. */
  readonly onRest: (losses: readonly Loss[]) => void;
}

export class LossWatch<Loss> {
  readonly #options: LossWatchOptions<Loss>;
  readonly #followed = new Set<Loss>();
  #rested: Loss[] = [];

  constructor(options: LossWatchOptions<Loss>) {
    this.#options = options;
  }

  /** One that is followed already goes on as it is. */
  follow(losses: readonly Loss[]): void {
    for (const loss of losses) {
      if (this.#followed.has(loss)) continue;
      this.#followed.add(loss);
      // Who fails to answer may be at work yet.
      this.#untilRest(loss).catch(() => this.#followed.delete(loss));
    }
  }

  async #untilRest(loss: Loss): Promise<void> {
    const { ask, isLost } = this.#options;
    let answer: AtRest = { again: Promise.resolve() };
    while (typeof answer === "object") {
      await answer.again;
      answer = isLost(loss) && (await ask(loss));
    }
    this.#followed.delete(loss);
    if (answer) this.#rest(loss);
  }

  #rest(loss: Loss): void {
    this.#rested.push(loss);
    if (this.#rested.length > 1) return;
    void Promise.resolve().then(() => {
      const rested = this.#rested;
      this.#rested = [];
      this.#options.onRest(rested);
    });
  }
}
