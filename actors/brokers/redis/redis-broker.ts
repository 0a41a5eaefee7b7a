/**
 * The broker port on Redis Streams: a stream per partition, a consumer group per group.
 *
 * The streams are the log, numbered without gaps; which member reads which is agreed between the
 * members (`redis-membership.ts`), because Redis would give one key's frames to several at a time.
 * What is confirmed is as durable as the server is set to be. Refuses topics that were not named
 * when it was opened, and a server that would lose frames by itself.
 */

import type { Timer } from "../../../runtime/environment.ts";
import type {
  Broker,
  BrokerCapabilities,
  DeadLetter,
  Outgoing,
  SubscribeOptions,
  Subscription,
} from "../broker.ts";
import type { RedisConnection, RedisConnectionOptions } from "./redis-connection.ts";
import type { RedisLink } from "./redis-link.ts";

import { describeError, ShopError } from "../../../runtime/errors.ts";
import { FRAME_HEADER_BYTES } from "../../../runtime/frames/frame-header.ts";
import { frameSlot } from "../../../runtime/frames/frame.ts";
import { FRAME_BYTES_MAX } from "../../../runtime/limits.ts";
import { openRedisConnection } from "./redis-connection.ts";
import { lettersOf } from "./redis-dead-letters.ts";
import { deadKey, groupKeys } from "./redis-keys.ts";
import { RedisPublisher } from "./redis-publisher.ts";
import { isTransient } from "./redis-link.ts";
import { whole } from "./redis-reply.ts";
import { TRIM } from "./redis-scripts.ts";
import { RedisSubscription } from "./redis-subscription.ts";

/** `confirmIsDurable` holds for a server with `appendfsync always`, which is asked at start. */
export const REDIS_CAPABILITIES: BrokerCapabilities = {
  persistent: true,
  confirmIsDurable: true,
  durablePostpone: true,
  replay: true,
  serverDedup: false,
  leasesMove: true,
  sequencesLast: true,
  remoteMembers: true,
  filtersTypes: true,
  frameBytesMax: FRAME_BYTES_MAX,
};

export interface RedisBrokerOptions extends Omit<
  RedisConnectionOptions,
  "purpose" | "onReconnected"
> {
  readonly topics: readonly string[];
  /** Of every topic. */
  readonly partitions: number;
}

/** Rejects with `SERVER_UNUSABLE` within 10 s. */
export async function openRedisBroker(options: RedisBrokerOptions): Promise<RedisBroker> {
  const subscriptions = new Set<RedisSubscription>();
  const connection = await openRedisConnection({
    ...options,
    purpose: "control",
    onReconnected: (isSameServer) => {
      // Another process of the server may have lost the end of what the last one had.
      if (!isSameServer) for (const each of subscriptions) each.forget();
    },
  });
  try {
    const publishing = await connection.openLink("publish");
    return new RedisBroker(options, { connection, publishing, subscriptions });
  } catch (error) {
    connection.close();
    throw error;
  }
}

interface Parts {
  readonly connection: RedisConnection;
  readonly publishing: RedisLink;
  readonly subscriptions: Set<RedisSubscription>;
}

export class RedisBroker implements Broker {
  readonly capabilities: BrokerCapabilities;
  readonly #options: RedisBrokerOptions;
  readonly #parts: Parts;
  readonly #topics: ReadonlySet<string>;
  readonly #publisher: RedisPublisher;
  readonly #opening = new Set<Promise<unknown>>();
  #trimming: Timer | undefined;
  #closing: Promise<void> | undefined;

  /** Use `openRedisBroker`. */
  constructor(options: RedisBrokerOptions, parts: Parts) {
    const { settings, environment } = options;
    this.#options = options;
    this.#parts = parts;
    this.#topics = new Set(options.topics);
    this.capabilities = {
      ...REDIS_CAPABILITIES,
      confirmIsDurable: parts.connection.judgement.isDurable,
    };
    this.#publisher = new RedisPublisher({
      environment,
      link: parts.publishing,
      prefix: settings.prefix,
      bytesMax: settings.publishBytesMax,
    });
    this.#trimLater();
  }

  publish(frames: readonly Outgoing[]): Promise<void> {
    for (const each of frames) this.#check(each);
    if (this.#closing !== undefined) return Promise.reject(closedError());
    return this.#publisher.publish(frames);
  }

  async subscribe(subscribe: SubscribeOptions): Promise<Subscription> {
    for (const topic of subscribe.topics) this.#checkTopic(topic);
    if (this.#closing !== undefined) throw closedError();
    const opening = this.#open(subscribe);
    this.#opening.add(opening);
    try {
      return await opening;
    } finally {
      this.#opening.delete(opening);
    }
  }

  async deadLetters(topic: string, afterId: number, limit: number): Promise<readonly DeadLetter[]> {
    this.#checkTopic(topic);
    if (this.#closing !== undefined) throw closedError();
    const { settings } = this.#options;
    const key = deadKey(settings.prefix, topic);
    const { link } = this.#parts.connection;
    return lettersOf(topic, await link.call("XRANGE", key, `(0-${afterId}`, "+", "COUNT", limit));
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    const { connection, publishing, subscriptions } = this.#parts;
    this.#trimming?.cancel();
    await this.#publisher.settled();
    publishing.close();
    await Promise.allSettled(this.#opening);
    await Promise.all([...subscriptions].map((each) => each.close()));
    connection.close();
  }

  async #open(subscribe: SubscribeOptions): Promise<Subscription> {
    const { connection, subscriptions } = this.#parts;
    const { settings, environment, partitions } = this.#options;
    const stands: { subscription?: RedisSubscription } = {}; // once its connection does
    const link = await connection.openLink(`read:${subscribe.group}`, {
      isBlocking: true,
      onUp: () => stands.subscription?.reconnected(),
    });
    const opened = new RedisSubscription({
      settings,
      environment,
      control: connection.link,
      link,
      partitions,
      subscribe,
      onTrouble: (error) => this.#trouble(subscribe.group, error),
      onEnd: () => void subscriptions.delete(opened),
    });
    stands.subscription = opened;
    subscriptions.add(opened);
    try {
      await opened.start();
      if (this.#closing !== undefined) throw closedError();
      return opened;
    } catch (error) {
      await opened.close();
      throw error;
    }
  }

  #check({ topic, frame }: Outgoing): void {
    this.#checkTopic(topic);
    if (frame.byteLength > FRAME_BYTES_MAX) {
      const size = `a frame of ${frame.byteLength} bytes exceeds ${FRAME_BYTES_MAX}`;
      throw new ShopError("PAYLOAD_TOO_LARGE", size, "never");
    }
    const { partitions } = this.#options;
    const slot = frame.byteLength < FRAME_HEADER_BYTES ? undefined : frameSlot(frame);
    if (slot === undefined || slot >= partitions) {
      const what = slot === undefined ? "shorter than a header" : `for slot ${slot}`;
      throw new ShopError("BAD_FRAME", `a frame ${what} of ${partitions} partitions`, "never");
    }
  }

  #checkTopic(topic: string): void {
    if (this.#topics.has(topic)) return;
    const known = [...this.#topics].join(", ");
    throw new ShopError("UNKNOWN_TOPIC", `no topic ${topic}; there are ${known}`, "never");
  }

  #trimLater(): void {
    const { environment, settings } = this.#options;
    this.#trimming = environment.startTimer(settings.trimIntervalMs, () => {
      void this.#trim().finally(() => {
        if (this.#closing === undefined) this.#trimLater();
      });
    });
  }

  /** Does not reject: the next time is as good. */
  async #trim(): Promise<void> {
    const { settings } = this.#options;
    const { connection, subscriptions } = this.#parts;
    for (const { group, logs } of [...subscriptions].map((each) => partsOf(each))) {
      if (logs.length === 0) continue;
      const keys = [groupKeys(settings.prefix, group).members, ...logs];
      const { retainFrames, partitionFramesMax } = settings;
      try {
        const reply = connection.link.run(TRIM, keys, group, retainFrames, partitionFramesMax);
        const dropped = whole(await reply);
        if (dropped > 0) this.#log("warning", `${dropped} frames went over partitionFramesMax`);
      } catch (error) {
        this.#trouble(group, error);
      }
    }
  }

  /** What heals by itself is told by the state of the connection. */
  #trouble(group: string, error: unknown): void {
    if (isTransient(error) && !this.#parts.connection.link.isUp) return;
    this.#log("warning", `group ${group}: ${describeError(error)}`);
  }

  #log(level: "info" | "warning", text: string): void {
    this.#options.onLog?.(level, `redis: ${text}`);
  }
}

function partsOf(subscription: RedisSubscription) {
  return { group: subscription.group, logs: subscription.logs() };
}

function closedError(): ShopError {
  return new ShopError("CLOSED", "the broker was closed", "never");
}
