/**
 * A broker that is away while a shard begins anew, and joined once it is back.
 *
 * What carries nothing of a shard's own state must not keep the shard from its orders: until the
 * broker is there nothing can be published to it (`STORAGE_FAULT`, so outboxes keep what they have)
 * and members of its groups are given nothing. It is asked for again with back-off for as long as
 * it takes. Refuses what a broker refuses once there is one.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type {
  Broker,
  BrokerCapabilities,
  ConnectionState,
  DeadLetter,
  Outgoing,
  SubscribeOptions,
  Subscription,
} from "./broker.ts";

import { describeError, isShopError, ShopError } from "../../runtime/errors.ts";
import { LateMember } from "./late-member.ts";

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 10_000;

export interface LateBrokerOptions {
  readonly name: string;
  /** Of brokers of its kind, as far as they are known without one. */
  readonly capabilities: BrokerCapabilities;
  readonly environment: Pick<Environment, "startTimer">;
  /** Rejects with a `ShopError` while the server cannot be used. */
  readonly open: () => Promise<Broker>;
  readonly onConnection: (state: ConnectionState) => void;
}

/** The broker itself when it is there; else one that goes on asking for it. Rejects for a bug. */
export async function openOrAwait(options: LateBrokerOptions): Promise<Broker> {
  try {
    return await options.open();
  } catch (error) {
    if (!isShopError(error)) throw error;
    return new LateBroker(options, error);
  }
}

/** Whether it is still being asked for. */
export function isAway(broker: Broker): boolean {
  return broker instanceof LateBroker && broker.isAway;
}

class LateBroker implements Broker {
  readonly #options: LateBrokerOptions;
  readonly #members = new Set<LateMember>();
  /** Of those, who could not join though it is back. */
  readonly #outside = new Set<LateMember>();
  #broker: Broker | undefined;
  #reason: string;
  #retryMs = RETRY_MIN_MS;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(options: LateBrokerOptions, error: ShopError) {
    this.#options = options;
    this.#reason = describeError(error);
    this.#later();
  }

  get capabilities(): BrokerCapabilities {
    return this.#broker?.capabilities ?? this.#options.capabilities;
  }

  get isAway(): boolean {
    return this.#broker === undefined;
  }

  publish(frames: readonly Outgoing[]): Promise<void> {
    return this.#broker === undefined ? Promise.reject(this.#away()) : this.#broker.publish(frames);
  }

  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    if (this.#isClosed) throw closedError(this.#options.name);
    if (this.#broker !== undefined) return await this.#broker.subscribe(options);
    const member: LateMember = new LateMember(options, this.#options.environment, (why) =>
      this.#waits(member, why),
    );
    this.#members.add(member);
    return member;
  }

  async deadLetters(topic: string, afterId: number, limit: number): Promise<readonly DeadLetter[]> {
    if (this.#broker === undefined) throw this.#away();
    return await this.#broker.deadLetters(topic, afterId, limit);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await Promise.all([...this.#members].map((member) => member.close(false)));
    await this.#broker?.close();
  }

  #away(): ShopError {
    const { name } = this.#options;
    if (this.#isClosed) return closedError(name);
    return new ShopError("STORAGE_FAULT", `${name} is away: ${this.#reason}`, "later");
  }

  /** It is not well before everybody is with it. */
  #waits(member: LateMember, why: string | undefined): void {
    if (why === undefined && !this.#outside.delete(member)) return;
    if (why !== undefined) this.#outside.add(member);
    if (why !== undefined) this.#options.onConnection({ isUp: false, detail: why });
    else if (this.#outside.size === 0) this.#options.onConnection({ isUp: true, detail: "" });
  }

  #later(): void {
    this.#options.onConnection({ isUp: false, detail: this.#reason });
    this.#timer = this.#options.environment.startTimer(this.#retryMs, () => {
      void this.#try();
    });
    this.#retryMs = Math.min(RETRY_MAX_MS, 2 * this.#retryMs);
  }

  /** Rejects for a bug alone, which ends the thread. */
  async #try(): Promise<void> {
    let broker: Broker;
    try {
      broker = await this.#options.open();
    } catch (error) {
      if (!isShopError(error)) throw error;
      this.#reason = describeError(error);
      if (!this.#isClosed) this.#later();
      return;
    }
    if (this.#isClosed) {
      // Nobody is left who would hear that it cannot be closed in good order.
      await broker.close().catch(() => undefined);
      return;
    }
    this.#broker = broker;
    this.#options.onConnection({ isUp: true, detail: "" });
    for (const member of this.#members) void member.join(broker); // tells failures itself
  }
}

function closedError(name: string): ShopError {
  return new ShopError("CLOSED", `the broker ${name} is closed`, "never");
}
