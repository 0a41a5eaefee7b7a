/**
 * The broker port on RabbitMQ: quorum queues, one for each partition of each group.
 *
 * A frame goes to the exchange of its topic and from there to the queue of every group; it is
 * confirmed when all of them have it on disk, and refused when there is none. What AMQP does not
 * have is said in the capabilities: no reading of what came before a group's queues were made, no
 * positions that last. An acknowledgement is not answered by the protocol; see `ack-fence.ts` for
 * what stands in for it. Dead letters are kept in streams, which the server does not force to disk
 * frame by frame: a power cut of the only node may take the last of them.
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
import type { RabbitMessage } from "./publish-encoder.ts";
import type { RabbitAddress } from "./rabbit-faults.ts";
import type { LogLevel } from "./rabbit-link.ts";
import type { RabbitSettings } from "./rabbit-settings.ts";

import { isShopError, ShopError } from "../../../runtime/errors.ts";
import { FRAME_HEADER_BYTES } from "../../../runtime/frames/frame-header.ts";
import { frameId, frameSlot } from "../../../runtime/frames/frame.ts";
import { FRAME_BYTES_MAX } from "../../../runtime/limits.ts";
import { hasSameTypes } from "../group-crew.ts";
import { DeadLetterQueue } from "./dead-letter-queue.ts";
import { describeRabbitFault, isPassing, parseRabbitUrl, unusable } from "./rabbit-faults.ts";
import { RabbitLink } from "./rabbit-link.ts";
import { RabbitMember } from "./rabbit-member.ts";
import { RabbitNames } from "./rabbit-names.ts";
import { RabbitPublisher } from "./rabbit-publisher.ts";
import { PARTITIONS_PER_MEMBER_MAX } from "./rabbit-settings.ts";
import { inspectServer } from "./server-inspection.ts";

export const RABBIT_CAPABILITIES: BrokerCapabilities = {
  persistent: true,
  confirmIsDurable: true,
  durablePostpone: true,
  replay: false,
  serverDedup: false,
  leasesMove: true,
  sequencesLast: false,
  remoteMembers: true,
  filtersTypes: true,
  frameBytesMax: FRAME_BYTES_MAX,
};

const LIST_TIMEOUT_MS = 10_000;
/** Between two looks for a stream that is not there yet. */
const AGAIN_MS = 100;
const CONTENT_TYPE = "application/vnd.shopstream.frame";

export interface RabbitBrokerOptions {
  readonly environment: Environment;
  readonly settings: RabbitSettings;
  /** Topics that may be published to and read. */
  readonly topics: readonly string[];
  /** Partitions of each topic. */
  readonly partitions: number;
  readonly onConnection?: (state: ConnectionState) => void;
  readonly onLog?: (level: LogLevel, text: string) => void;
}

/** Rejects with `SERVER_UNUSABLE`, naming the setting, when the server cannot be used. */
export async function openRabbitBroker(options: RabbitBrokerOptions): Promise<RabbitBroker> {
  const { environment, settings, topics } = options;
  const address = parseRabbitUrl(settings.url);
  const unknown = Object.keys(settings.groups).find((topic) => !topics.includes(topic));
  if (unknown !== undefined) {
    const known = topics.join(", ");
    throw unusable(`rabbitmq.groups: no topic ${unknown}; there are ${known}`);
  }
  const names = new RabbitNames(settings);
  await inspectServer({ environment, settings, address, names, topics });
  const broker = new RabbitBroker(options, address, names);
  try {
    await broker.open();
  } catch (error) {
    await broker.close();
    throw asUnusable(error, address);
  }
  return broker;
}

export class RabbitBroker implements Broker {
  readonly capabilities = RABBIT_CAPABILITIES;
  readonly #options: RabbitBrokerOptions;
  readonly #address: RabbitAddress;
  readonly #names: RabbitNames;
  readonly #topics: ReadonlySet<string>;
  readonly #publisher: RabbitPublisher;
  readonly #deadLetters: DeadLetterQueue;
  readonly #members = new Map<RabbitMember, SubscribeOptions>();
  #reads: RabbitLink | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: RabbitBrokerOptions, address: RabbitAddress, names: RabbitNames) {
    const { environment, settings, topics, partitions } = options;
    this.#options = options;
    this.#address = address;
    this.#names = names;
    this.#topics = new Set(topics);
    this.#publisher = new RabbitPublisher({
      environment,
      settings,
      names,
      topics,
      partitions,
      name: `${settings.prefix}publisher`,
      onConnection: (state) => options.onConnection?.(state),
      onLog: (level, text) => options.onLog?.(level, text),
    });
    this.#deadLetters = new DeadLetterQueue(environment, this.#publisher, names);
  }

  async open(): Promise<void> {
    await this.#publisher.open();
  }

  publish(frames: readonly Outgoing[]): Promise<void> {
    const messages = frames.map((outgoing) => this.#messageOf(outgoing));
    if (this.#closing !== undefined) return Promise.reject(closedError());
    return this.#publisher.publish(messages);
  }

  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    const { group, topics } = options;
    for (const topic of topics) this.#checkTopic(topic);
    if (this.#closing !== undefined) throw closedError();
    this.#checkMember(options);
    const { environment, settings, partitions, onLog } = this.#options;
    const member = new RabbitMember({
      environment,
      settings,
      names: this.#names,
      partitions,
      publisher: this.#publisher,
      deadLetters: this.#deadLetters,
      subscribe: options,
      onClosed: () => void this.#members.delete(member),
      onLog: (level, text) => onLog?.(level, text),
    });
    this.#members.set(member, options);
    try {
      await this.#publisher.addGroup(group, topics);
      await member.open();
    } catch (error) {
      await member.close();
      throw asUnusable(error, this.#address);
    }
    return member;
  }

  async deadLetters(topic: string, afterId: number, limit: number): Promise<readonly DeadLetter[]> {
    this.#checkTopic(topic);
    if (this.#closing !== undefined) throw closedError();
    const link = this.#readsLink();
    const { environment } = this.#options;
    const untilMs = environment.monotonicMs() + LIST_TIMEOUT_MS;
    try {
      await link.open();
      for (;;) {
        try {
          const channel = await link.channel(link.model, () => undefined);
          return await this.#deadLetters.list(channel, topic, afterId, limit);
        } catch (error) {
          if (environment.monotonicMs() >= untilMs || !isPassing(error)) throw error;
          await new Promise<void>((resolve) => void environment.startTimer(AGAIN_MS, resolve));
        }
      }
    } catch (error) {
      if (isShopError(error)) throw error;
      const text = describeRabbitFault(error, this.#address);
      throw new ShopError("STORAGE_FAULT", text, "later", { cause: error });
    } finally {
      await link.close();
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#members.keys()].map((member) => member.close()));
    await this.#publisher.close();
    await this.#reads?.close();
  }

  /** A connection for one reading: letters are read by people, and seldom. */
  #readsLink(): RabbitLink {
    const { environment, settings, onLog } = this.#options;
    this.#reads = new RabbitLink({
      environment,
      settings,
      name: `${settings.prefix}dead letters`,
      setup: () => Promise.resolve(),
      onDown: () => undefined,
      onLog: (level, text) => onLog?.(level, text),
    });
    return this.#reads;
  }

  #messageOf({ topic, frame }: Outgoing): RabbitMessage {
    this.#checkTopic(topic);
    if (frame.byteLength > FRAME_BYTES_MAX) {
      const size = `a frame of ${frame.byteLength} bytes exceeds ${FRAME_BYTES_MAX}`;
      throw new ShopError("PAYLOAD_TOO_LARGE", size, "never");
    }
    const { partitions } = this.#options;
    const isFrame = frame.byteLength >= FRAME_HEADER_BYTES;
    // What is no frame is not for us to judge: it is stored, handed out, and buried by its group.
    const slot = isFrame ? frameSlot(frame) % partitions : 0;
    return {
      exchange: this.#names.topicExchange(topic),
      routingKey: String(slot),
      content: Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength),
      options: isFrame
        ? { contentType: CONTENT_TYPE, messageId: frameId(frame) }
        : { contentType: CONTENT_TYPE },
    };
  }

  #checkTopic(topic: string): void {
    if (this.#topics.has(topic)) return;
    const known = [...this.#topics].join(", ");
    throw new ShopError("UNKNOWN_TOPIC", `no topic ${topic}; there are ${known}`, "never");
  }

  #checkMember({ group, topics, types }: SubscribeOptions): void {
    const claims = topics.length * this.#options.partitions;
    if (claims > PARTITIONS_PER_MEMBER_MAX) {
      const text = `${group}: ${claims} partitions; a member has at most`;
      throw new ShopError("BAD_CONFIGURATION", `${text} ${PARTITIONS_PER_MEMBER_MAX}`, "never");
    }
    for (const other of this.#members.values()) {
      if (other.group !== group) continue;
      const named = other.types === undefined ? undefined : new Set(other.types);
      if (hasSameTypes(named, types)) continue;
      const text = `members of group ${group} must name the same types`;
      throw new ShopError("BAD_CONFIGURATION", text, "never");
    }
  }
}

function closedError(): ShopError {
  return new ShopError("CLOSED", "rabbitmq: the broker is closed", "never");
}

function asUnusable(error: unknown, address: RabbitAddress): ShopError {
  return isShopError(error) ? error : unusable(describeRabbitFault(error, address), error);
}
