/**
 * The Kafka driver on kafkajs 2.2.4, as patched in `patches/`.
 *
 * The library is told to try once and to leave trying again to the adapter, which knows what must
 * not be sent twice. Its producer numbers records, so the same batch again is stored once; that
 * holds only until another batch takes the numbers, hence `renewProducer`. Refuses to take a reply
 * for a success that does not name every partition: kafkajs passes by what moved to a broker that
 * had answered already.
 */

import type { Admin, KafkaConfig, Message, Producer, SASLOptions } from "kafkajs";
import type { Environment } from "../../../runtime/environment.ts";
import type {
  CommittedOffset,
  DriverMember,
  FetchedRecord,
  JoinOptions,
  KafkaDriver,
  KafkaRecord,
  NewTopic,
  OffsetSpan,
  TopicPartitions,
  TopicShape,
} from "./kafka-driver.ts";
import type { KafkaSettings } from "./kafka-options.ts";

import { ConfigResourceTypes, Kafka, logLevel } from "kafkajs";

import { assert, ShopError } from "../../../runtime/errors.ts";
import { connectFailure, createFailure, produceFailure } from "./kafkajs-errors.ts";
import { KafkaJsMember } from "./kafkajs-member.ts";
import { KafkaJsSockets } from "./kafkajs-sockets.ts";
import { fetchedOf, messageOf } from "./kafkajs-record.ts";
import { settledWithin } from "./settled-within.ts";

/** With all else that a start takes, the refusal must be out within ten seconds. */
const CONNECT_WITHIN_MS = 6_000;
const DISCONNECT_WITHIN_MS = 1_500;
const ALL_REPLICAS = -1;
const RETRY = { initialRetryTime: 100, maxRetryTime: 1_000 };
const ADMIN_RETRIES_MAX = 3;
const CONNECT_RETRIES_MAX = 1;

export interface KafkaJsOptions {
  readonly environment: Environment;
  readonly settings: KafkaSettings;
  readonly onLog: (level: "debug" | "info" | "warning", text: string) => void;
}

export class KafkaJsDriver implements KafkaDriver {
  readonly #options: KafkaJsOptions;
  readonly #kafka: Kafka;
  readonly #admin: Admin;
  #producer: Producer;
  #isProducerNew = true;
  readonly #members = new Set<KafkaJsMember>();
  #closing: Promise<void> | undefined;

  constructor(options: KafkaJsOptions) {
    this.#options = options;
    this.#kafka = new Kafka(configOf(options));
    const sockets = new KafkaJsSockets();
    this.#admin = this.#kafkaOn(sockets).admin({ retry: { ...RETRY, retries: ADMIN_RETRIES_MAX } });
    this.#admin.on("admin.network.request_timeout", () => sockets.closeAll());
    this.#producer = this.#newProducer();
  }

  async connect(): Promise<void> {
    const { environment, settings } = this.#options;
    const addresses = settings.brokers.join(", ");
    try {
      const asking = this.#admin.connect().then(() => this.#admin.describeCluster());
      const isInTime = await settledWithin(environment, CONNECT_WITHIN_MS, asking);
      assert(isInTime, `no answer within ${CONNECT_WITHIN_MS} ms`);
      await asking;
    } catch (error) {
      throw connectFailure(error, addresses, settings.username);
    }
  }

  async describe(topics: readonly string[]): Promise<ReadonlyMap<string, TopicShape>> {
    const known = new Set(await this.#asking(this.#admin.listTopics()));
    const there = topics.filter((topic) => known.has(topic));
    if (there.length === 0) return new Map();
    const resources = there.map((name) => {
      return { type: ConfigResourceTypes.TOPIC, name, configNames: ["max.message.bytes"] };
    });
    const [metadata, configs] = await this.#asking(
      Promise.all([
        this.#admin.fetchTopicMetadata({ topics: there }),
        this.#admin.describeConfigs({ includeSynonyms: false, resources }),
      ]),
    );
    const limits = new Map(
      configs.resources.map((each) => [each.resourceName, each.configEntries[0]?.configValue]),
    );
    return new Map(
      metadata.topics.map(({ name, partitions }) => [
        name,
        { partitions: partitions.length, ...limitOf(limits.get(name)) },
      ]),
    );
  }

  async create(topics: readonly NewTopic[]): Promise<void> {
    if (topics.length === 0) return;
    try {
      await this.#admin.createTopics({
        waitForLeaders: false,
        timeout: this.#options.settings.requestTimeoutMs,
        topics: topics.map(({ topic, partitions, replicationFactor, config }) => ({
          topic,
          numPartitions: partitions,
          replicationFactor,
          configEntries: Object.entries(config).map(([name, value]) => ({ name, value })),
        })),
      });
    } catch (error) {
      throw createFailure(error);
    }
  }

  async ends(topic: string): Promise<ReadonlyMap<number, OffsetSpan>> {
    const offsets = await this.#asking(this.#admin.fetchTopicOffsets(topic));
    return new Map(
      offsets.map(({ partition, low, high }) => [
        partition,
        { first: Number(low), next: Number(high) },
      ]),
    );
  }

  async committed(
    group: string,
    assigned: readonly TopicPartitions[],
  ): Promise<readonly CommittedOffset[]> {
    const topics = assigned.map(({ topic }) => topic);
    const answer = await this.#asking(this.#admin.fetchOffsets({ groupId: group, topics }));
    return answer.flatMap(({ topic, partitions }) =>
      partitions.map(({ partition, offset, metadata }) => ({
        topic,
        partition,
        offset: Number(offset),
        metadata: metadata ?? "",
      })),
    );
  }

  async produce(records: readonly KafkaRecord[]): Promise<void> {
    const messages = new Map<string, Message[]>();
    const places = new Set<string>();
    for (const record of records) {
      const ofTopic = messages.get(record.topic) ?? [];
      if (ofTopic.length === 0) messages.set(record.topic, ofTopic);
      ofTopic.push(messageOf(record));
      places.add(`${record.topic}/${record.partition}`);
    }
    try {
      if (this.#isProducerNew) await this.#producer.connect();
      this.#isProducerNew = false;
      const answer = await this.#producer.sendBatch({
        acks: ALL_REPLICAS,
        timeout: this.#options.settings.requestTimeoutMs,
        topicMessages: [...messages].map(([topic, each]) => ({ topic, messages: each })),
      });
      for (const { topicName, partition } of answer) places.delete(`${topicName}/${partition}`);
    } catch (error) {
      throw produceFailure(error);
    }
    if (places.size === 0) return;
    const missing = [...places].join(", ");
    throw new ShopError("INDETERMINATE", `kafka: no answer for ${missing}`, "later");
  }

  async renewProducer(): Promise<void> {
    const old = this.#producer;
    this.#producer = this.#newProducer();
    this.#isProducerNew = true;
    const { environment } = this.#options;
    await settledWithin(environment, DISCONNECT_WITHIN_MS, old.disconnect());
  }

  async read(
    topic: string,
    partition: number,
    offset: number,
    bytesMax: number,
  ): Promise<readonly FetchedRecord[]> {
    const messages = await this.#asking(
      this.#admin.fetchRecords({ topic, partition, offset: String(offset), maxBytes: bytesMax }),
    );
    return messages.map(fetchedOf);
  }

  join(options: JoinOptions): DriverMember {
    const { environment, settings } = this.#options;
    const sockets = new KafkaJsSockets();
    const member = new KafkaJsMember({
      environment,
      settings,
      kafka: this.#kafkaOn(sockets),
      sockets,
      join: options,
      onClosed: () => this.#members.delete(member),
    });
    this.#members.add(member);
    member.start();
    return member;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#members].map((member) => member.close(true)));
    const ending = Promise.allSettled([this.#producer.disconnect(), this.#admin.disconnect()]);
    await settledWithin(this.#options.environment, DISCONNECT_WITHIN_MS, ending);
  }

  async #asking<Answer>(answer: Promise<Answer>): Promise<Answer> {
    try {
      return await answer;
    } catch (error) {
      throw produceFailure(error);
    }
  }

  #kafkaOn(sockets: KafkaJsSockets): Kafka {
    return new Kafka({ ...configOf(this.#options), socketFactory: sockets.connect });
  }

  #newProducer(): Producer {
    return this.#kafka.producer({
      idempotent: true,
      allowAutoTopicCreation: false,
      retry: { ...RETRY, retries: 0 },
      createPartitioner:
        () =>
        ({ message }) =>
          message.partition ?? 0,
    });
  }
}

function limitOf(value: string | undefined): { readonly messageBytesMax?: number } {
  const messageBytesMax = Number(value ?? "none");
  return Number.isSafeInteger(messageBytesMax) ? { messageBytesMax } : {};
}

function configOf({ settings, onLog }: KafkaJsOptions): KafkaConfig {
  const sasl = saslOf(settings);
  return {
    brokers: [...settings.brokers],
    clientId: settings.clientId,
    ssl: settings.tls,
    ...(sasl === undefined ? {} : { sasl }),
    connectionTimeout: settings.connectTimeoutMs,
    authenticationTimeout: settings.connectTimeoutMs,
    requestTimeout: settings.requestTimeoutMs,
    enforceRequestTimeout: true,
    // Of connecting; who wanted to connect tries again.
    retry: { ...RETRY, retries: CONNECT_RETRIES_MAX },
    logLevel: logLevel.WARN,
    // Trouble that lasts shows in the state of the connection; the library's words explain it.
    logCreator:
      () =>
      ({ namespace, log }) =>
        onLog("debug", `kafkajs ${namespace}: ${log.message}`),
  };
}

function saslOf({ saslMechanism, username, password }: KafkaSettings): SASLOptions | undefined {
  switch (saslMechanism) {
    case "none":
      return undefined;
    case "plain":
      return { mechanism: "plain", username, password };
    case "scram-sha-256":
      return { mechanism: "scram-sha-256", username, password };
    case "scram-sha-512":
      return { mechanism: "scram-sha-512", username, password };
  }
}
