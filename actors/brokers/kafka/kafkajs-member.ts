/**
 * One membership of a group with kafkajs: its `eachBatch` consumer, decoupled from handling.
 *
 * A batch is handed over and returned from at once, so heartbeats never wait for a handler; a
 * partition without room is paused. Nothing is committed by the library itself, and nothing by us
 * while the member is between two generations (a hook of the patch tells when it joins anew).
 * Refuses to restart by itself: a crash ends the membership.
 */

import type {
  Consumer,
  ConsumerCrashEvent,
  ConsumerGroupJoinEvent,
  EachBatchPayload,
  Kafka,
} from "kafkajs";
import type { Environment } from "../../../runtime/environment.ts";
import type { CommittedOffset, DriverMember, JoinOptions } from "./kafka-driver.ts";
import type { KafkaSettings } from "./kafka-options.ts";
import type { KafkaJsSockets } from "./kafkajs-sockets.ts";

import { AssignerProtocol } from "kafkajs";

import { ShopError } from "../../../runtime/errors.ts";
import { commitFailure, memberFailure } from "./kafkajs-errors.ts";
import { fetchedOf } from "./kafkajs-record.ts";
import { settledWithin } from "./settled-within.ts";

const CLOSE_WITHIN_MS = 2_500;
const PARTITION_BYTES_MAX = 1_048_576;
/** Then the membership is over, and the adapter begins another. */
const RETRY = { retries: 6, initialRetryTime: 100, maxRetryTime: 1_000 };
const PROTOCOL_VERSION = 1;

export interface KafkaJsMemberOptions {
  readonly environment: Environment;
  readonly settings: KafkaSettings;
  /** Of this member alone. */
  readonly kafka: Kafka;
  readonly sockets: KafkaJsSockets;
  readonly join: JoinOptions;
  readonly onClosed: () => void;
}

export class KafkaJsMember implements DriverMember {
  readonly #options: KafkaJsMemberOptions;
  readonly #consumer: Consumer;
  #mustRejoin = false;
  /** Counts assignments. */
  #generation = 0;
  /** From when it begins to join until it has. */
  #joining: PromiseWithResolvers<void> | undefined;
  #leaves = true;
  #isOver = false;
  #closing: Promise<void> | undefined;

  constructor(options: KafkaJsMemberOptions) {
    this.#options = options;
    const { settings, join, kafka } = options;
    this.#consumer = kafka.consumer({
      groupId: join.group,
      sessionTimeout: settings.sessionMs,
      rebalanceTimeout: settings.rebalanceMs,
      heartbeatInterval: settings.heartbeatMs,
      maxWaitTimeInMs: settings.fetchWaitMs,
      maxBytes: settings.fetchBytesMax,
      maxBytesPerPartition: Math.min(PARTITION_BYTES_MAX, settings.fetchBytesMax),
      allowAutoTopicCreation: false,
      retry: { ...RETRY, restartOnFailure: () => Promise.resolve(false) },
      partitionAssigners: [
        ({ cluster }) => ({
          name: join.protocol,
          version: PROTOCOL_VERSION,
          protocol: ({ topics }) => ({ name: join.protocol, metadata: this.#metadata(topics) }),
          assign: ({ members, topics }) => {
            const counts = topics.map(
              (topic) => [topic, cluster.findTopicPartitionMetadata(topic).length] as const,
            );
            return Promise.resolve(this.#assign(members, new Map(counts)));
          },
        }),
      ],
    });
    this.#consumer.on("consumer.group_join", (event) => this.#joined(event));
    this.#consumer.on("consumer.crash", (event) => this.#crashed(event));
    this.#consumer.on("consumer.network.request_timeout", () => options.sockets.closeAll());
  }

  /** Cannot reject: what fails ends the membership. */
  start(): void {
    this.#run().catch((error: unknown) => this.#end(error));
  }

  begin(topic: string, partition: number, offset: number): void {
    if (this.#isOver) return;
    this.#consumer.seek({ topic, partition, offset: String(offset) });
    this.resume(topic, partition);
  }

  pause(topic: string, partition: number): void {
    if (!this.#isOver) this.#consumer.pause([{ topic, partitions: [partition] }]);
  }

  resume(topic: string, partition: number): void {
    if (!this.#isOver) this.#consumer.resume([{ topic, partitions: [partition] }]);
  }

  async commit(offsets: readonly CommittedOffset[]): Promise<void> {
    // Between two generations nothing can be committed that is under neither.
    while (this.#joining !== undefined) await this.#joining.promise;
    const generation = this.#generation;
    try {
      if (this.#isOver) throw new ShopError("STALE", "the membership is over", "never");
      await this.#consumer.commitOffsets(
        offsets.map((each) => ({ ...each, offset: String(each.offset) })),
      );
    } catch (error) {
      const isPassing = generation !== this.#generation || this.#joining !== undefined;
      throw commitFailure(error, isPassing);
    }
  }

  rejoin(): void {
    this.#mustRejoin = true;
  }

  close(leaves: boolean): Promise<void> {
    this.#closing ??= this.#close(leaves);
    return this.#closing;
  }

  async #close(leaves: boolean): Promise<void> {
    this.#isOver = true;
    this.#leaves = leaves;
    this.#endJoining();
    const { environment, onClosed } = this.#options;
    await settledWithin(environment, CLOSE_WITHIN_MS, this.#consumer.disconnect());
    onClosed();
  }

  async #run(): Promise<void> {
    const { join } = this.#options;
    await this.#consumer.connect();
    await this.#consumer.subscribe({ topics: [...join.topics], fromBeginning: true });
    await this.#consumer.run({
      autoCommit: false,
      eachBatch: (payload) => this.#take(payload),
      membership: {
        beforeJoin: (isLost) => this.#beforeJoin(isLost),
        mustRejoin: () => this.#mustRejoin,
        leavesOnStop: () => this.#leaves,
      },
    });
  }

  #take({ batch }: EachBatchPayload): Promise<void> {
    const { topic, partition, messages } = batch;
    if (!this.#isOver) this.#options.join.onRecords(topic, partition, messages.map(fetchedOf));
    return Promise.resolve();
  }

  #beforeJoin(isLost: boolean): Promise<void> {
    this.#mustRejoin = false;
    this.#joining ??= Promise.withResolvers();
    if (isLost && !this.#isOver) this.#options.join.onLost();
    return Promise.resolve();
  }

  #endJoining(): void {
    this.#joining?.resolve();
    this.#joining = undefined;
  }

  /** Nothing is fetched before the adapter says where from. */
  #joined({ payload }: ConsumerGroupJoinEvent): void {
    this.#generation++;
    this.#endJoining();
    if (this.#isOver) return;
    const assigned = Object.entries(payload.memberAssignment).map(([topic, partitions]) => ({
      topic,
      partitions,
    }));
    if (assigned.length > 0) this.#consumer.pause(assigned);
    this.#options.join.onAssigned(assigned);
  }

  #crashed({ payload }: ConsumerCrashEvent): void {
    this.#end(payload.error);
  }

  #end(error: unknown): void {
    if (this.#isOver) return;
    const { join } = this.#options;
    // The library closes what it has before it tells of a crash, but not what failed to start.
    void this.close(true); // never rejects
    join.onEnded(memberFailure(error, join.group));
  }

  #metadata(topics: readonly string[]): Buffer {
    return AssignerProtocol.MemberMetadata.encode({
      version: PROTOCOL_VERSION,
      topics: [...topics],
      userData: Buffer.from(this.#options.join.userData()),
    });
  }

  #assign(
    members: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[],
    partitions: ReadonlyMap<string, number>,
  ): { memberId: string; memberAssignment: Buffer }[] {
    const joined = members.map(({ memberId, memberMetadata }) => ({
      id: memberId,
      userData: AssignerProtocol.MemberMetadata.decode(memberMetadata)?.userData ?? Buffer.alloc(0),
    }));
    const assignment = this.#options.join.assign(joined, partitions);
    return [...assignment].map(([memberId, byTopic]) => ({
      memberId,
      memberAssignment: AssignerProtocol.MemberAssignment.encode({
        version: PROTOCOL_VERSION,
        assignment: Object.fromEntries([...byTopic].map(([topic, each]) => [topic, [...each]])),
        userData: Buffer.alloc(0),
      }),
    }));
  }
}
