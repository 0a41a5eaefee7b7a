/**
 * A broker that is away while a shard begins anew, and joined once it is back.
 *
 * What carries nothing of a shard's own state must not keep the shard from its orders: until the
 * broker is there nothing can be published to it (`STORAGE_FAULT`, so outboxes keep what they have)
 * and members of its groups are given nothing. It is asked for again with back-off for as long as
 * it takes. It is told to be up once it is there, by its own account too, and nobody waits to join
 * it. Refuses what a broker refuses once there is one.
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
  /**
   * Rejects with a `ShopError` while the server cannot be used. The broker tells how its connection
   * is; what it does not tell is that it is up once it has been opened.
   */
  readonly open: (onConnection: (state: ConnectionState) => void) => Promise<Broker>;
  readonly onConnection: (state: ConnectionState) => void;
}

/** The broker itself when it is there; else one that goes on asking for it. Rejects for a bug. */
export async function openOrAwait(options: LateBrokerOptions): Promise<Broker> {
  let hasFailed = false;
  try {
    return await options.open((state) => {
      if (!hasFailed) options.onConnection(state);
    });
  } catch (error) {
    hasFailed = true;
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
  /** Of those, who has not joined though it is back, and why. */
  readonly #outside = new Map<LateMember, string>();
  #broker: Broker | undefined;
  /** By the broker's own account: why it cannot be reached; absent: it can. */
  #outage: string | undefined;
  #reason: string;
  #tries = 0;
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

  /** `why` is undefined: it has joined, or does not want to any more. */
  #waits(member: LateMember, why: string | undefined): void {
    if (why === undefined && !this.#outside.delete(member)) return;
    if (why !== undefined) this.#outside.set(member, why);
    this.#tell();
  }

  /** It is not well before everybody is with it. */
  #tell(): void {
    if (this.#isClosed) return;
    const [waiting] = this.#outside.values();
    const detail = this.#broker === undefined ? this.#reason : (this.#outage ?? waiting);
    this.#options.onConnection({ isUp: detail === undefined, detail: detail ?? "" });
  }

  #hears({ isUp, detail }: ConnectionState): void {
    this.#outage = isUp ? undefined : detail;
    // Before it is opened, only that it is not is of interest.
    if (this.#broker !== undefined) this.#tell();
  }

  #later(): void {
    this.#tell();
    this.#timer = this.#options.environment.startTimer(this.#retryMs, () => {
      void this.#try();
    });
    this.#retryMs = Math.min(RETRY_MAX_MS, 2 * this.#retryMs);
  }

  /** Rejects for a bug alone, which ends the thread. */
  async #try(): Promise<void> {
    const number = ++this.#tries;
    this.#outage = undefined;
    let broker: Broker;
    try {
      broker = await this.#options.open((state) => {
        if (this.#tries === number) this.#hears(state);
      });
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
    for (const member of this.#members) {
      if (member.intent !== undefined) this.#outside.set(member, member.intent);
    }
    this.#tell();
    for (const member of this.#members) void member.join(broker); // tells failures itself
  }
}

function closedError(name: string): ShopError {
  return new ShopError("CLOSED", `the broker ${name} is closed`, "never");
}
