/**
 * One partition of a group, as its coordinator keeps it: what is settled, in hand, still to come.
 *
 * Its books are kept beside that, each figure where the thing happens and none worked out from the
 * others, so that `published = acked + dead + passed by + in hand + waiting` can fail when the code
 * is wrong. Refuses to hand out or to count a sequence that is settled.
 */

import type { DeliveryRef, PartitionStanding, Postponement, SettleResult } from "./broker.ts";
import type { Member } from "./group-crew.ts";
import type { PassedRange, StoredPosition } from "./log-source.ts";
import type { SettledSet } from "../stores/journal/settled-set.ts";

import { checkFrame, frameType } from "../../runtime/frames/frame.ts";
import { addSettled, hasSettled, nextUnsettled } from "../stores/journal/settled-set.ts";
import { PartitionHand } from "./partition-hand.ts";

export interface Books {
  acked: number;
  dead: number;
  /** Settled without having been handed out, because they do not concern the group. */
  passedBy: number;
  /** Stored and with no member. */
  waiting: number;
  /** Of the owner, in this epoch. */
  sent: number;
  settled: number;
}

export interface Partition {
  readonly topic: string;
  readonly index: number;
  owner: Member | undefined;
  /** Takes over once nothing is in hand; a hand-over without faults repeats nothing. */
  heir: Member | undefined;
  epoch: number;
  readonly settled: SettledSet;
  /** Last sequence handed out, or passed because it was settled. */
  cursor: number;
  tail: number;
  readonly postponed: Map<number, Postponement>;
  readonly attempts: Map<number, number>;
  readonly inHand: PartitionHand;
  /** Newest record when the group was opened, and how many up to there were unsettled. */
  readonly openTail: number;
  readonly opened: number;
  readonly books: Books;
  /** Passed by and not yet told to the log: first, last, first, last, … */
  passed: number[];
  /** Something of it changed since its owner last asked how it stands. */
  isChanged: boolean;
}

export function newPartition(topic: string, index: number, stored: StoredPosition): Partition {
  const { position, settledAbove, tail } = stored;
  const settled: SettledSet = { position, ranges: [] };
  for (const sequence of settledAbove) addSettled(settled, sequence);
  const opened = unsettledBetween(settled, settled.position, tail);
  return {
    topic,
    index,
    owner: undefined,
    heir: undefined,
    epoch: 0,
    settled,
    cursor: settled.position,
    tail,
    postponed: new Map(stored.postponed),
    attempts: new Map(),
    inHand: new PartitionHand(),
    openTail: tail,
    opened,
    books: { acked: 0, dead: 0, passedBy: 0, waiting: opened, sent: 0, settled: 0 },
    passed: [],
    isChanged: opened > 0,
  };
}

/**
 * The number of a frame's type, if it is known to be right: of bytes that are no sound frame the
 * type may be what was hit, and they concern everybody.
 */
export function soundType(bytes: Uint8Array): number | undefined {
  return checkFrame(bytes) === undefined ? frameType(bytes) : undefined;
}

/**
 * Settles what is in hand of `refs[from]` up to `refs[to - 1]`, all of this partition and epoch.
 * Adds to `results` what became of each; returns what is settled now, in that order, and its bytes.
 */
export function settleRun(
  partition: Partition,
  refs: readonly DeliveryRef[],
  from: number,
  to: number,
  results: SettleResult[],
): { readonly settled: readonly number[]; readonly bytes: number } {
  const { inHand, attempts, postponed, books } = partition;
  const settled: number[] = [];
  let bytes = 0;
  for (let at = from; at < to; at++) {
    const { sequence } = refs[at]!; // `!`: the caller's bounds
    const size = inHand.take(sequence);
    if (size === undefined) {
      results.push("repeat");
      continue;
    }
    if (attempts.size > 0) attempts.delete(sequence);
    if (postponed.size > 0) postponed.delete(sequence);
    addSettled(partition.settled, sequence);
    settled.push(sequence);
    bytes += size;
    results.push("settled");
  }
  books.settled += settled.length;
  partition.isChanged ||= settled.length > 0;
  return { settled, bytes };
}

/** Settles a sequence that nobody had in hand: it does not concern the group. */
export function passBy(partition: Partition, sequence: number): void {
  const { settled, passed } = partition;
  addSettled(settled, sequence);
  partition.books.passedBy++;
  partition.isChanged = true;
  const last = passed.length - 1;
  if (passed[last] === sequence - 1) passed[last] = sequence;
  else passed.push(sequence, sequence);
}

/** What was passed by and the log was not told of; it is not told twice. */
export function takePassed(group: string, partition: Partition): readonly PassedRange[] {
  const { topic, index, passed } = partition;
  const ranges: PassedRange[] = [];
  for (let at = 0; at < passed.length; at += 2) {
    const first = passed[at]!; // `!`: within the loop's bound
    const last = passed[at + 1]!; // `!`: ranges come in pairs
    ranges.push({ group, topic, partition: index, first, last });
  }
  partition.passed = [];
  return ranges;
}

/** Moves the cursor over what is settled already, so that it is not read in vain. */
export function skipSettled(partition: Partition): void {
  partition.cursor = nextUnsettled(partition.settled, partition.cursor + 1) - 1;
}

/** What the owner had in hand waits again, one attempt older. */
export function takeBack(partition: Partition): void {
  const { owner, inHand, books } = partition;
  books.waiting += inHand.size;
  partition.isChanged = true;
  for (const [sequence, bytes] of inHand.entries()) {
    partition.attempts.set(sequence, attemptOf(partition, sequence) + 1);
    if (owner === undefined) continue;
    owner.framesInHand--;
    owner.bytesInHand -= bytes;
  }
  inHand.clear();
  if (owner === undefined) return;
  owner.outbox = owner.outbox.filter(
    ({ topic, partition: index }) => topic !== partition.topic || index !== partition.index,
  );
}

export function attemptOf(partition: Partition, sequence: number): number {
  const { attempts, postponed } = partition;
  if (attempts.size + postponed.size === 0) return 1;
  return attempts.get(sequence) ?? postponed.get(sequence)?.attempt ?? 1;
}

/** Wall-clock time before which it is not to be handled; 0: at once. */
export function notBeforeOf({ postponed }: Partition, sequence: number): number {
  return postponed.size === 0 ? 0 : (postponed.get(sequence)?.notBeforeMs ?? 0);
}

/** Nothing was there when the group was opened, and nothing came since. */
export function isUntouched({ opened, tail, openTail }: Partition): boolean {
  return opened + tail - openTail === 0;
}

/** How it stands. `published` comes from the log's end, `unread` from the cursor. */
export function standingOf(partition: Partition): PartitionStanding {
  const { topic, index, epoch, tail, openTail, opened, inHand, cursor, settled } = partition;
  return {
    topic,
    partition: index,
    epoch,
    published: opened + tail - openTail,
    inHand: inHand.size,
    unread: unsettledBetween(settled, cursor, tail),
    ...partition.books,
  };
}

export function isSettled(partition: Partition, sequence: number): boolean {
  return hasSettled(partition.settled, sequence);
}

/** Sequences above `after`, up to `through`, that are not settled. */
function unsettledBetween(
  { position, ranges }: SettledSet,
  after: number,
  through: number,
): number {
  const from = Math.max(after, position);
  let count = Math.max(0, through - from);
  for (let at = 0; at < ranges.length; at += 2) {
    const start = Math.max(ranges[at]!, from + 1); // `!`: within the loop's bound
    const end = Math.min(ranges[at + 1]!, through); // `!`: ranges come in pairs
    count -= Math.max(0, end - start + 1);
  }
  return count;
}
