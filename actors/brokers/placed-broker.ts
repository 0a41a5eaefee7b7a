/**
 * One broker made of several: each topic is placed on one of them.
 *
 * A publication is split by broker, and a subscription is a member of the same group at each, so
 * whoever stands above sees one port. What the port promises about one call holds per broker: when
 * one takes its frames and another does not, the publication is `INDETERMINATE`, and whoever wants
 * all or none publishes to one broker at a time. Order across topics of different brokers is not
 * promised. Refuses topics that are placed nowhere.
 */

import type {
  Broker,
  BrokerCapabilities,
  DeadLetter,
  Outgoing,
  SubscribeOptions,
  Subscription,
} from "./broker.ts";

import { assert, describeError, isShopError, ShopError } from "../../runtime/errors.ts";
import { MemberParts } from "./placed-subscription.ts";

export interface PlacedBrokerOptions {
  /** By name. At least one. */
  readonly brokers: ReadonlyMap<string, Broker>;
  /** The name of the broker that has a topic. */
  readonly places: ReadonlyMap<string, string>;
}

export class PlacedBroker implements Broker {
  readonly capabilities: BrokerCapabilities;
  readonly #brokers: ReadonlyMap<string, Broker>;
  readonly #places: ReadonlyMap<string, string>;

  constructor({ brokers, places }: PlacedBrokerOptions) {
    for (const [topic, name] of places) {
      assert(brokers.has(name), `topic ${topic} is placed on ${name}, which is not there`);
    }
    this.#brokers = brokers;
    this.#places = places;
    this.capabilities = weakest([...brokers.values()].map(({ capabilities }) => capabilities));
  }

  publish(frames: readonly Outgoing[]): Promise<void> {
    const shares = Map.groupBy(frames, ({ topic }) => this.#nameOf(topic));
    for (const [name, share] of shares) this.#checkSizes(name, share);
    const [only] = shares.keys();
    if (shares.size === 1 && only !== undefined) return this.#brokerAt(only).publish(frames);
    return this.#publishAll(shares);
  }

  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    const shares = Map.groupBy(options.topics, (topic) => this.#nameOf(topic));
    const [only] = shares.keys();
    if (shares.size === 1 && only !== undefined) {
      return await this.#brokerAt(only).subscribe(options);
    }
    const parts = new MemberParts(options);
    for (const [name, topics] of shares) await parts.join(this.#brokerAt(name), topics);
    return parts.subscription();
  }

  async deadLetters(topic: string, afterId: number, limit: number): Promise<readonly DeadLetter[]> {
    return await this.#brokerAt(this.#nameOf(topic)).deadLetters(topic, afterId, limit);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#brokers.values()].map((broker) => broker.close()));
  }

  async #publishAll(shares: ReadonlyMap<string, readonly Outgoing[]>): Promise<void> {
    const names = [...shares.keys()];
    const results = await Promise.allSettled(
      [...shares].map(([name, share]) => Promise.try(() => this.#brokerAt(name).publish(share))),
    );
    const failures = results.flatMap((result, at) =>
      result.status === "rejected"
        ? [{ name: names[at] ?? "", error: asError(result.reason) }]
        : [],
    );
    const [first] = failures;
    if (first === undefined) return;
    const isNothing =
      failures.length === results.length &&
      failures.every(({ error }) => !isShopError(error, "INDETERMINATE"));
    if (isNothing) throw first.error;
    const what = failures.map(({ name, error }) => `${name}: ${describeError(error)}`).join("; ");
    throw new ShopError("INDETERMINATE", what, "later", { cause: first.error });
  }

  /** Before anybody was asked, so that nothing is stored when one of them would refuse. */
  #checkSizes(name: string, frames: readonly Outgoing[]): void {
    const { frameBytesMax } = this.#brokerAt(name).capabilities;
    for (const { topic, frame } of frames) {
      if (frame.byteLength <= frameBytesMax) continue;
      const size = `${topic}: a frame of ${frame.byteLength} bytes exceeds ${frameBytesMax}`;
      throw new ShopError("PAYLOAD_TOO_LARGE", size, "never");
    }
  }

  #nameOf(topic: string): string {
    const name = this.#places.get(topic);
    if (name !== undefined) return name;
    const known = [...this.#places.keys()].join(", ");
    throw new ShopError("UNKNOWN_TOPIC", `no topic ${topic}; there are ${known}`, "never");
  }

  #brokerAt(name: string): Broker {
    const broker = this.#brokers.get(name);
    assert(broker !== undefined, `no broker ${name}`);
    return broker;
  }
}

/** What holds whichever of them has a topic. */
export function weakest(all: readonly BrokerCapabilities[]): BrokerCapabilities {
  assert(all.length > 0, "a placed broker has at least one broker");
  const every = (has: (each: BrokerCapabilities) => boolean): boolean => all.every(has);
  return {
    persistent: every((each) => each.persistent),
    confirmIsDurable: every((each) => each.confirmIsDurable),
    durablePostpone: every((each) => each.durablePostpone),
    replay: every((each) => each.replay),
    serverDedup: every((each) => each.serverDedup),
    leasesMove: every((each) => each.leasesMove),
    sequencesLast: every((each) => each.sequencesLast),
    remoteMembers: every((each) => each.remoteMembers),
    filtersTypes: every((each) => each.filtersTypes),
    frameBytesMax: Math.min(...all.map(({ frameBytesMax }) => frameBytesMax)),
  };
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new ShopError("INDETERMINATE", String(reason), "later");
}
