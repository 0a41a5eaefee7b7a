/**
 * A delivery while the consumer holds it, and the counters of its partition.
 *
 * The counters only grow, and what is in hand is counted apart from them, so that
 * `received = acked + buried + returned + in hand` is a check and not a definition.
 */

import type { Timer } from "../../runtime/environment.ts";
import type { Frame } from "../../runtime/frames/frame-header.ts";
import type { Delivery } from "../brokers/broker.ts";

import { describeError } from "../../runtime/errors.ts";
import { FRAME_HEADER_BYTES } from "../../runtime/frames/frame-header.ts";
import { checkFrame, frameType } from "../../runtime/frames/frame.ts";
import { lazyFrame } from "../../runtime/frames/lazy-frame.ts";

/**
 * `parked`: behind another frame of its key. `ready`: next of its key. `waiting`: for its retry.
 * `running`: with the handler. `settling`: its settlement is under way. `done`: out of hand.
 */
export type ItemState = "parked" | "ready" | "waiting" | "running" | "settling" | "done";

export const IGNORED = Symbol("a frame of no concern to the handler");

export interface Item {
  readonly delivery: Delivery;
  /** What it queues under: its key, or itself when it is not a frame. */
  readonly lane: string;
  /** Or why the bytes are not a frame, or that it is a frame of no concern. */
  readonly content: Frame | string | typeof IGNORED;
  readonly tally: Tally;
  /** The attempt that is under way or comes next. */
  attempt: number;
  /** Wall-clock time before which it is not to be handled; 0: at once. */
  notBeforeMs: number;
  /** Monotonic time from which its lease runs, as far as the consumer knows. */
  leaseFromMs: number;
  /** Failures of the handler since it came into hand. */
  failures: number;
  settleFailures: number;
  /** Calls of the handler that were given up, and how many had come back by the first of them. */
  hangs: number;
  returnedAtHang: number;
  firstError: string | undefined;
  state: ItemState;
  /** False once the partition is lost or the consumer closed: settling it would be stale. */
  owned: boolean;
  /** To be handled in a batch of its own, because a batch with others failed as a whole. */
  alone: boolean;
  timer: Timer | undefined;
}

/** With the handler, or its settlement under way. */
export function isUnderWay({ state }: Pick<Item, "state">): boolean {
  return state === "running" || state === "settling";
}

/** Under way, and not between two tries to settle it. */
export function isAtWork(item: Pick<Item, "state" | "timer">): boolean {
  return isUnderWay(item) && item.timer === undefined;
}

export function isItemOf(topic: string, partitions: readonly number[]): (item: Item) => boolean {
  const some = new Set(partitions);
  return ({ delivery }) => delivery.topic === topic && some.has(delivery.partition);
}

/** Counters of one partition since the consumer started. */
export interface Tally {
  readonly topic: string;
  readonly partition: number;
  /** Deliveries taken in; a redelivery counts again. */
  received: number;
  acked: number;
  buried: number;
  /** Given back unsettled: partition lost, consumer closed, or settled under an old epoch. */
  returned: number;
  /** Of those received: put back on their topic after they had been given up on. */
  redriven: number;
  /** Of the last delivery; 0: none since the partition was last taken away. */
  epoch: number;
  /** Deliveries taken in and settled in that epoch. */
  epochReceived: number;
  epochSettled: number;
}

export interface PartitionStats extends Readonly<Tally> {
  /** With the handler, or being settled. */
  readonly inFlight: number;
  /** In hand otherwise: behind their key, ready, or waiting for their retry. */
  readonly parked: number;
  /** Of these: may be settled without our knowing yet, being at work or having failed once. */
  readonly doubtful: number;
}

export interface Tallies {
  /** Counts a delivery in. */
  arrived(delivery: Delivery, isRedriven: boolean): Tally;
  /** What comes of the partition from now on comes under another epoch. */
  revoked(topic: string, partition: number): void;
  /** In order of first delivery. */
  snapshot(inHand: Iterable<Item>): readonly PartitionStats[];
}

export function createTallies(): Tallies {
  const byTopic = new Map<string, Map<number, Tally>>();
  /** Deliveries of one partition come in runs. */
  let latest: Tally | undefined;

  function of(topic: string, partition: number): Tally {
    if (latest?.partition === partition && latest.topic === topic) return latest;
    let partitions = byTopic.get(topic);
    if (partitions === undefined) byTopic.set(topic, (partitions = new Map()));
    let tally = partitions.get(partition);
    if (tally === undefined) {
      tally = newTally(topic, partition);
      partitions.set(partition, tally);
    }
    latest = tally;
    return tally;
  }

  function arrived({ topic, partition, epoch }: Delivery, isRedriven: boolean): Tally {
    const tally = of(topic, partition);
    if (tally.epoch !== epoch) begin(tally, epoch);
    tally.received++;
    tally.epochReceived++;
    if (isRedriven) tally.redriven++;
    return tally;
  }

  function snapshot(inHand: Iterable<Item>): readonly PartitionStats[] {
    const held = new Map<Tally, { inFlight: number; parked: number; doubtful: number }>();
    for (const item of inHand) {
      const counts = held.get(item.tally) ?? { inFlight: 0, parked: 0, doubtful: 0 };
      if (isDoubtful(item)) counts.doubtful++;
      if (item.state === "running" || item.state === "settling") counts.inFlight++;
      else counts.parked++;
      held.set(item.tally, counts);
    }
    const tallies = [...byTopic.values()].flatMap((partitions) => [...partitions.values()]);
    return tallies.map((tally) => ({
      ...tally,
      ...(held.get(tally) ?? { inFlight: 0, parked: 0, doubtful: 0 }),
    }));
  }

  return { arrived, revoked: (topic, partition) => begin(of(topic, partition), 0), snapshot };
}

/** Counts a settlement; what was handed out under an old epoch is not of the present one. */
export function countSettled({ tally, delivery }: Item, how: "acked" | "buried"): void {
  tally[how]++;
  if (tally.epoch === delivery.epoch) tally.epochSettled++;
}

/**
 * What `bytes` are, by the header alone where that suffices: what is of no concern is never
 * decoded, only checked. `types`: numbers of the types that concern the handler; absent: all.
 */
export function contentOf(
  bytes: Uint8Array,
  types: ReadonlySet<number> | undefined,
): Item["content"] {
  const isWhole = bytes.byteLength >= FRAME_HEADER_BYTES;
  if (isWhole && types?.has(frameType(bytes)) === false) {
    const fault = checkFrame(bytes);
    return fault === undefined ? IGNORED : `${fault}: not a frame`;
  }
  try {
    return lazyFrame(bytes);
  } catch (error) {
    return describeError(error);
  }
}

/** A delivery that has just come into hand. */
export function newItem(
  delivery: Delivery,
  content: Item["content"],
  tally: Tally,
  nowMs: number,
): Item {
  const { topic, partition, sequence, epoch, attempt, notBeforeMs } = delivery;
  return {
    delivery,
    // What is not handled waits for no key: a lane of its own, which no key can name.
    lane:
      typeof content === "object" ? content.key : `\0${topic}/${partition}/${sequence}/${epoch}`,
    content,
    tally,
    attempt,
    notBeforeMs,
    leaseFromMs: nowMs,
    failures: 0,
    settleFailures: 0,
    hangs: 0,
    returnedAtHang: 0,
    firstError: undefined,
    state: "parked",
    owned: true,
    alone: false,
    timer: undefined,
  };
}

function newTally(topic: string, partition: number): Tally {
  const counts = { received: 0, acked: 0, buried: 0, returned: 0, redriven: 0 };
  return { topic, partition, ...counts, epoch: 0, epochReceived: 0, epochSettled: 0 };
}

function begin(tally: Tally, epoch: number): void {
  tally.epoch = epoch;
  tally.epochReceived = 0;
  tally.epochSettled = 0;
}

/**
 * A handler may have committed it and go on with something else, and an attempt that failed may
 * have settled it before it failed.
 */
function isDoubtful({ state, failures, settleFailures }: Item): boolean {
  return state === "running" || failures + settleFailures > 0;
}
