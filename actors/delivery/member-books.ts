/**
 * A member's side of the ledger: what it counted itself, beside what the broker says of it.
 *
 * The broker's answer comes in the stream of deliveries, so at that place both ends speak of the
 * same past (the markers of Chandy and Lamport, 1985). It compares nothing; see `actors/ledger/`.
 * Refuses to mix two questions: they are asked one after the other.
 */

import type { PartitionStanding, Subscription } from "../brokers/broker.ts";
import type { PartitionStats } from "./in-hand.ts";

import { assert } from "../../runtime/errors.ts";

export interface PartitionBook {
  readonly topic: string;
  readonly partition: number;
  /** The broker's count; absent: the partition is not this member's, or nothing ever happened. */
  readonly standing?: PartitionStanding;
  /** This end's count when it asked, and when the answer came. */
  readonly asked?: PartitionStats;
  readonly arrived?: PartitionStats;
}

export class MemberBooks {
  readonly #count: () => readonly PartitionStats[];
  /** The last of each partition: the broker sends only what has changed. */
  readonly #standings = new Map<string, PartitionStanding>();
  #isOpen = false;

  constructor(count: () => readonly PartitionStats[]) {
    this.#count = count;
  }

  async open(subscription: Pick<Subscription, "standing">): Promise<readonly PartitionBook[]> {
    assert(!this.#isOpen, "the books of a member are asked for one at a time");
    this.#isOpen = true;
    const asked = byPlace(this.#count());
    let books: readonly PartitionBook[] = [];
    try {
      await subscription.standing((standings) => {
        for (const one of standings) this.#standings.set(placeOf(one), one);
        books = this.#lay(asked, byPlace(this.#count()));
      });
    } finally {
      this.#isOpen = false;
    }
    return books;
  }

  /** The partitions are someone else's now. */
  revoked(topic: string, partitions: readonly number[]): void {
    for (const partition of partitions) this.#standings.delete(placeOf({ topic, partition }));
  }

  #lay(
    asked: ReadonlyMap<string, PartitionStats>,
    arrived: ReadonlyMap<string, PartitionStats>,
  ): readonly PartitionBook[] {
    const places = new Map<string, { readonly topic: string; readonly partition: number }>([
      ...this.#standings,
      ...arrived,
    ]);
    return [...places].map(([place, { topic, partition }]) => {
      const standing = this.#standings.get(place);
      const before = asked.get(place);
      const after = arrived.get(place);
      return {
        topic,
        partition,
        ...(standing === undefined ? {} : { standing }),
        ...(before === undefined ? {} : { asked: before }),
        ...(after === undefined ? {} : { arrived: after }),
      };
    });
  }
}

function byPlace(stats: readonly PartitionStats[]): ReadonlyMap<string, PartitionStats> {
  return new Map(stats.map((one) => [placeOf(one), one]));
}

function placeOf({ topic, partition }: { topic: string; partition: number }): string {
  return `${topic}/${partition}`;
}
