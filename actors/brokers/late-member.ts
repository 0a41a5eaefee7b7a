/**
 * A member of a group at a broker that is not there yet: it is given nothing until it can join.
 *
 * Whoever subscribed holds this from the start, and what it asks goes to the real membership once
 * there is one. Nothing can be in hand before, so nothing can be settled: it is refused as `CLOSED`
 * if the member ends first. A broker that refuses the membership fails it like any other.
 */

import type {
  Broker,
  Burial,
  DeliveryRef,
  PartitionStanding,
  Postponement,
  SettleResult,
  SubscribeOptions,
  Subscription,
} from "./broker.ts";

import { ShopError } from "../../runtime/errors.ts";

export class LateMember implements Subscription {
  readonly #options: SubscribeOptions;
  readonly #joined = Promise.withResolvers<Subscription>();
  #member: Subscription | undefined;
  #joining: Promise<void> | undefined;
  #isPaused = false;
  #isClosed = false;

  constructor(options: SubscribeOptions) {
    this.#options = options;
    // Nobody need wait for it.
    this.#joined.promise.catch(() => undefined);
  }

  /** Never rejects: a refusal goes to `onFailure`. */
  join(broker: Pick<Broker, "subscribe">): Promise<void> {
    this.#joining ??= this.#join(broker);
    return this.#joining;
  }

  async ack(deliveries: readonly DeliveryRef[]): Promise<readonly SettleResult[]> {
    return await (await this.#joined.promise).ack(deliveries);
  }

  async postpone(delivery: DeliveryRef, postponement: Postponement): Promise<SettleResult> {
    return await (await this.#joined.promise).postpone(delivery, postponement);
  }

  async bury(delivery: DeliveryRef, burial: Burial): Promise<SettleResult> {
    return await (await this.#joined.promise).bury(delivery, burial);
  }

  async standing(look: (standings: readonly PartitionStanding[]) => void): Promise<void> {
    if (this.#member !== undefined) await this.#member.standing(look);
    else if (this.#isClosed) throw closedError();
    else look([]);
  }

  pause(): void {
    this.#isPaused = true;
    this.#member?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#member?.resume();
  }

  async close(isAtRest = false): Promise<void> {
    this.#isClosed = true;
    await this.#joining;
    this.#joined.reject(closedError());
    await this.#member?.close(isAtRest);
  }

  async #join(broker: Pick<Broker, "subscribe">): Promise<void> {
    if (this.#isClosed) return;
    try {
      const member = await broker.subscribe(this.#options);
      this.#member = member;
      if (this.#isPaused) member.pause();
      this.#joined.resolve(member);
    } catch (error) {
      this.#joined.reject(error);
      if (!this.#isClosed) this.#options.onFailure?.(error);
    }
  }
}

function closedError(): ShopError {
  return new ShopError("CLOSED", "the member left before its broker was there", "never");
}
