/**
 * One subscription made of several: a member of the same group at each of its brokers.
 *
 * Settlements go to the broker that has the topic. Credit is divided by the number of topics, so
 * that together the members hold no more than one would. When one of them is beyond repair the
 * others are closed too: half a member would look like one that is idle.
 */

import type {
  Broker,
  DeliveryRef,
  SettleResult,
  SubscribeOptions,
  Subscription,
} from "./broker.ts";

import { assert } from "../../runtime/errors.ts";

interface Part {
  readonly topics: readonly string[];
  readonly inner: Subscription;
}

export class MemberParts {
  readonly #options: SubscribeOptions;
  readonly #parts: Part[] = [];
  /** What one of them failed with, perhaps before the last has joined. */
  #failure: { readonly error: unknown } | undefined;
  #isClosed = false;

  constructor(options: SubscribeOptions) {
    this.#options = options;
  }

  /** Rejects as the broker does, after those that have joined are closed. */
  async join(broker: Broker, topics: readonly string[]): Promise<void> {
    const share = topics.length / this.#options.topics.length;
    try {
      const inner = await broker.subscribe({
        ...this.#options,
        topics,
        creditFrames: shareOf(this.#options.creditFrames, share),
        creditBytes: shareOf(this.#options.creditBytes, share),
        onFailure: (error) => void this.#fail(error),
      });
      this.#parts.push({ topics, inner });
      if (this.#isClosed) await inner.close(false);
    } catch (error) {
      this.#failure ??= { error };
      await this.#close();
      throw error;
    }
  }

  /** Once all have joined. */
  subscription(): Subscription {
    return {
      ack: (deliveries) => this.#ack(deliveries),
      postpone: (delivery, postponement) => this.#of(delivery).postpone(delivery, postponement),
      bury: (delivery, burial) => this.#of(delivery).bury(delivery, burial),
      standing: async (look) => {
        // Each at its own place in its own stream.
        await Promise.all(this.#parts.map(({ inner }) => inner.standing(look)));
      },
      pause: () => {
        for (const { inner } of this.#parts) inner.pause();
      },
      resume: () => {
        for (const { inner } of this.#parts) inner.resume();
      },
      close: (isAtRest) => this.#close(isAtRest),
    };
  }

  /** In the order of `deliveries`. What one refuses is told, though others have settled theirs. */
  async #ack(deliveries: readonly DeliveryRef[]): Promise<readonly SettleResult[]> {
    const shares = Map.groupBy(deliveries, (delivery) => this.#of(delivery));
    const results = new Map<DeliveryRef, SettleResult>();
    await Promise.all(
      [...shares].map(async ([inner, share]) => {
        for (const [at, result] of (await inner.ack(share)).entries()) {
          const ref = share[at];
          if (ref !== undefined) results.set(ref, result);
        }
      }),
    );
    return deliveries.map((delivery) => results.get(delivery) ?? "stale");
  }

  #of({ topic }: DeliveryRef): Subscription {
    const part = this.#parts.find(({ topics }) => topics.includes(topic));
    assert(part !== undefined, `the member does not read topic ${topic}`);
    return part.inner;
  }

  async #fail(error: unknown): Promise<void> {
    if (this.#failure !== undefined || this.#isClosed) return;
    this.#failure = { error };
    await this.#close().catch(() => undefined); // the failure is what is to be told
    this.#options.onFailure?.(error);
  }

  async #close(isAtRest = false): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#parts.map(({ inner }) => inner.close(isAtRest)));
  }
}

function shareOf(credit: number, share: number): number {
  return Math.max(1, Math.floor(credit * share));
}
