/**
 * One membership of a group on the protocol of @platformatic/kafka: join, heartbeats, fetches.
 *
 * Heartbeats and commits have connections of their own, so that neither a fetch that waits for
 * records nor a join that waits for others holds them back. It joins again by itself whatever
 * happens, but for what joining cannot mend. Refuses to commit between two generations.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { CommittedOffset, DriverMember, JoinOptions } from "./kafka-driver.ts";
import type { KafkaSettings } from "./kafka-options.ts";
import type { PlatformaticLink } from "./platformatic-link.ts";

import {
  decodeConsumerProtocolAssignment,
  decodeConsumerProtocolSubscription,
  encodeConsumerProtocolAssignment,
  encodeConsumerProtocolSubscription,
  heartbeatV4,
  joinGroupV7,
  leaveGroupV4,
  offsetCommitV8,
  syncGroupV5,
} from "@platformatic/kafka";

import { ShopError } from "../../../runtime/errors.ts";
import { commitFailure, endOf, isStale, protocolNames, responseOf } from "./platformatic-errors.ts";
import { PlatformaticReader } from "./platformatic-reader.ts";
import { settledWithin } from "./settled-within.ts";

const CLOSE_WITHIN_MS = 3_000;
const PROTOCOL_TYPE = "consumer";
const PROTOCOL_VERSION = 1;
const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 1_000;

type JoinAnswer = Awaited<ReturnType<typeof joinGroupV7.api.async>>;

export interface PlatformaticMemberOptions {
  readonly environment: Environment;
  readonly settings: KafkaSettings;
  readonly join: JoinOptions;
  /** For questions about the cluster. */
  readonly link: PlatformaticLink;
  readonly onClosed: () => void;
}

export class PlatformaticMember implements DriverMember {
  readonly #options: PlatformaticMemberOptions;
  /** For heartbeats and commits. */
  readonly #control: PlatformaticLink;
  /** For what the server answers when all members are there. */
  readonly #patient: PlatformaticLink;
  readonly #reader: PlatformaticReader;
  #memberId = "";
  #generationId = -1;
  /** Counts assignments. */
  #generation = 0;
  /** While it is not a member of a generation. */
  #joining: PromiseWithResolvers<void> | undefined = Promise.withResolvers();
  #mustRejoin = false;
  #wake: () => void = () => undefined;
  #isOver = false;
  #closing: Promise<void> | undefined;

  constructor(options: PlatformaticMemberOptions) {
    const { environment, settings, join, link } = options;
    this.#options = options;
    this.#control = link.another();
    this.#patient = link.another(settings.rebalanceMs + settings.requestTimeoutMs);
    this.#reader = new PlatformaticReader({
      environment,
      settings,
      link: link.another(settings.fetchWaitMs + settings.requestTimeoutMs),
      onRecords: join.onRecords,
      onUnreadable: join.onUnreadable,
    });
  }

  /** Cannot reject: what fails ends the membership. */
  start(): void {
    void this.#run();
  }

  begin(topic: string, partition: number, offset: number): void {
    if (!this.#isOver) this.#reader.begin(topic, partition, offset);
  }

  pause(topic: string, partition: number): void {
    this.#reader.setPaused(topic, partition, true);
  }

  resume(topic: string, partition: number): void {
    this.#reader.setPaused(topic, partition, false);
  }

  async commit(offsets: readonly CommittedOffset[]): Promise<void> {
    // Between two generations nothing can be committed that is under neither.
    while (this.#joining !== undefined) await this.#joining.promise;
    const generation = this.#generation;
    try {
      if (this.#isOver) throw new ShopError("STALE", "the membership is over", "never");
      await this.#commit(offsets);
    } catch (error) {
      const isPassing = generation !== this.#generation || this.#joining !== undefined;
      this.#noteTrouble(error);
      throw commitFailure(error, isPassing);
    }
  }

  rejoin(): void {
    this.#mustRejoin = true;
    this.#wake();
  }

  close(leaves: boolean): Promise<void> {
    this.#closing ??= this.#close(leaves);
    return this.#closing;
  }

  async #close(leaves: boolean): Promise<void> {
    const { environment, onClosed } = this.#options;
    this.#isOver = true;
    this.#endJoining();
    this.#wake();
    this.#reader.stop();
    const ending = async (): Promise<void> => {
      if (leaves && this.#memberId !== "") await this.#leave();
      await Promise.all([this.#control.close(), this.#patient.close(), this.#reader.close(leaves)]);
    };
    await settledWithin(environment, CLOSE_WITHIN_MS, ending());
    onClosed();
  }

  async #leave(): Promise<void> {
    const { group } = this.#options.join;
    try {
      const connection = await this.#control.coordinator(group);
      await leaveGroupV4.api.async(connection, group, [{ memberId: this.#memberId }]);
    } catch (error) {
      // The group finds out when the session's time is over.
      this.#noteTrouble(error);
    }
  }

  async #run(): Promise<void> {
    const { join } = this.#options;
    let backoffMs = BACKOFF_MIN_MS;
    while (!this.#isOver) {
      try {
        await this.#joinOnce();
        backoffMs = BACKOFF_MIN_MS;
        await this.#stay();
      } catch (error) {
        if (this.#isOver) return;
        const end = endOf(error, join.group);
        if (end !== undefined) {
          void this.close(true); // never rejects
          join.onEnded(end);
          return;
        }
        this.#noteTrouble(error);
        await this.#pause(backoffMs);
        backoffMs = Math.min(backoffMs * 2, BACKOFF_MAX_MS);
      }
    }
  }

  async #joinOnce(): Promise<void> {
    const { join } = this.#options;
    this.#mustRejoin = false;
    this.#joining ??= Promise.withResolvers();
    this.#reader.clear();
    const connection = await this.#patient.coordinator(join.group);
    const joined = await this.#join();
    const isLeader = joined.leader === joined.memberId;
    const synced = await syncGroupV5.api.async(
      connection,
      join.group,
      joined.generationId,
      joined.memberId,
      null,
      PROTOCOL_TYPE,
      join.protocol,
      isLeader ? await this.#assignments(joined) : [],
    );
    if (this.#isOver) return;
    this.#generationId = joined.generationId;
    this.#generation++;
    this.#endJoining();
    const { assignedPartitions } = decodeConsumerProtocolAssignment(synced.assignment);
    join.onAssigned(assignedPartitions.filter(({ partitions }) => partitions.length > 0));
  }

  /** The first time the server only gives it a name. */
  async #join(): Promise<JoinAnswer> {
    const { join, settings } = this.#options;
    for (;;) {
      const connection = await this.#patient.coordinator(join.group);
      const metadata = encodeConsumerProtocolSubscription({
        version: PROTOCOL_VERSION,
        topics: [...join.topics],
        userData: Buffer.from(join.userData()),
        ownedPartitions: [],
      });
      try {
        const joined = await joinGroupV7.api.async(
          connection,
          join.group,
          settings.sessionMs,
          settings.rebalanceMs,
          this.#memberId,
          null,
          PROTOCOL_TYPE,
          [{ name: join.protocol, metadata }],
        );
        this.#memberId = joined.memberId;
        return joined;
      } catch (error) {
        if (!protocolNames(error).includes("MEMBER_ID_REQUIRED")) throw error;
        // The library's own answer to this request.
        const { memberId } = responseOf(error) as JoinAnswer;
        if (this.#isOver) throw error;
        this.#memberId = memberId;
      }
    }
  }

  async #assignments({ members }: JoinAnswer): Promise<{ memberId: string; assignment: Buffer }[]> {
    const { join } = this.#options;
    const layouts = await this.#control.layouts(join.topics);
    const missing = join.topics.find((topic) => !layouts.has(topic));
    if (missing !== undefined) {
      // Whoever is told of no partitions would have none until the next change.
      throw new ShopError("STORAGE_FAULT", `kafka: nothing is known of ${missing}`, "later");
    }
    const counts = new Map([...layouts].map(([topic, { partitions }]) => [topic, partitions]));
    const joined = members.map(({ memberId, metadata }) => ({
      id: memberId,
      userData: decodeConsumerProtocolSubscription(metadata).userData,
    }));
    return [...join.assign(joined, counts)].map(([memberId, byTopic]) => ({
      memberId,
      assignment: encodeConsumerProtocolAssignment({
        version: PROTOCOL_VERSION,
        assignedPartitions: [...byTopic].map(([topic, partitions]) => {
          return { topic, partitions: [...partitions] };
        }),
        userData: Buffer.alloc(0),
      }),
    }));
  }

  /** Heartbeats, until it has to join again: it is told so, or it wants to. */
  async #stay(): Promise<void> {
    const { join, settings } = this.#options;
    while (!this.#isOver && !this.#mustRejoin) {
      await this.#pause(settings.heartbeatMs);
      if (this.#isOver || this.#mustRejoin) return;
      const connection = await this.#control.coordinator(join.group);
      try {
        await heartbeatV4.api.async(
          connection,
          join.group,
          this.#generationId,
          this.#memberId,
          null,
        );
      } catch (error) {
        if (protocolNames(error).includes("REBALANCE_IN_PROGRESS")) return;
        throw error;
      }
    }
  }

  async #commit(offsets: readonly CommittedOffset[]): Promise<void> {
    const { group } = this.#options.join;
    const topics = [...Map.groupBy(offsets, ({ topic }) => topic)].map(([name, ofTopic]) => ({
      name,
      partitions: ofTopic.map(({ partition, offset, metadata }) => ({
        partitionIndex: partition,
        committedOffset: BigInt(offset),
        committedLeaderEpoch: -1,
        committedMetadata: metadata,
      })),
    }));
    const connection = await this.#control.coordinator(group);
    await offsetCommitV8.api.async(
      connection,
      group,
      this.#generationId,
      this.#memberId,
      null,
      topics,
    );
  }

  /** Where the coordinator is may have changed, and whether the group still knows this member. */
  #noteTrouble(error: unknown): void {
    if (this.#isOver) return;
    this.#control.forget();
    // Who was not answered must not wait for as long as a join may take to find out again.
    if (protocolNames(error).length === 0) this.#patient.renew();
    else this.#patient.forget();
    if (!isStale(error)) return;
    const wasMember = this.#memberId !== "" && this.#joining === undefined;
    if (!protocolNames(error).includes("ILLEGAL_GENERATION")) this.#memberId = "";
    if (!wasMember) return;
    this.#joining = Promise.withResolvers();
    this.#reader.clear();
    this.#options.join.onLost();
    this.rejoin();
  }

  #endJoining(): void {
    this.#joining?.resolve();
    this.#joining = undefined;
  }

  /** For so long, or until something changes. */
  #pause(durationMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.environment.startTimer(durationMs, resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}
