/**
 * The broker port on Apache Kafka, whichever client talks to it.
 *
 * A topic of the shop is a topic of the server with as many partitions as there are slots; it is
 * made at start if it is not there, and refused if it has another number. Publishing waits for all
 * replicas in sync. What Kafka lacks, and who makes up for it: attempts and settling out of order
 * (`offset-metadata.ts`), dead letters (`letter-box.ts`), credit (`RemoteMember`).
 */

import type { Environment } from "../../../runtime/environment.ts";
import type {
  Broker,
  BrokerCapabilities,
  ConnectionState,
  DeadLetter,
  Outgoing,
  SubscribeOptions,
  Subscription,
} from "../broker.ts";
import type { KafkaDriver, NewTopic } from "./kafka-driver.ts";
import type { KafkaSettings } from "./kafka-options.ts";

import { assert, ShopError } from "../../../runtime/errors.ts";
import { FRAME_HEADER_BYTES } from "../../../runtime/frames/frame-header.ts";
import { frameSlot } from "../../../runtime/frames/frame.ts";
import { FRAME_BYTES_MAX } from "../../../runtime/limits.ts";
import { ConnectionWatch } from "./connection-watch.ts";
import { recordOf } from "./frame-record.ts";
import { KafkaMember } from "./kafka-member.ts";
import { checkKafkaSettings } from "./kafka-options.ts";
import { LetterBox, LETTERS_TOPIC } from "./letter-box.ts";
import { patiently } from "./patience.ts";
import { PublishQueue } from "./publish-queue.ts";

/** A frame with its key, headers and framing, alone in a batch. */
const MESSAGE_BYTES_MAX = 2 * FRAME_BYTES_MAX;
const FLUSH_MS_MAX = 5_000;
const LAY_OUT_WITHIN_MS = 8_000;

export const KAFKA_CAPABILITIES: BrokerCapabilities = {
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

/** The shop's events by name and by number. */
export interface EventTypes {
  readonly nameOf: (type: number) => string | undefined;
  readonly numberOf: (type: string) => number | undefined;
}

export interface KafkaBrokerOptions {
  readonly environment: Environment;
  readonly settings: KafkaSettings;
  readonly driver: KafkaDriver;
  readonly topics: readonly string[];
  readonly slots: number;
  readonly types: EventTypes;
  readonly onConnection?: (state: ConnectionState) => void;
  readonly onLog?: (level: "info" | "warning", text: string) => void;
}

/**
 * Connected, with its topics there. Rejects with `SERVER_UNUSABLE` naming the setting, or
 * `BAD_CONFIGURATION`.
 */
export async function openKafkaBroker(options: KafkaBrokerOptions): Promise<KafkaBroker> {
  const { driver, settings } = options;
  checkKafkaSettings(settings);
  try {
    await driver.connect();
    await layOut(options);
    return new KafkaBroker(options);
  } catch (error) {
    await driver.close();
    throw error;
  }
}

export class KafkaBroker implements Broker {
  readonly capabilities = KAFKA_CAPABILITIES;
  readonly #options: KafkaBrokerOptions;
  readonly #topics: ReadonlySet<string>;
  readonly #queue: PublishQueue;
  readonly #letters: LetterBox;
  readonly #watch: ConnectionWatch;
  readonly #members = new Set<KafkaMember>();
  /** So many there were. */
  #subscriptions = 0;
  #closing: Promise<void> | undefined;

  constructor(options: KafkaBrokerOptions) {
    const { environment, settings, driver, topics } = options;
    this.#options = options;
    this.#topics = new Set(topics);
    this.#watch = new ConnectionWatch(environment, options.onConnection);
    this.#queue = new PublishQueue({
      environment,
      timeoutMs: settings.publishTimeoutMs,
      framesMax: settings.bufferFramesMax,
      bytesMax: settings.bufferBytesMax,
      batchFramesMax: settings.batchFramesMax,
      gatherMs: settings.publishGatherMs,
      produce: (records) => driver.produce(records),
      renewProducer: () => driver.renewProducer(),
      onAttempt: (error) => this.#watch.attempted(error),
    });
    const topic = settings.topicPrefix + LETTERS_TOPIC;
    this.#letters = new LetterBox({ environment, driver, queue: this.#queue, topic });
  }

  publish(frames: readonly Outgoing[]): Promise<void> {
    const { settings, types, slots } = this.#options;
    for (const { topic, frame } of frames) {
      this.#refuseUnknown(topic);
      if (frame.byteLength > FRAME_BYTES_MAX) {
        const message = `${frame.byteLength} bytes exceed the ${FRAME_BYTES_MAX} of a frame`;
        throw new ShopError("PAYLOAD_TOO_LARGE", message, "never");
      }
      if (frame.byteLength < FRAME_HEADER_BYTES || frameSlot(frame) >= slots) {
        const message = `${topic} has ${slots} partitions, and none for these bytes`;
        throw new ShopError("BAD_FRAME", message, "never");
      }
    }
    return this.#queue.publish(
      frames.map(({ topic, frame }) => recordOf(settings.topicPrefix + topic, frame, types.nameOf)),
    );
  }

  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    const { environment, settings, driver, slots, types } = this.#options;
    this.#refuseClosed();
    for (const topic of options.topics) this.#refuseUnknown(topic);
    const number = ++this.#subscriptions;
    const member = new KafkaMember(
      {
        environment,
        settings,
        driver,
        letters: this.#letters,
        slots,
        numberOf: types.numberOf,
        onLog: this.#options.onLog ?? (() => undefined),
        onAttempt: (error) => this.#watch.attempted(error),
        onUnreadable: (what, why) => this.#unreadable(number, what, why),
      },
      options,
    );
    this.#members.add(member);
    try {
      await member.open();
      return member;
    } catch (error) {
      this.#members.delete(member);
      await member.close();
      throw error;
    }
  }

  async deadLetters(topic: string, afterId: number, limit: number): Promise<readonly DeadLetter[]> {
    this.#refuseClosed();
    this.#refuseUnknown(topic);
    return await this.#letters.list(topic, afterId, limit);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { settings, driver } = this.#options;
    const flushMs = Math.min(FLUSH_MS_MAX, settings.publishTimeoutMs);
    await Promise.all([
      this.#queue.close(flushMs),
      ...[...this.#members].map((member) => member.close()),
    ]);
    await driver.close();
  }

  /** For one subscription: another may be able to. */
  #unreadable(subscription: number, what: string, why: string | undefined): void {
    const text = why === undefined ? undefined : `kafka: ${what} cannot be read: ${why}`;
    if (text !== undefined) this.#options.onLog?.("warning", text);
    this.#watch.unreadable(`${subscription} ${what}`, text);
  }

  #refuseClosed(): void {
    if (this.#closing === undefined) return;
    throw new ShopError("CLOSED", "the broker is closed", "never");
  }

  #refuseUnknown(topic: string): void {
    if (this.#topics.has(topic)) return;
    const known = [...this.#topics].join(", ");
    throw new ShopError("UNKNOWN_TOPIC", `no topic ${topic}; there are ${known}`, "never");
  }
}

/** Makes the topics that are not there, and refuses those that are unlike what is needed. */
async function layOut({ environment, driver, settings, topics, slots }: KafkaBrokerOptions) {
  const wanted = topicsOf(settings, topics, slots);
  const names = wanted.map(({ topic }) => topic);
  const before = await driver.describe(names);
  await driver.create(wanted.filter(({ topic }) => !before.has(topic)));
  // A topic that was made shows after a moment.
  const there = await patiently(environment, LAY_OUT_WITHIN_MS, async () => {
    const found = await driver.describe(names);
    const missing = names.find((name) => !found.has(name));
    if (missing === undefined) return found;
    const message = `kafka: topic ${missing} is not there and could not be made`;
    throw new ShopError("SERVER_UNUSABLE", message, "later");
  });
  for (const { topic, partitions } of wanted) {
    const shape = there.get(topic);
    assert(shape !== undefined, "all are there");
    if (shape.partitions !== partitions) {
      refuse(`topic ${topic} has ${shape.partitions} partitions, needed are ${partitions}`);
    }
    const { messageBytesMax } = shape;
    if (messageBytesMax !== undefined && messageBytesMax < MESSAGE_BYTES_MAX) {
      const limit = `max.message.bytes ${messageBytesMax}`;
      refuse(`topic ${topic} has ${limit}, needed is ${MESSAGE_BYTES_MAX} or more`);
    }
  }
}

function topicsOf(
  { topicPrefix, replicationFactor, minInsyncReplicas }: KafkaSettings,
  topics: readonly string[],
  slots: number,
): readonly NewTopic[] {
  const config = {
    "min.insync.replicas": String(minInsyncReplicas),
    "max.message.bytes": String(MESSAGE_BYTES_MAX),
  };
  return [
    ...topics.map((topic) => ({
      topic: topicPrefix + topic,
      partitions: slots,
      replicationFactor,
      config,
    })),
    // Dead letters are kept until somebody deals with them.
    {
      topic: topicPrefix + LETTERS_TOPIC,
      partitions: 1,
      replicationFactor,
      config: { ...config, "retention.ms": "-1" },
    },
  ];
}

function refuse(message: string): never {
  throw new ShopError("SERVER_UNUSABLE", `kafka: ${message}`, "never");
}
