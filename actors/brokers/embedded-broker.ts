/**
 * The broker port on the embedded journal: one database that is log, offsets and dead letters.
 *
 * Publishing is a unit of work with nothing but frames, so it is durable when it resolves. The
 * journal's thread keeps groups, epochs and leases; this end translates.
 */

import type { JournalClient, JournalListener } from "../stores/journal-client.ts";
import type {
  SettleRequest,
  StandingRequest,
  SubscribeRequest,
  WireBooks,
} from "../stores/journal-protocol.ts";
import type {
  Broker,
  BrokerCapabilities,
  DeadLetter,
  Delivery,
  DeliveryRef,
  Outgoing,
  PartitionStanding,
  SettleResult,
  SubscribeOptions,
  Subscription,
} from "./broker.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import { FRAME_BYTES_MAX } from "../../runtime/limits.ts";
import {
  COMMIT,
  DEAD_LETTERS,
  decodeBooks,
  PAUSE,
  SETTLE,
  STANDING,
  SUBSCRIBE,
  UNSUBSCRIBE,
} from "../stores/journal-protocol.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { refToWire, unitToWire } from "../stores/unit-wire.ts";

export const EMBEDDED_CAPABILITIES: BrokerCapabilities = {
  persistent: true,
  confirmIsDurable: true,
  durablePostpone: true,
  replay: true,
  serverDedup: false,
  leasesMove: true,
  sequencesLast: true,
  remoteMembers: false,
  filtersTypes: true,
  frameBytesMax: FRAME_BYTES_MAX,
};

export class EmbeddedBroker implements Broker {
  readonly capabilities = EMBEDDED_CAPABILITIES;
  readonly #client: JournalClient;
  readonly #topics: ReadonlySet<string>;
  readonly #subscriptions = new Set<Subscription>();
  readonly #publishing = new Set<Promise<unknown>>();
  #closed = false;

  constructor(client: JournalClient, topics: readonly string[]) {
    this.#client = client;
    this.#topics = new Set(topics);
  }

  publish(frames: readonly Outgoing[]): Promise<void> {
    for (const { topic, frame } of frames) {
      this.#checkTopic(topic);
      if (frame.byteLength > FRAME_BYTES_MAX) {
        const size = `a frame of ${frame.byteLength} bytes exceeds ${FRAME_BYTES_MAX}`;
        throw new ShopError("PAYLOAD_TOO_LARGE", size, "never");
      }
    }
    if (this.#closed) return Promise.reject(closedError());
    const unit = unitToWire({ ...EMPTY_UNIT, outgoing: frames }, []);
    const published = this.#client.request<unknown>(COMMIT, unit).then(() => undefined);
    this.#publishing.add(published);
    const done = (): void => void this.#publishing.delete(published);
    published.then(done, done);
    return published;
  }

  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    for (const topic of options.topics) this.#checkTopic(topic);
    if (this.#closed) throw closedError();
    const listener = createListener(options, () => subscription);
    const id = this.#client.listen(listener);
    const subscription = new EmbeddedSubscription(this.#client, id, () => {
      this.#subscriptions.delete(subscription);
    });
    this.#subscriptions.add(subscription);
    const { group, topics, from, creditFrames, creditBytes, leaseMs, partitions, types } = options;
    const request: SubscribeRequest = {
      subscription: id,
      group,
      topics,
      from,
      creditFrames,
      creditBytes,
      leaseMs,
      ...(partitions === undefined ? {} : { partitions }),
      ...(types === undefined ? {} : { types }),
    };
    try {
      await this.#client.request(SUBSCRIBE, request);
    } catch (error) {
      this.#client.unlisten(id);
      this.#subscriptions.delete(subscription);
      throw error;
    }
    return subscription;
  }

  deadLetters(topic: string, afterId: number, limit: number): Promise<readonly DeadLetter[]> {
    return this.#client.request(DEAD_LETTERS, { topic, afterId, limit });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#publishing);
    await Promise.allSettled(
      [...this.#subscriptions].map((subscription) => subscription.close(false)),
    );
  }

  #checkTopic(topic: string): void {
    if (this.#topics.has(topic)) return;
    const known = [...this.#topics].join(", ");
    throw new ShopError("UNKNOWN_TOPIC", `no topic ${topic}; there are ${known}`, "never");
  }
}

function createListener(
  options: SubscribeOptions,
  subscription: () => EmbeddedSubscription,
): JournalListener {
  const { group, topics, onDeliveries, onRevoked, onFailure } = options;
  const handOn = (batch: readonly Delivery[]): void => {
    if (!subscription().isClosed) onDeliveries(batch);
  };
  return {
    deliveries(records) {
      let batch: Delivery[] = [];
      for (const { topic, delivery } of records) {
        const name = topics[topic];
        assert(name !== undefined, "the journal names topics by their place in the subscription");
        const last = batch.at(-1);
        // The journal sends the records of a partition one after the other.
        if (last !== undefined && (last.topic !== name || last.partition !== delivery.partition)) {
          handOn(batch);
          batch = [];
        }
        batch.push({ group, topic: name, ...delivery });
      }
      if (batch.length > 0) handOn(batch);
    },
    standings: (books) => subscription().books(books, topics),
    revoked: ({ topic, partitions }) => onRevoked?.(topic, partitions),
    failed: (error) => onFailure?.(error),
  };
}

/** Somebody who wants to know how the partitions stand, and what is known so far. */
interface Look {
  readonly look: (standings: readonly PartitionStanding[]) => void;
  readonly standings: PartitionStanding[];
}

class EmbeddedSubscription implements Subscription {
  isClosed = false;
  readonly #client: JournalClient;
  readonly #id: number;
  readonly #onClose: () => void;
  readonly #looks = new Map<number, Look>();
  #tokens = 0;
  #closing: Promise<void> | undefined;

  constructor(client: JournalClient, id: number, onClose: () => void) {
    this.#client = client;
    this.#id = id;
    this.#onClose = onClose;
  }

  ack(deliveries: readonly DeliveryRef[]): Promise<readonly SettleResult[]> {
    return this.#settle({ kind: "ack", refs: deliveries.map(refToWire) });
  }

  async postpone(
    delivery: DeliveryRef,
    postponement: Parameters<Subscription["postpone"]>[1],
  ): Promise<SettleResult> {
    const request: SettleRequest = { kind: "postpone", ref: refOf(delivery), postponement };
    return (await this.#settle(request))[0] ?? "stale";
  }

  async bury(
    delivery: DeliveryRef,
    burial: Parameters<Subscription["bury"]>[1],
  ): Promise<SettleResult> {
    const request: SettleRequest = { kind: "bury", ref: refOf(delivery), burial };
    return (await this.#settle(request))[0] ?? "stale";
  }

  async standing(look: Look["look"]): Promise<void> {
    if (this.isClosed) throw closedError();
    const token = ++this.#tokens;
    this.#looks.set(token, { look, standings: [] });
    const request: StandingRequest = { subscription: this.#id, token };
    try {
      await this.#client.request(STANDING, request);
    } finally {
      this.#looks.delete(token);
    }
  }

  /** Part of the answer; with the last of it whoever asked may look. */
  books(books: WireBooks, topics: readonly string[]): void {
    const asked = this.#looks.get(books.token);
    if (asked === undefined || this.isClosed) return;
    asked.standings.push(...decodeBooks(books, topics));
    if (books.isLast) asked.look(asked.standings);
  }

  pause(): void {
    this.#setPaused(true);
  }

  resume(): void {
    this.#setPaused(false);
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    this.isClosed = true;
    this.#onClose();
    try {
      await this.#client.request(UNSUBSCRIBE, { subscription: this.#id });
    } catch (error) {
      // A journal that is gone has no subscriptions left to end.
      if (!(error instanceof ShopError)) throw error;
    }
    this.#client.unlisten(this.#id);
  }

  #setPaused(paused: boolean): void {
    if (this.isClosed) return;
    // A refusal means that the journal is gone, which `onFailure` tells.
    this.#client.request(PAUSE, { subscription: this.#id, paused }).catch(() => undefined);
  }

  #settle(request: SettleRequest): Promise<readonly SettleResult[]> {
    return this.#client.request(SETTLE, { subscription: this.#id, request });
  }
}

/** Without the frame's bytes: the journal has them. */
function refOf({ group, topic, partition, sequence, epoch }: DeliveryRef): DeliveryRef {
  return { group, topic, partition, sequence, epoch };
}

function closedError(): ShopError {
  return new ShopError("CLOSED", "the broker was closed", "never");
}
