/**
 * The Kafka driver on @platformatic/kafka: its connections and its protocol, not its clients.
 *
 * Its producer and consumer retry, batch and rejoin by themselves, cannot carry metadata with an
 * offset, and encode what the adapter encodes; the requests below them do exactly what they are
 * told, once. Records carry producer numbers, so the same batch again is stored once. Refuses to
 * take a reply for a success that does not name every partition.
 */

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
import type { NodeFailure } from "./platformatic-errors.ts";
import type { PartitionedRecords, ProduceAnswer } from "./platformatic-produce.ts";

import {
  createTopicsV5,
  describeConfigsV4,
  initProducerIdV4,
  listOffsetsV6,
  offsetFetchV8,
} from "@platformatic/kafka";

import { assert, ShopError } from "../../../runtime/errors.ts";
import {
  connectFailure,
  createFailure,
  isProducerLost,
  jointFailure,
  produceFailure,
  protocolNames,
  responseOf,
} from "./platformatic-errors.ts";
import { NO_SESSION } from "./fetch-session.ts";
import { fetchOnce } from "./platformatic-fetch.ts";
import { PlatformaticLink } from "./platformatic-link.ts";
import { PlatformaticMember } from "./platformatic-member.ts";
import { byPlace, confirmedBy, ProducerNumbers, produceOnce } from "./platformatic-produce.ts";
import { settledWithin } from "./settled-within.ts";

/** Of each of two steps: the refusal of a start must be out within ten seconds. */
const CONNECT_WITHIN_MS = 3_000;
const DISCONNECT_WITHIN_MS = 3_000;
const CONSUMER = -1;
const TOPIC_RESOURCE = 2;
const EARLIEST = -2n;
const LATEST = -1n;
const PRODUCER_TIMEOUT_MS = 60_000;
/** A topic that was just created has leaders within this. */
const LEADERS_WITHIN_MS = 5_000;
const POLL_MS = 50;

export interface PlatformaticOptions {
  readonly environment: Environment;
  readonly settings: KafkaSettings;
  readonly onLog: (level: "debug" | "info" | "warning", text: string) => void;
  /** Absent: to the cluster of the settings. */
  readonly link?: PlatformaticLink;
}

interface ProduceVerdict {
  readonly confirmed: ReadonlySet<string>;
  /** Absent: all is stored. */
  readonly failure: NodeFailure | undefined;
}

export class PlatformaticDriver implements KafkaDriver {
  readonly #options: PlatformaticOptions;
  readonly #link: PlatformaticLink;
  readonly #members = new Set<PlatformaticMember>();
  #numbers: Promise<ProducerNumbers> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: PlatformaticOptions) {
    this.#options = options;
    this.#link = options.link ?? new PlatformaticLink(options.settings);
  }

  async connect(): Promise<void> {
    const { environment, settings } = this.#options;
    try {
      const asking = this.#link.layouts([]).then(() => this.#link.any());
      const isInTime = await settledWithin(environment, CONNECT_WITHIN_MS, asking);
      assert(isInTime, `no answer within ${CONNECT_WITHIN_MS} ms`);
      await asking;
      // A connection alone may be to anything; an answer is Kafka's.
      const answering = this.#link.layouts(["__consumer_offsets"]);
      const isKafka = await settledWithin(environment, CONNECT_WITHIN_MS, answering);
      assert(isKafka, `no answer within ${CONNECT_WITHIN_MS} ms`);
      await answering;
    } catch (error) {
      throw connectFailure(error, settings.brokers.join(", "), settings.username);
    }
  }

  async describe(topics: readonly string[]): Promise<ReadonlyMap<string, TopicShape>> {
    this.#link.forget();
    const layouts = await this.#link.layouts(topics);
    if (layouts.size === 0) return new Map();
    const { results } = await describeConfigsV4.api.async(
      await this.#link.any(),
      [...layouts.keys()].map((resourceName) => ({
        resourceType: TOPIC_RESOURCE,
        resourceName,
        configurationKeys: ["max.message.bytes"],
      })),
      false,
      false,
    );
    const limits = new Map(
      results.map(({ resourceName, configs }) => [resourceName, configs[0]?.value ?? "none"]),
    );
    return new Map(
      [...layouts].map(([topic, { partitions }]) => {
        const messageBytesMax = Number(limits.get(topic) ?? "none");
        const limit = Number.isSafeInteger(messageBytesMax) ? { messageBytesMax } : {};
        return [topic, { partitions, ...limit }];
      }),
    );
  }

  async create(topics: readonly NewTopic[]): Promise<void> {
    if (topics.length === 0) return;
    try {
      await createTopicsV5.api.async(
        await this.#link.any(),
        topics.map(({ topic, partitions, replicationFactor, config }) => ({
          name: topic,
          numPartitions: partitions,
          replicationFactor,
          assignments: [],
          configs: Object.entries(config).map(([name, value]) => ({ name, value })),
        })),
        this.#options.settings.requestTimeoutMs,
        false,
      );
    } catch (error) {
      const names = new Set(protocolNames(error));
      if (names.size !== 1 || !names.has("TOPIC_ALREADY_EXISTS")) throw createFailure(error);
    }
    await this.#untilLed(topics.map(({ topic }) => topic));
  }

  async ends(topic: string): Promise<ReadonlyMap<number, OffsetSpan>> {
    const [first, next] = await this.#asking(
      Promise.all([this.#offsets(topic, EARLIEST), this.#offsets(topic, LATEST)]),
    );
    return new Map(
      [...first].map(([at, each]) => [at, { first: each, next: next.get(at) ?? each }]),
    );
  }

  async committed(
    group: string,
    assigned: readonly TopicPartitions[],
  ): Promise<readonly CommittedOffset[]> {
    const asked = assigned.map(({ topic, partitions }) => {
      return { name: topic, partitionIndexes: [...partitions] };
    });
    const answer = await this.#asking(
      this.#link
        .coordinator(group)
        .then((connection) =>
          offsetFetchV8.api.async(
            connection,
            [{ groupId: group, memberEpoch: -1, topics: asked }],
            false,
          ),
        ),
    );
    return answer.groups.flatMap(({ topics }) =>
      topics.flatMap(({ name, partitions }) =>
        partitions.map(({ partitionIndex, committedOffset, metadata }) => ({
          topic: name,
          partition: partitionIndex,
          offset: Number(committedOffset),
          metadata: metadata ?? "",
        })),
      ),
    );
  }

  async produce(records: readonly KafkaRecord[]): Promise<void> {
    const numbers = await this.#asking((this.#numbers ??= this.#newNumbers()));
    const byNode = await this.#asking(this.#byNode(records));
    const verdicts = await Promise.all(
      [...byNode].map(([node, ofNode]) => this.#produceTo(node, ofNode, numbers)),
    );
    const confirmed = new Set(verdicts.flatMap((verdict) => [...verdict.confirmed]));
    const failures = verdicts.flatMap(({ failure }) => failure ?? []);
    if (failures.length > 0) {
      this.#link.forget();
      if (failures.some(({ error }) => isProducerLost(error))) this.#numbers = undefined;
      throw jointFailure(failures, confirmed.size > 0);
    }
    const missing = [...byNode.values()].flatMap(placesOf).filter((each) => !confirmed.has(each));
    if (missing.length > 0) {
      const message = `kafka: no answer for ${missing.join(", ")}`;
      throw new ShopError("INDETERMINATE", message, "later");
    }
    // Only now: a batch of which a part failed is sent again under the same numbers.
    for (const ofNode of byNode.values()) numbers.advance(ofNode);
  }

  renewProducer(): Promise<void> {
    this.#numbers = undefined;
    return Promise.resolve();
  }

  async read(
    topic: string,
    partition: number,
    offset: number,
    bytesMax: number,
  ): Promise<readonly FetchedRecord[]> {
    const reading = async (): Promise<readonly FetchedRecord[]> => {
      const connection = await this.#link.node(await this.#link.leader(topic, partition));
      const ask = { ...NO_SESSION, places: [{ topic, partition, offset }] };
      const limits = { waitMs: 0, bytesMax, partitionBytesMax: bytesMax };
      const answer = await fetchOnce(connection, ask, limits, () => offset);
      const [fetched] = answer.fetched;
      if (fetched === undefined || fetched.fault !== undefined) {
        const why = fetched?.fault?.why ?? `error ${answer.errorCode}`;
        const message = `kafka: ${topic}/${partition} cannot be read: ${why}`;
        throw new ShopError("STORAGE_FAULT", message, "later");
      }
      return fetched.records;
    };
    return await this.#asking(reading());
  }

  join(options: JoinOptions): DriverMember {
    const { environment, settings } = this.#options;
    const member = new PlatformaticMember({
      environment,
      settings,
      join: options,
      link: this.#link,
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
    await settledWithin(this.#options.environment, DISCONNECT_WITHIN_MS, this.#link.close());
  }

  async #newNumbers(): Promise<ProducerNumbers> {
    try {
      const answer = await initProducerIdV4.api.async(
        await this.#link.any(),
        null,
        PRODUCER_TIMEOUT_MS,
        -1n,
        -1,
      );
      return new ProducerNumbers(Number(answer.producerId), answer.producerEpoch);
    } catch (error) {
      this.#numbers = undefined;
      throw produceFailure(error, false);
    }
  }

  async #byNode(records: readonly KafkaRecord[]): Promise<ReadonlyMap<number, PartitionedRecords>> {
    const byTopic = byPlace(records);
    const layouts = await this.#link.layouts([...byTopic.keys()]);
    const byNode = new Map<number, Map<string, Map<number, KafkaRecord[]>>>();
    for (const [topic, ofTopic] of byTopic) {
      const leaders = layouts.get(topic)?.leaders;
      for (const [partition, batch] of ofTopic) {
        const known = leaders?.[partition] ?? -1;
        const leader = known < 0 ? await this.#link.leader(topic, partition) : known;
        const ofNode = byNode.get(leader) ?? new Map<string, Map<number, KafkaRecord[]>>();
        byNode.set(leader, ofNode);
        const there = ofNode.get(topic);
        if (there === undefined) ofNode.set(topic, new Map([[partition, batch]]));
        else there.set(partition, batch);
      }
    }
    return byNode;
  }

  /** Never rejects: what one node says is judged together with the others'. */
  async #produceTo(
    node: number,
    records: PartitionedRecords,
    numbers: ProducerNumbers,
  ): Promise<ProduceVerdict> {
    const { environment, settings } = this.#options;
    let wasSent = false;
    try {
      const connection = await this.#link.node(node);
      wasSent = true;
      const answer = await produceOnce(connection, records, {
        numbers,
        timeoutMs: settings.requestTimeoutMs,
        nowMs: environment.nowMs(),
      });
      return { confirmed: confirmedBy(answer), failure: undefined };
    } catch (error) {
      // The library's own answer to this request, if there is one.
      const answer = responseOf(error) as ProduceAnswer | undefined;
      const isOnlyRepeated = protocolNames(error).every(
        (name) => name === "DUPLICATE_SEQUENCE_NUMBER",
      );
      const isStored = answer !== undefined && isOnlyRepeated;
      const failure = isStored ? undefined : { error, wasSent };
      return { confirmed: confirmedBy(answer), failure };
    }
  }

  async #offsets(topic: string, timestamp: bigint): Promise<ReadonlyMap<number, number>> {
    const layout = (await this.#link.layouts([topic])).get(topic);
    const offsets = new Map<number, number>();
    const leaders = (layout?.leaders ?? []).map((leader, partition) => ({ leader, partition }));
    for (const [leader, led] of Map.groupBy(leaders, (each) => each.leader)) {
      const partitions = led.map(({ partition }) => {
        return { partitionIndex: partition, currentLeaderEpoch: -1, timestamp };
      });
      const connection = await this.#link.node(leader);
      const answer = await listOffsetsV6.api.async(connection, CONSUMER, 0, [
        { name: topic, partitions },
      ]);
      for (const { partitionIndex, offset } of answer.topics[0]?.partitions ?? []) {
        offsets.set(partitionIndex, Number(offset));
      }
    }
    return offsets;
  }

  async #untilLed(topics: readonly string[]): Promise<void> {
    const { environment } = this.#options;
    const limitMs = environment.monotonicMs() + LEADERS_WITHIN_MS;
    for (;;) {
      this.#link.forget();
      const layouts = await this.#link.layouts(topics);
      const isLed = [...layouts.values()].every(({ leaders }) =>
        leaders.every((each) => each >= 0),
      );
      if (layouts.size === topics.length && isLed) return;
      if (environment.monotonicMs() > limitMs) return; // whoever produces finds out
      await new Promise<void>((resolve) => void environment.startTimer(POLL_MS, resolve));
    }
  }

  async #asking<Answer>(answer: Promise<Answer>): Promise<Answer> {
    try {
      return await answer;
    } catch (error) {
      this.#link.forget();
      throw produceFailure(error, false);
    }
  }
}

function placesOf(records: PartitionedRecords): readonly string[] {
  return [...records].flatMap(([topic, byPartition]) =>
    [...byPartition.keys()].map((partition) => `${topic}:${partition}`),
  );
}
