/**
 * A member of a group at a broker that is not there yet: it is given nothing until it can join.
 *
 * Whoever subscribed holds this from the start, and what it asks goes to the real membership once
 * there is one. Nothing can be in hand before, so nothing can be settled: it is refused as `CLOSED`
 * if the member ends first, which waits for no broker. A broker that goes away again while it is
 * joined is joined later; one that refuses the membership fails it like any other.
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

import type { Environment, Timer } from "../../runtime/environment.ts";

import { describeError, isShopError, ShopError } from "../../runtime/errors.ts";

const REJOIN_MS = 1_000;

export class LateMember implements Subscription {
  readonly #options: SubscribeOptions;
  readonly #environment: Pick<Environment, "startTimer">;
  readonly #onWaits: (why: string | undefined) => void;
  readonly #joined = Promise.withResolvers<Subscription>();
  #member: Subscription | undefined;
  #rejoining: Timer | undefined;
  #isPaused = false;
  #isClosed = false;

  /**
   * `onWaits`: why it could not join, whenever it has tried; undefined once it has or does not want
   * to any more.
   */
  constructor(
    options: SubscribeOptions,
    environment: Pick<Environment, "startTimer">,
    onWaits: (why: string | undefined) => void,
  ) {
    this.#options = options;
    this.#environment = environment;
    this.#onWaits = onWaits;
    // Nobody need wait for it.
    this.#joined.promise.catch(() => undefined);
  }

  /** What it does once the broker is there; undefined: it has left. */
  get intent(): string | undefined {
    return this.#isClosed ? undefined : `${this.#options.group} is joining`;
  }

  /** Once the broker is there. Never rejects: a refusal goes to `onFailure`. */
  async join(broker: Pick<Broker, "subscribe">): Promise<void> {
    if (this.#isClosed) return;
    let member: Subscription;
    try {
      member = await broker.subscribe(this.#options);
    } catch (error) {
      this.#refused(error, broker);
      return;
    }
    // Nobody is left who would hear that it cannot be left in good order.
    if (this.#isClosed) await member.close(false).catch(() => undefined);
    else this.#begin(member);
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

  async close(isAtRest: boolean): Promise<void> {
    this.#isClosed = true;
    this.#rejoining?.cancel();
    this.#joined.reject(closedError());
    this.#onWaits(undefined);
    // A membership that is still on its way is left when it comes.
    await this.#member?.close(isAtRest);
  }

  #begin(member: Subscription): void {
    this.#member = member;
    if (this.#isPaused) member.pause();
    this.#joined.resolve(member);
    this.#onWaits(undefined);
  }

  #refused(error: unknown, broker: Pick<Broker, "subscribe">): void {
    if (this.#isClosed) return;
    if (isShopError(error) && !isShopError(error, "BAD_CONFIGURATION", "UNKNOWN_TOPIC", "CLOSED")) {
      this.#onWaits(`${this.#options.group} cannot join: ${describeError(error)}`);
      this.#rejoining = this.#environment.startTimer(REJOIN_MS, () => void this.join(broker));
      return;
    }
    this.#joined.reject(error);
    this.#onWaits(undefined);
    this.#options.onFailure?.(error);
  }
}

function closedError(): ShopError {
  return new ShopError("CLOSED", "the member left before its broker was there", "never");
}
