/**
 * Who in a group holds which partition, what each member has in hand, and what it gets next.
 *
 * A state machine without I/O: the log is read through a function, deliveries leave through the
 * member's own callback. It keeps nothing durable and promises only
 * this: a sequence is handed out by one member at a time, in order within a partition, never past
 * the member's credit, and under a new epoch whenever the partition changes hands. Sound frames of
 * types that do not concern the group are settled without being handed out.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { DeliveryRef, PartitionStanding, Postponement, SettleResult } from "./broker.ts";
import type { Member, MemberOptions } from "./group-crew.ts";
import type { Partition } from "./group-partition.ts";
import type { LogRecord, PassedRange, ReadLog, StoredPosition } from "./log-source.ts";

import { ShopError } from "../../runtime/errors.ts";
import { addSettled } from "../stores/journal/settled-set.ts";
import { hasCredit, hasSameTypes, newMember } from "./group-crew.ts";
import {
  attemptOf,
  isSettled,
  isUntouched,
  notBeforeOf,
  newPartition,
  passBy,
  skipSettled,
  soundType,
  standingOf,
  takeBack,
  takePassed,
} from "./group-partition.ts";

/** Deliveries read from the log in one go. */
const READ_FRAMES_MAX = 256;
const READ_BYTES_MAX = 4 * 1024 * 1024;

export interface CoordinatorSetup {
  readonly environment: Environment;
  readonly group: string;
  readonly topics: readonly string[];
  readonly partitions: number;
  /** Epochs of this run are above it; a restart must begin higher than any run before. */
  readonly firstEpoch: number;
  /** Types of frames that concern the group; absent: all. */
  readonly types?: readonly number[];
  readonly stored: (topic: string, partition: number) => StoredPosition;
  readonly read: ReadLog;
}

export class GroupCoordinator {
  readonly #setup: CoordinatorSetup;
  readonly #topics = new Map<string, readonly Partition[]>();
  readonly #members: Member[] = [];
  /** Members that may have something to be given or sent. */
  readonly #touched = new Set<Member>();
  /** Those whose `passed` is to be told to the log. */
  readonly #passed = new Set<Partition>();
  readonly #types: ReadonlySet<number> | undefined;
  #epoch: number;

  constructor(setup: CoordinatorSetup) {
    this.#setup = setup;
    this.#epoch = setup.firstEpoch;
    this.#types = setup.types === undefined ? undefined : new Set(setup.types);
    for (const topic of setup.topics) {
      const indices = Array.from({ length: setup.partitions }, (_, index) => index);
      this.#topics.set(
        topic,
        indices.map((index) => newPartition(topic, index, setup.stored(topic, index))),
      );
    }
  }

  /** Throws `BAD_CONFIGURATION` when the members of the group name other types. */
  join(options: MemberOptions): Member {
    if (!hasSameTypes(this.#types, options.types)) {
      const problem = `group ${this.#setup.group} is subscribed with other types already`;
      throw new ShopError("BAD_CONFIGURATION", problem, "never");
    }
    const member = newMember(options);
    this.#members.push(member);
    this.#rebalance();
    return member;
  }

  /** The member is gone; what it had in hand is handed out again, one attempt older. */
  leave(member: Member): void {
    const index = this.#members.indexOf(member);
    if (index === -1) return;
    this.#members.splice(index, 1);
    this.#touched.delete(member);
    for (const partition of member.owned) {
      takeBack(partition);
      this.#give(partition, undefined);
    }
    this.#rebalance();
  }

  setPaused(member: Member, paused: boolean): void {
    member.paused = paused;
    this.#touched.add(member);
  }

  /** False when every type concerns the group: nobody need look at its frames. */
  get isSelective(): boolean {
    return this.#types !== undefined;
  }

  /**
   * A record was stored. Its bytes spare a read when the owner is waiting for just this one;
   * `type` is its sound type, for a caller who has found that out already.
   */
  appended(topic: string, index: number, record: LogRecord, type?: number): void {
    const partition = this.#topics.get(topic)?.[index];
    if (partition === undefined) return;
    const { sequence, bytes } = record;
    partition.tail = sequence;
    partition.isChanged = true;
    const isNext = partition.cursor === sequence - 1;
    if (this.#types !== undefined && !this.#concerns(type ?? soundType(bytes))) {
      this.#passBy(partition, sequence);
      if (isNext) partition.cursor = sequence;
      return;
    }
    partition.books.waiting++;
    const { owner } = partition;
    if (owner === undefined) return;
    if (isNext && partition.heir === undefined && hasCredit(owner)) {
      this.#handOut(partition, owner, record);
    } else {
      this.#touched.add(owner);
    }
  }

  /** `settled`: it was in hand under this epoch, and now is not. */
  settle(ref: DeliveryRef, how: "acked" | "dead" = "acked"): SettleResult {
    const partition = this.#find(ref);
    if (partition === undefined || partition.epoch !== ref.epoch) return "stale";
    const bytes = partition.inHand.take(ref.sequence);
    if (bytes === undefined) return "repeat";
    const { attempts, postponed } = partition;
    if (attempts.size > 0) attempts.delete(ref.sequence);
    if (postponed.size > 0) postponed.delete(ref.sequence);
    addSettled(partition.settled, ref.sequence);
    partition.books[how]++;
    partition.books.settled++;
    partition.isChanged = true;
    const { owner } = partition;
    if (owner !== undefined) {
      owner.framesInHand--;
      owner.bytesInHand -= bytes;
      this.#touched.add(owner);
    }
    this.#handOverIfIdle(partition);
    return "settled";
  }

  /** What `settle` would say, without doing it. */
  probe(ref: DeliveryRef): SettleResult {
    const partition = this.#find(ref);
    if (partition === undefined || partition.epoch !== ref.epoch) return "stale";
    return partition.inHand.has(ref.sequence) ? "settled" : "repeat";
  }

  /** Keeps the delivery in hand and remembers when it is due again. */
  postpone(ref: DeliveryRef, postponement: Postponement): SettleResult {
    const partition = this.#find(ref);
    if (partition === undefined || partition.epoch !== ref.epoch) return "stale";
    const leaseFromMs = this.#leaseFrom(postponement.notBeforeMs);
    if (!partition.inHand.renew(ref.sequence, leaseFromMs)) return "repeat";
    partition.attempts.set(ref.sequence, postponement.attempt);
    partition.postponed.set(ref.sequence, postponement);
    return "settled";
  }

  /** Takes partitions away from members that held a delivery past their lease. */
  expireLeases(): void {
    const nowMs = this.#setup.environment.monotonicMs();
    for (const partition of this.#partitions()) {
      const leaseMs = partition.owner?.options.leaseMs;
      if (leaseMs === undefined) continue;
      if (partition.inHand.hasLeaseBefore(nowMs - leaseMs)) this.#expire(partition);
    }
  }

  /** Hands out what credit allows, then sends each member what was gathered for it. */
  flush(): void {
    for (const member of this.#touched) {
      this.#touched.delete(member);
      this.#pumpOrKeep(member);
      if (member.outbox.length === 0) continue;
      const deliveries = member.outbox;
      member.outbox = [];
      member.options.deliver(deliveries);
    }
  }

  /** Deliveries in hand, and records no member has seen yet. */
  depth(): { readonly inHand: number; readonly waiting: number } {
    let inHand = 0;
    let waiting = 0;
    for (const partition of this.#partitions()) {
      inHand += partition.inHand.size;
      waiting += partition.books.waiting;
    }
    return { inHand, waiting };
  }

  /** How the member's partitions stand: those of which something changed since it last asked. */
  standing(member: Member): readonly PartitionStanding[] {
    const standings: PartitionStanding[] = [];
    for (const partition of member.owned) {
      if (!partition.isChanged || isUntouched(partition)) continue;
      partition.isChanged = false;
      standings.push(standingOf(partition));
    }
    return standings;
  }

  /** What was passed by since the last call, for the log to remember. */
  takePassed(): readonly PassedRange[] {
    const { group } = this.#setup;
    if (this.#passed.size === 0) return [];
    const ranges = [...this.#passed].flatMap((partition) => takePassed(group, partition));
    this.#passed.clear();
    return ranges;
  }

  /** The log did not take it: it is in the next `takePassed` again. */
  keepPassed({ topic, partition: index, first, last }: PassedRange): void {
    const partition = this.#topics.get(topic)?.[index];
    if (partition === undefined) return;
    partition.passed.push(first, last);
    this.#passed.add(partition);
  }

  *#partitions(): Generator<Partition> {
    for (const partitions of this.#topics.values()) yield* partitions;
  }

  #find(ref: DeliveryRef): Partition | undefined {
    return this.#topics.get(ref.topic)?.[ref.partition];
  }

  #eligible(partition: Partition): readonly Member[] {
    return this.#members.filter(
      ({ options }) =>
        options.topics.includes(partition.topic) &&
        (options.partitions === undefined || options.partitions.includes(partition.index)),
    );
  }

  #rebalance(): void {
    for (const partition of this.#partitions()) {
      const candidates = this.#eligible(partition);
      const wanted = candidates[partition.index % Math.max(1, candidates.length)];
      if (wanted === partition.owner) {
        partition.heir = undefined;
      } else if (partition.owner === undefined) {
        this.#give(partition, wanted);
      } else {
        partition.heir = wanted;
        this.#handOverIfIdle(partition);
      }
    }
  }

  #give(partition: Partition, member: Member | undefined): void {
    partition.owner?.owned.delete(partition);
    partition.owner = member;
    partition.heir = undefined;
    partition.epoch = ++this.#epoch;
    partition.cursor = partition.settled.position;
    partition.books.sent = 0;
    partition.books.settled = 0;
    partition.isChanged = true;
    if (member === undefined) return;
    member.owned.add(partition);
    this.#touched.add(member);
  }

  #handOverIfIdle(partition: Partition): void {
    const { heir, owner } = partition;
    if (heir === undefined || partition.inHand.size > 0) return;
    this.#give(partition, heir);
    owner?.options.revoked(partition.topic, [partition.index]);
  }

  #expire(partition: Partition): void {
    const slow = partition.owner;
    takeBack(partition);
    const others = this.#eligible(partition).filter((member) => member !== slow);
    this.#give(partition, others[partition.index % Math.max(1, others.length)] ?? slow);
    slow?.options.revoked(partition.topic, [partition.index]);
  }

  #handOut(partition: Partition, member: Member, record: LogRecord): void {
    const { sequence, bytes } = record;
    partition.cursor = sequence;
    if (isSettled(partition, sequence)) return;
    partition.books.waiting--;
    // What came after the group was opened has been looked at when it was stored.
    if (sequence <= partition.openTail && !this.#concerns(soundType(bytes))) {
      this.#passBy(partition, sequence);
      return;
    }
    partition.books.sent++;
    partition.isChanged = true;
    const notBeforeMs = notBeforeOf(partition, sequence);
    partition.inHand.add(sequence, bytes.byteLength, this.#leaseFrom(notBeforeMs));
    member.framesInHand++;
    member.bytesInHand += bytes.byteLength;
    member.outbox.push({
      group: this.#setup.group,
      topic: partition.topic,
      partition: partition.index,
      sequence,
      epoch: partition.epoch,
      bytes,
      attempt: attemptOf(partition, sequence),
      notBeforeMs,
    });
    this.#touched.add(member);
  }

  #concerns(type: number | undefined): boolean {
    return this.#types === undefined || type === undefined || this.#types.has(type);
  }

  #passBy(partition: Partition, sequence: number): void {
    passBy(partition, sequence);
    this.#passed.add(partition);
  }

  /** Leases run on the monotonic clock: a jump of the wall clock takes nothing away. */
  #leaseFrom(notBeforeMs: number): number {
    const { environment } = this.#setup;
    const waitMs = notBeforeMs === 0 ? 0 : Math.max(0, notBeforeMs - environment.nowMs());
    return environment.monotonicMs() + waitMs;
  }

  /** A read that fails leaves the member touched: nothing must wait for other traffic. */
  #pumpOrKeep(member: Member): void {
    try {
      this.#pump(member);
    } catch (error) {
      this.#touched.add(member);
      throw error;
    }
  }

  #pump(member: Member): void {
    for (const partition of member.owned) {
      while (
        partition.heir === undefined &&
        partition.cursor < partition.tail &&
        hasCredit(member)
      ) {
        skipSettled(partition);
        if (partition.cursor >= partition.tail) break;
        const records = this.#setup.read(
          partition.topic,
          partition.index,
          partition.cursor,
          Math.min(Math.max(1, member.options.creditFrames - member.framesInHand), READ_FRAMES_MAX),
          Math.min(Math.max(1, member.options.creditBytes - member.bytesInHand), READ_BYTES_MAX),
        );
        if (records.length === 0) break;
        for (const record of records) this.#handOut(partition, member, record);
      }
    }
  }
}
