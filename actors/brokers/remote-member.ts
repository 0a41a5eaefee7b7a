/**
 * What a member of a group keeps of its partitions where the server does not: credit, order, books.
 *
 * Kafka, Redis and RabbitMQ know groups, each in its own way, but none knows credit in frames and
 * bytes, settling out of order, or leases per partition. An adapter tells what it was assigned and
 * what it received; this hands it out, settles it, and says when there is room for more. It does no
 * I/O and calls nobody from within a call but through `deliver`, in a later turn. It refuses to
 * settle what is not in hand under the epoch it was handed out in.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type {
  Delivery,
  DeliveryRef,
  PartitionStanding,
  Postponement,
  SettleResult,
  SubscribeOptions,
} from "./broker.ts";
import type { Member } from "./group-crew.ts";
import type { Partition } from "./group-partition.ts";
import type { Held, RemoteRecord } from "./held-partition.ts";
import type { SettledSet } from "../stores/journal/settled-set.ts";

import { hasCredit, newMember } from "./group-crew.ts";
import {
  attemptOf,
  isUntouched,
  newPartition,
  notBeforeOf,
  settleRun,
  standingOf,
} from "./group-partition.ts";
import { dropHandedOut, takeIn } from "./held-partition.ts";

/** Leases are looked at this often within one. */
const LEASE_CHECKS = 8;
/** Buffered records of one partition at which the adapter should stop fetching it. */
const BUFFER_FRAMES_MAX = 1_024;

/** What the server remembers of a partition for the group. */
export interface RemotePosition {
  /** Everything up to here is settled. */
  readonly position: number;
  readonly settledAbove: readonly number[];
  readonly postponed: ReadonlyMap<number, Postponement>;
}

/** What a member has to say about a partition, for the server to remember. */
export interface MemberPosition {
  readonly settled: Readonly<SettledSet>;
  readonly postponed: ReadonlyMap<number, Postponement>;
  /** Last sequence handed out, or passed because it was settled. */
  readonly cursor: number;
  /** Of unsettled sequences whose attempt is not the first, nor the postponed one. */
  readonly attempts: ReadonlyMap<number, number>;
}

export interface RemoteMemberOptions {
  readonly environment: Environment;
  readonly subscribe: SubscribeOptions;
  /**
   * Settled here: acknowledged, buried, or passed by because they do not concern the group. At
   * least one, of one call, in the order of the call.
   */
  readonly onSettled?: (topic: string, partition: number, sequences: readonly number[]) => void;
  /** Records of this partition can be taken again, after `hasRoom` was false. */
  readonly onRoom?: (topic: string, partition: number) => void;
  /** A delivery was held past its lease. Its partition is revoked; `last`: how it stood. */
  readonly onLeaseExpired?: (topic: string, partition: number, last: MemberPosition) => void;
}

export type { RemoteRecord } from "./held-partition.ts";

export class RemoteMember {
  readonly #options: RemoteMemberOptions;
  readonly #member: Member;
  readonly #types: ReadonlySet<number> | undefined;
  readonly #held = new Map<string, Map<number, Held>>();
  /** Of those: with records that are not handed out, the longest waiting first. */
  readonly #waiting = new Set<Held>();
  /** Whose adapter was told that there is no room. */
  readonly #full = new Set<Held>();
  #epoch = 0;
  #bufferedBytes = 0;
  #flushDeferred = false;
  #leaseTimer: Timer | undefined;
  #isClosed = false;

  constructor(options: RemoteMemberOptions) {
    const { subscribe } = options;
    this.#options = options;
    this.#types = subscribe.types === undefined ? undefined : new Set(subscribe.types);
    this.#member = newMember({
      topics: subscribe.topics,
      creditFrames: subscribe.creditFrames,
      creditBytes: subscribe.creditBytes,
      leaseMs: subscribe.leaseMs,
      deliver: () => undefined,
      revoked: () => undefined,
    });
    this.#watchLeases();
  }

  /** Partitions that are held, by topic. */
  assigned(): readonly { readonly topic: string; readonly partition: number }[] {
    return [...this.#held].flatMap(([topic, partitions]) =>
      [...partitions.keys()].map((partition) => ({ topic, partition })),
    );
  }

  isAssigned(topic: string, partition: number): boolean {
    return this.#find(topic, partition) !== undefined;
  }

  /**
   * Takes a partition on, under a new epoch. One that is held is revoked first. `epoch` is the
   * server's own count of owners, where it keeps one: then those of two members differ as well.
   */
  assign(topic: string, index: number, stored: RemotePosition, epoch?: number): void {
    if (this.#isClosed) return;
    if (this.isAssigned(topic, index)) this.revoke(topic, [index]);
    const partition = newPartition(topic, index, { ...stored, tail: stored.position });
    partition.epoch = epoch ?? ++this.#epoch;
    partition.owner = this.#member;
    this.#member.owned.add(partition);
    const partitions = this.#held.get(topic) ?? new Map<number, Held>();
    this.#held.set(topic, partitions);
    partitions.set(index, { partition, buffer: [], head: 0, isEnding: false });
  }

  /** Nothing more of them is handed out; what is in hand may be settled until they are revoked. */
  endDelivering(topic: string, partitions: readonly number[]): void {
    for (const partition of partitions) {
      const held = this.#find(topic, partition);
      if (held !== undefined) held.isEnding = true;
    }
  }

  /** Forgets partitions with all that is in hand of them, and tells the subscriber. */
  revoke(topic: string, partitions: readonly number[]): void {
    const lost = partitions.filter((partition) => this.#forget(topic, partition));
    if (lost.length === 0) return;
    this.#options.subscribe.onRevoked?.(topic, lost);
    this.#touch();
  }

  /** Records of one partition in ascending order; of a partition not held they are dropped. */
  received(topic: string, index: number, records: readonly RemoteRecord[]): void {
    const held = this.#find(topic, index);
    if (held === undefined) return;
    const { bytes, passed } = takeIn(held, records, this.#types);
    this.#bufferedBytes += bytes;
    if (held.head < held.buffer.length) this.#waiting.add(held);
    if (passed.length > 0) this.#options.onSettled?.(topic, index, passed);
    this.#touch();
  }

  /** False: what is received already should be handed out before more is fetched. */
  hasRoom(topic: string, index: number): boolean {
    const held = this.#find(topic, index);
    if (held === undefined) return false;
    const hasRoom = this.#hasRoom(held);
    if (hasRoom) this.#full.delete(held);
    else this.#full.add(held);
    return hasRoom;
  }

  /** Deliveries in hand of one partition. */
  inHand(topic: string, index: number): number {
    return this.#find(topic, index)?.partition.inHand.size ?? 0;
  }

  settle(ref: DeliveryRef, how: "acked" | "dead" = "acked"): SettleResult {
    return this.settleAll([ref], how)[0] ?? "stale";
  }

  /** Settles many, and says of each what became of it. What is of one partition goes together. */
  settleAll(refs: readonly DeliveryRef[], how: "acked" | "dead" = "acked"): SettleResult[] {
    const results: SettleResult[] = [];
    for (let from = 0; from < refs.length;) {
      const { topic, partition: index, epoch } = refs[from]!; // `!`: the loop's bound
      let to = from + 1;
      while (to < refs.length && isOf(refs[to]!, topic, index, epoch)) to++; // `!`: likewise
      const partition = this.#find(topic, index)?.partition;
      if (partition?.epoch === epoch) this.#settleRun(partition, refs, from, to, how, results);
      else while (results.length < to) results.push("stale");
      from = to;
    }
    return results;
  }

  /** What `settle` would say, without doing it. */
  probe(ref: DeliveryRef): SettleResult {
    const partition = this.#find(ref.topic, ref.partition)?.partition;
    if (partition === undefined || partition.epoch !== ref.epoch) return "stale";
    return partition.inHand.has(ref.sequence) ? "settled" : "repeat";
  }

  /** The delivery stays in hand, with its lease from when it is due. */
  postpone(ref: DeliveryRef, postponement: Postponement): SettleResult {
    const result = this.probe(ref);
    const partition = this.#find(ref.topic, ref.partition)?.partition;
    if (result !== "settled" || partition === undefined) return result;
    const leaseFromMs =
      this.#options.environment.monotonicMs() + this.#waitMs(postponement.notBeforeMs);
    partition.inHand.renew(ref.sequence, leaseFromMs);
    partition.attempts.set(ref.sequence, postponement.attempt);
    partition.postponed.set(ref.sequence, postponement);
    return "settled";
  }

  /** `undefined` when the partition is not held. */
  position(topic: string, index: number): MemberPosition | undefined {
    return this.#find(topic, index)?.partition;
  }

  /** How the partitions stand of which something changed since the last call. */
  standing(): readonly PartitionStanding[] {
    this.#flush();
    const standings: PartitionStanding[] = [];
    for (const partition of this.#member.owned) {
      if (!partition.isChanged || isUntouched(partition)) continue;
      partition.isChanged = false;
      standings.push(standingOf(partition));
    }
    return standings;
  }

  setPaused(paused: boolean): void {
    this.#member.paused = paused;
    this.#touch();
  }

  /** Drops everything, tells nobody. Idempotent. */
  close(): void {
    this.#isClosed = true;
    this.#leaseTimer?.cancel();
    for (const { topic, partition } of this.assigned()) this.#forget(topic, partition);
  }

  #find(topic: string, index: number): Held | undefined {
    return this.#held.get(topic)?.get(index);
  }

  #forget(topic: string, index: number): boolean {
    const held = this.#find(topic, index);
    if (held === undefined) return false;
    this.#held.get(topic)?.delete(index);
    this.#waiting.delete(held);
    this.#full.delete(held);
    const { partition, buffer, head } = held;
    this.#member.owned.delete(partition);
    for (const [, bytes] of partition.inHand.entries()) {
      this.#member.framesInHand--;
      this.#member.bytesInHand -= bytes;
    }
    for (let at = head; at < buffer.length; at++) {
      this.#bufferedBytes -= buffer[at]!.bytes.byteLength; // `!`: within the loop's bound
    }
    return true;
  }

  #settleRun(
    partition: Partition,
    refs: readonly DeliveryRef[],
    from: number,
    to: number,
    how: "acked" | "dead",
    results: SettleResult[],
  ): void {
    const { settled, bytes } = settleRun(partition, refs, from, to, results);
    if (settled.length === 0) return;
    partition.books[how] += settled.length;
    this.#member.framesInHand -= settled.length;
    this.#member.bytesInHand -= bytes;
    this.#options.onSettled?.(partition.topic, partition.index, settled);
    this.#touch();
  }

  #hasRoom({ buffer, head }: Held): boolean {
    const { creditBytes } = this.#member.options;
    return buffer.length - head < BUFFER_FRAMES_MAX && this.#bufferedBytes < creditBytes;
  }

  #touch(): void {
    if (this.#flushDeferred || this.#isClosed) return;
    this.#flushDeferred = true;
    this.#options.environment.defer(() => {
      this.#flushDeferred = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#isClosed) return;
    // With hundreds of partitions, nearly all have nothing to hand out.
    for (const held of this.#waiting) this.#handOut(held);
    // Bytes are counted together: what was handed out of one partition makes room for another.
    for (const held of this.#full) {
      if (held.isEnding || !this.#hasRoom(held)) continue;
      this.#full.delete(held);
      this.#options.onRoom?.(held.partition.topic, held.partition.index);
    }
  }

  #handOut(held: Held): void {
    const { partition, buffer, isEnding } = held;
    if (isEnding) return;
    const batch: Delivery[] = [];
    // Of all of them: a clock is asked for many times what handing one out costs.
    const handedOutMs = this.#options.environment.monotonicMs();
    while (held.head < buffer.length && hasCredit(this.#member)) {
      const record = buffer[held.head++]!; // `!`: the loop's bound
      batch.push(this.#deliveryOf(partition, record, handedOutMs));
    }
    if (batch.length === 0) return;
    partition.books.waiting -= batch.length;
    partition.books.sent += batch.length;
    partition.isChanged = true;
    if (held.head === buffer.length) this.#waiting.delete(held);
    dropHandedOut(held);
    this.#options.subscribe.onDeliveries(batch);
  }

  #deliveryOf(partition: Partition, record: RemoteRecord, handedOutMs: number): Delivery {
    const { sequence, bytes, fault } = record;
    const notBeforeMs = record.notBeforeMs ?? notBeforeOf(partition, sequence);
    const size = bytes.byteLength;
    partition.cursor = sequence;
    partition.inHand.add(sequence, size, handedOutMs + this.#waitMs(notBeforeMs));
    this.#member.framesInHand++;
    this.#member.bytesInHand += size;
    this.#bufferedBytes -= size;
    const delivery: Delivery = {
      group: this.#options.subscribe.group,
      topic: partition.topic,
      partition: partition.index,
      sequence,
      epoch: partition.epoch,
      bytes,
      attempt: attemptOf(partition, sequence),
      notBeforeMs,
    };
    return fault === undefined ? delivery : { ...delivery, fault };
  }

  /** Leases run on the monotonic clock: a jump of the wall clock takes nothing away. */
  #waitMs(notBeforeMs: number): number {
    if (notBeforeMs === 0) return 0;
    return Math.max(0, notBeforeMs - this.#options.environment.nowMs());
  }

  #watchLeases(): void {
    const { environment, subscribe } = this.#options;
    const { leaseMs } = subscribe;
    this.#leaseTimer = environment.startTimer(leaseMs / LEASE_CHECKS, () => {
      const limitMs = environment.monotonicMs() - leaseMs;
      for (const { topic, partition } of this.assigned()) {
        const held = this.#find(topic, partition);
        if (held?.partition.inHand.hasLeaseBefore(limitMs) !== true) continue;
        this.revoke(topic, [partition]);
        this.#options.onLeaseExpired?.(topic, partition, held.partition);
      }
      if (!this.#isClosed) this.#watchLeases();
    });
  }
}

function isOf(ref: DeliveryRef, topic: string, partition: number, epoch: number): boolean {
  return ref.partition === partition && ref.epoch === epoch && ref.topic === topic;
}
