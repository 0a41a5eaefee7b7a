/**
 * Who in a group holds which partition, what each member has in hand, and what it gets next.
 *
 * A state machine without I/O: the log is read through a function, deliveries leave through the
 * member's own callback. It keeps nothing durable and promises only
 * this: a sequence is handed out by one member at a time, in order within a partition, never past
 * the member's credit, and under a new epoch whenever the partition changes hands.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Delivery, DeliveryRef, Postponement, SettleResult } from "./broker.ts";
import type { LogRecord, ReadLog, StoredPosition } from "./log-source.ts";

/** Deliveries read from the log in one go. */
const READ_FRAMES_MAX = 256;
const READ_BYTES_MAX = 4 * 1024 * 1024;

export interface MemberOptions {
  readonly topics: readonly string[];
  readonly partitions?: readonly number[];
  readonly creditFrames: number;
  readonly creditBytes: number;
  readonly leaseMs: number;
  readonly deliver: (deliveries: readonly Delivery[]) => void;
  readonly revoked: (topic: string, partitions: readonly number[]) => void;
}

interface InHand {
  readonly bytes: number;
  leaseFromMs: number;
}

interface Partition {
  readonly topic: string;
  readonly index: number;
  owner: Member | undefined;
  /** Takes over once nothing is in hand; a hand-over without faults repeats nothing. */
  heir: Member | undefined;
  epoch: number;
  /** Lowest sequence that may still be unsettled, minus one. */
  position: number;
  /** Last sequence handed out, or passed because it was settled. */
  cursor: number;
  tail: number;
  readonly settledAbove: Set<number>;
  readonly postponed: Map<number, Postponement>;
  readonly attempts: Map<number, number>;
  readonly inHand: Map<number, InHand>;
}

export interface Member {
  readonly options: MemberOptions;
  readonly owned: Set<Partition>;
  framesInHand: number;
  bytesInHand: number;
  paused: boolean;
  outbox: Delivery[];
}

export interface CoordinatorSetup {
  readonly environment: Environment;
  readonly group: string;
  readonly topics: readonly string[];
  readonly partitions: number;
  /** Epochs of this run are above it; a restart must begin higher than any run before. */
  readonly firstEpoch: number;
  readonly stored: (topic: string, partition: number) => StoredPosition;
  readonly read: ReadLog;
}

export class GroupCoordinator {
  readonly #setup: CoordinatorSetup;
  readonly #topics = new Map<string, readonly Partition[]>();
  readonly #members: Member[] = [];
  /** Members that may have something to be given or sent. */
  readonly #touched = new Set<Member>();
  #epoch: number;

  constructor(setup: CoordinatorSetup) {
    this.#setup = setup;
    this.#epoch = setup.firstEpoch;
    for (const topic of setup.topics) {
      const indices = Array.from({ length: setup.partitions }, (_, index) => index);
      this.#topics.set(
        topic,
        indices.map((index) => newPartition(topic, index, setup.stored(topic, index))),
      );
    }
  }

  join(options: MemberOptions): Member {
    const member: Member = {
      options,
      owned: new Set(),
      framesInHand: 0,
      bytesInHand: 0,
      paused: false,
      outbox: [],
    };
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

  /** A record was stored. Its bytes spare a read when the owner is waiting for just this one. */
  appended(topic: string, index: number, record: LogRecord): void {
    const partition = this.#topics.get(topic)?.[index];
    if (partition === undefined) return;
    partition.tail = record.sequence;
    const { owner } = partition;
    if (owner === undefined) return;
    const isNext = partition.cursor === record.sequence - 1;
    if (isNext && partition.heir === undefined && hasCredit(owner)) {
      this.#handOut(partition, owner, record);
    } else {
      this.#touched.add(owner);
    }
  }

  /** `settled`: it was in hand under this epoch, and now is not. */
  settle(ref: DeliveryRef): SettleResult {
    const partition = this.#find(ref);
    if (partition === undefined || partition.epoch !== ref.epoch) return "stale";
    const held = partition.inHand.get(ref.sequence);
    if (held === undefined) return "repeat";
    partition.inHand.delete(ref.sequence);
    partition.attempts.delete(ref.sequence);
    partition.postponed.delete(ref.sequence);
    advance(partition, ref.sequence);
    const { owner } = partition;
    if (owner !== undefined) {
      owner.framesInHand--;
      owner.bytesInHand -= held.bytes;
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
    const held = partition.inHand.get(ref.sequence);
    if (held === undefined) return "repeat";
    held.leaseFromMs = this.#leaseFrom(postponement.notBeforeMs);
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
      for (const held of partition.inHand.values()) {
        if (nowMs - held.leaseFromMs <= leaseMs) continue;
        this.#expire(partition);
        break;
      }
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
      waiting += partition.tail - partition.cursor;
    }
    return { inHand, waiting };
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
    partition.cursor = partition.position;
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
    if (sequence <= partition.position || partition.settledAbove.has(sequence)) return;
    const notBeforeMs = partition.postponed.get(sequence)?.notBeforeMs ?? 0;
    partition.inHand.set(sequence, {
      bytes: bytes.byteLength,
      leaseFromMs: this.#leaseFrom(notBeforeMs),
    });
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

function newPartition(topic: string, index: number, stored: StoredPosition): Partition {
  return {
    topic,
    index,
    owner: undefined,
    heir: undefined,
    epoch: 0,
    position: stored.position,
    cursor: stored.position,
    tail: stored.tail,
    settledAbove: new Set(stored.settledAbove),
    postponed: new Map(stored.postponed),
    attempts: new Map(),
    inHand: new Map(),
  };
}

function takeBack(partition: Partition): void {
  const { owner } = partition;
  for (const [sequence, held] of partition.inHand) {
    partition.attempts.set(sequence, attemptOf(partition, sequence) + 1);
    if (owner === undefined) continue;
    owner.framesInHand--;
    owner.bytesInHand -= held.bytes;
  }
  partition.inHand.clear();
  if (owner === undefined) return;
  owner.outbox = owner.outbox.filter(
    ({ topic, partition: index }) => topic !== partition.topic || index !== partition.index,
  );
}

function hasCredit(member: Member): boolean {
  if (member.paused) return false;
  const { creditFrames, creditBytes } = member.options;
  if (member.framesInHand === 0) return true;
  return member.framesInHand < creditFrames && member.bytesInHand < creditBytes;
}

function attemptOf(partition: Partition, sequence: number): number {
  return partition.attempts.get(sequence) ?? partition.postponed.get(sequence)?.attempt ?? 1;
}

/** Moves the position over every sequence that is settled without a gap. */
function advance(partition: Partition, settled: number): void {
  if (settled !== partition.position + 1) {
    partition.settledAbove.add(settled);
    return;
  }
  partition.position = settled;
  while (partition.settledAbove.delete(partition.position + 1)) partition.position++;
}
