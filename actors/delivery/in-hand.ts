/**
 * A delivery while the consumer holds it, and the counters of its partition.
 *
 * The counters only grow, and what is in hand is counted apart from them, so that
 * `received = acked + buried + returned + in hand` is a check and not a definition.
 */

import type { Timer } from "../../runtime/environment.ts";
import type { Frame } from "../../runtime/frames/frame-header.ts";
import type { Delivery } from "../brokers/broker.ts";

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
  firstError: string | undefined;
  state: ItemState;
  /** False once the partition is lost or the consumer closed: settling it would be stale. */
  owned: boolean;
  /** To be handled in a batch of its own, because a batch with others failed as a whole. */
  alone: boolean;
  timer: Timer | undefined;
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
}

export interface PartitionStats extends Readonly<Tally> {
  /** With the handler, or being settled. */
  readonly inFlight: number;
  /** In hand otherwise: behind their key, ready, or waiting for their retry. */
  readonly parked: number;
}

export interface Tallies {
  of(topic: string, partition: number): Tally;
  /** In order of first delivery. */
  snapshot(inHand: Iterable<Item>): readonly PartitionStats[];
}

export function createTallies(): Tallies {
  const byTopic = new Map<string, Map<number, Tally>>();

  function of(topic: string, partition: number): Tally {
    let partitions = byTopic.get(topic);
    if (partitions === undefined) byTopic.set(topic, (partitions = new Map()));
    let tally = partitions.get(partition);
    if (tally === undefined) {
      tally = { topic, partition, received: 0, acked: 0, buried: 0, returned: 0 };
      partitions.set(partition, tally);
    }
    return tally;
  }

  function snapshot(inHand: Iterable<Item>): readonly PartitionStats[] {
    const held = new Map<Tally, { inFlight: number; parked: number }>();
    for (const item of inHand) {
      const counts = held.get(item.tally) ?? { inFlight: 0, parked: 0 };
      if (item.state === "running" || item.state === "settling") counts.inFlight++;
      else counts.parked++;
      held.set(item.tally, counts);
    }
    const tallies = [...byTopic.values()].flatMap((partitions) => [...partitions.values()]);
    return tallies.map((tally) => ({
      ...tally,
      ...(held.get(tally) ?? { inFlight: 0, parked: 0 }),
    }));
  }

  return { of, snapshot };
}
