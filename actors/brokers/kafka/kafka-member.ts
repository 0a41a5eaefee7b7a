/**
 * One member of a group on Kafka: what its subscriber asks for, done with offsets and letters.
 *
 * Sequence n of a partition is the record at offset n - 1. Credit, order and books are those of
 * `RemoteMember`; the group's side, joining and letting go, is in `group-seat.ts`. An
 * acknowledgement is settled here at once and resolves when a commit has it; one that the server
 * refuses because the member is out of the group is `stale`, and the frame comes back elsewhere.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type {
  Burial,
  Delivery,
  DeliveryRef,
  PartitionStanding,
  Postponement,
  SettleResult,
  SubscribeOptions,
  Subscription,
} from "../broker.ts";
import type { MemberPosition, RemoteRecord } from "../remote-member.ts";
import type { CommittedOffset, FetchedRecord, JoinOptions, KafkaDriver } from "./kafka-driver.ts";
import type { KafkaSettings } from "./kafka-options.ts";
import type { LetterBox } from "./letter-box.ts";

import { isShopError, ShopError } from "../../../runtime/errors.ts";
import { RemoteMember } from "../remote-member.ts";
import { receive } from "./foreign-record.ts";
import { GroupSeat } from "./group-seat.ts";
import { memoryOf } from "./member-memory.ts";
import { OffsetCommitter } from "./offset-committer.ts";
import { encodeMemory } from "./offset-metadata.ts";
import { settledWithin } from "./settled-within.ts";

/** Of the one record that is read again for a burial. */
const REREAD_BYTES_MAX = 2 * 1_048_576;
/** For what a close still has to tell the server. */
const CLOSE_COMMIT_MS = 1_500;

export interface MemberSite {
  readonly environment: Environment;
  readonly settings: KafkaSettings;
  readonly driver: KafkaDriver;
  readonly letters: Pick<LetterBox, "origins" | "put">;
  /** Partitions of every topic. */
  readonly slots: number;
  readonly numberOf: (type: string) => number | undefined;
  readonly onLog: (level: "info" | "warning", text: string) => void;
  /** An exchange with the server: undefined when it worked. */
  readonly onAttempt: (error: unknown) => void;
  /** See `JoinOptions`. */
  readonly onUnreadable: JoinOptions["onUnreadable"];
}

export class KafkaMember implements Subscription {
  readonly #site: MemberSite;
  readonly #options: SubscribeOptions;
  readonly #member: RemoteMember;
  readonly #committer: OffsetCommitter;
  readonly #seat: GroupSeat;
  /** By topic and partition: dead letters before this offset are among the settled. */
  readonly #lettersThrough = new Map<string, number>();
  /** Partitions whose lease ran out, as they stood; until they begin anew. */
  readonly #expired = new Map<string, MemberPosition>();
  #closing: Promise<void> | undefined;

  constructor(site: MemberSite, options: SubscribeOptions) {
    const { environment, settings } = site;
    this.#site = site;
    this.#options = options;
    this.#member = new RemoteMember({
      environment,
      subscribe: {
        ...options,
        onDeliveries: (deliveries) => this.#deliver(deliveries),
        onRevoked: (topic, partitions) => this.#revoked(topic, partitions),
      },
      onSettled: (topic, partition) => {
        this.#committer.changed(topic, partition);
        this.#seat.settled();
      },
      onRoom: (topic, partition) => this.#seat.resume(topic, partition),
      onLeaseExpired: (topic, partition, last) => this.#leaseExpired(topic, partition, last),
    });
    this.#committer = new OffsetCommitter({
      environment,
      intervalMs: settings.commitIntervalMs,
      snapshot: (topic, partition) => this.#snapshot(topic, partition),
      commit: (offsets) => this.#seat.commit(offsets),
      onStale: () => this.#seat.lost(),
      onAttempt: site.onAttempt,
    });
    this.#seat = new GroupSeat({
      site,
      subscribe: options,
      member: this.#member,
      committer: this.#committer,
      onBegin: (topic, partition, lettersThrough) => {
        this.#lettersThrough.set(placeOf(topic, partition), lettersThrough);
        this.#expired.delete(placeOf(topic, partition));
      },
      onRecords: (topic, partition, records) => this.#received(topic, partition, records),
      onFailure: (error) => {
        options.onFailure?.(error);
        void this.close(); // settles its own failures
      },
    });
  }

  /** Resolves with the first assignment. Rejects with `BAD_CONFIGURATION` or `CLOSED`. */
  async open(): Promise<void> {
    await this.#seat.take();
  }

  async ack(deliveries: readonly DeliveryRef[]): Promise<readonly SettleResult[]> {
    const results = this.#member.settleAll(deliveries);
    if (results.every((result) => result === "stale")) return results;
    if (this.#options.acks === "soon") return results;
    return await this.#durably(results);
  }

  async postpone(ref: DeliveryRef, postponement: Postponement): Promise<SettleResult> {
    const result = this.#member.postpone(ref, postponement);
    if (result !== "settled") return result;
    this.#committer.changed(ref.topic, ref.partition);
    const [durable] = await this.#durably([result]);
    return durable ?? "stale";
  }

  async bury(ref: DeliveryRef, burial: Burial): Promise<SettleResult> {
    const before = this.#member.probe(ref);
    if (before !== "settled") return before;
    const { environment, letters } = this.#site;
    await letters.put({
      ref: { ...ref },
      bytes: isDelivery(ref) ? ref.bytes : await this.#reread(ref),
      key: null,
      burial,
      buriedAtMs: environment.nowMs(),
    });
    // The letter is the settlement: the commit only saves the next member the finding of it.
    return this.#member.settle(ref, "dead");
  }

  standing(look: (standings: readonly PartitionStanding[]) => void): Promise<void> {
    if (this.#closing !== undefined) {
      return Promise.reject(new ShopError("CLOSED", "the subscription is closed", "never"));
    }
    look(this.#member.standing());
    return Promise.resolve();
  }

  pause(): void {
    this.#member.setPaused(true);
  }

  resume(): void {
    this.#member.setPaused(false);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { environment } = this.#site;
    for (const { topic, partition } of this.#member.assigned()) {
      this.#member.endDelivering(topic, [partition]);
      this.#committer.changed(topic, partition);
    }
    await settledWithin(environment, CLOSE_COMMIT_MS, this.#committer.flush());
    // From here on nothing of it can be settled; whoever comes next gets it.
    this.#member.close();
    this.#committer.drop();
    await this.#seat.leave();
  }

  /** The results, once a commit has them; `stale` when the group has gone on without us. */
  async #durably(results: readonly SettleResult[]): Promise<readonly SettleResult[]> {
    try {
      await this.#committer.flush();
      return results;
    } catch (error) {
      if (isShopError(error, "STALE")) return results.map(() => "stale");
      throw error;
    }
  }

  #deliver(deliveries: readonly Delivery[]): void {
    const [first] = deliveries;
    // What is handed out is told as well, or nobody would count the attempts of one that kills.
    if (first !== undefined) this.#committer.changed(first.topic, first.partition);
    this.#options.onDeliveries(deliveries);
  }

  #revoked(topic: string, partitions: readonly number[]): void {
    this.#options.onRevoked?.(topic, partitions);
  }

  #received(topic: string, partition: number, fetched: readonly FetchedRecord[]): void {
    const place = { topic, partition, partitions: this.#site.slots };
    const records = fetched.map((record): RemoteRecord => {
      const { bytes, fault } = receive(record, place, this.#site.numberOf);
      const sequence = record.offset + 1;
      return fault === undefined ? { sequence, bytes } : { sequence, bytes, fault };
    });
    this.#member.received(topic, partition, records);
    if (!this.#member.hasRoom(topic, partition)) this.#seat.pause(topic, partition);
  }

  /** What the server is to remember of a partition; local names. */
  #snapshot(topic: string, partition: number): CommittedOffset | undefined {
    const place = placeOf(topic, partition);
    const position = this.#member.position(topic, partition) ?? this.#expired.get(place);
    if (position === undefined) return undefined;
    const memory = memoryOf(position, this.#lettersThrough.get(place) ?? 0);
    const offset = position.settled.position;
    return { topic, partition, offset, metadata: encodeMemory(memory) };
  }

  /** The partition goes to another if there is one, with what was in hand one attempt older. */
  #leaseExpired(topic: string, partition: number, last: MemberPosition): void {
    this.#expired.set(placeOf(topic, partition), last);
    this.#committer.changed(topic, partition);
    this.#seat.giveAway(topic, partition);
  }

  /** The bytes of a delivery, as they were given out. */
  async #reread(ref: DeliveryRef): Promise<Uint8Array> {
    const { settings, driver, slots, numberOf } = this.#site;
    const { topic, partition, sequence } = ref;
    const name = settings.topicPrefix + topic;
    const records = await driver.read(name, partition, sequence - 1, REREAD_BYTES_MAX);
    const record = records.find(({ offset }) => offset === sequence - 1);
    if (record === undefined) {
      const message = `${topic}/${partition} has no record ${sequence} any more`;
      throw new ShopError("STORAGE_FAULT", message, "later");
    }
    return receive(record, { topic, partition, partitions: slots }, numberOf).bytes;
  }
}

function isDelivery(ref: DeliveryRef): ref is Delivery {
  return "bytes" in ref && ref.bytes instanceof Uint8Array;
}

function placeOf(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}
