/**
 * The partitions that one member consumes or should: opens what is missing, releases what is not
 * its own.
 *
 * It is told what the member should have and does no more than get there, one step per partition
 * at a time; what was lost is taken up again after a pause. It refuses to have two claims to one
 * partition.
 */

import type { ChannelModel } from "amqplib";

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { ClaimPlace, PartitionClaim } from "./partition-claim.ts";

/** After a channel was lost or an assignment refused. */
const AGAIN_MS = 250;

export interface ClaimTableOptions {
  readonly environment: Environment;
  readonly topics: readonly string[];
  /** Partitions of a topic that the member should have now. */
  readonly share: (topic: string) => readonly number[];
  readonly newClaim: (place: ClaimPlace) => PartitionClaim;
  /** What is consumed has changed. */
  readonly onChange: () => void;
}

export class ClaimTable {
  readonly #options: ClaimTableOptions;
  readonly #claims = new Map<string, PartitionClaim>();
  #model: ChannelModel | undefined;
  #again: Timer | undefined;

  constructor(options: ClaimTableOptions) {
    this.#options = options;
  }

  get all(): readonly PartitionClaim[] {
    return [...this.#claims.values()];
  }

  find(topic: string, partition: number): PartitionClaim | undefined {
    return this.#claims.get(nameOf(topic, partition));
  }

  /** Partitions that others must leave to this member, by topic. */
  held(): Record<string, number[]> {
    const held: Record<string, number[]> = {};
    for (const { topic, partition, isHolding } of this.#claims.values()) {
      if (isHolding) (held[topic] ??= []).push(partition);
    }
    return held;
  }

  /** Everything that should be consumed is, and nothing else. */
  isSettled(): boolean {
    if (this.#model === undefined) return false;
    let wanted = 0;
    for (const topic of this.#options.topics) {
      for (const partition of this.#options.share(topic)) {
        wanted++;
        if (this.find(topic, partition)?.isConsuming !== true) return false;
      }
    }
    return wanted === this.#claims.size;
  }

  /** From now on claims are made on this connection. */
  attach(model: ChannelModel): void {
    this.#model = model;
  }

  /** The connection is gone, and with it every channel. */
  lose(): void {
    this.#model = undefined;
    this.#again?.cancel();
    for (const claim of this.all) void claim.end();
    this.#claims.clear();
  }

  /** Gets to where the member should be. */
  reconcile(): void {
    if (this.#model === undefined) return;
    const { share, topics, newClaim } = this.#options;
    const wanted = new Set<string>();
    for (const topic of topics) {
      for (const partition of share(topic)) {
        const name = nameOf(topic, partition);
        wanted.add(name);
        if (this.#claims.has(name)) continue;
        const isSucceeded = (claim: PartitionClaim): boolean => this.#isSucceeded(claim);
        const claim = newClaim({ topic, partition, isSucceeded });
        this.#claims.set(name, claim);
        void this.#open(claim, this.#model);
      }
    }
    const unwanted = [...this.#claims]
      .filter(([name, claim]) => !wanted.has(name) && !claim.isLeaving)
      .map(([, claim]) => claim);
    const byPartition = Map.groupBy(unwanted, ({ partition }) => partition);
    for (const claims of byPartition.values()) void this.#release(claims);
  }

  /** Gives a partition back at once. */
  async drop(topic: string, partition: number): Promise<void> {
    const claim = this.find(topic, partition);
    if (claim !== undefined) await this.#leave(claim, claim.end());
  }

  /** It has lost its channel. */
  forget(claim: PartitionClaim): void {
    this.#remove(claim);
    if (this.#model === undefined) return;
    this.#options.onChange();
    this.#again?.cancel();
    this.#again = this.#options.environment.startTimer(AGAIN_MS, () => this.reconcile());
  }

  async #open(claim: PartitionClaim, model: ChannelModel): Promise<void> {
    try {
      await claim.open(model);
    } catch {
      await claim.end();
      this.forget(claim);
      return;
    }
    this.#options.onChange();
  }

  /**
   * All topics of one partition that go, in good order. None ends before all could: whoever gets
   * the first takes the whole slot, and would find it in use for the others.
   */
  async #release(claims: readonly PartitionClaim[]): Promise<void> {
    await Promise.all(claims.map((claim) => claim.handOver()));
    await Promise.all(claims.map((claim) => this.#leave(claim, claim.end())));
  }

  async #leave(claim: PartitionClaim, leaving: Promise<void>): Promise<void> {
    await leaving;
    this.#remove(claim);
    this.#options.onChange();
    this.reconcile();
  }

  #isSucceeded(claim: PartitionClaim): boolean {
    const now = this.find(claim.topic, claim.partition);
    return now !== claim && now?.isTaking === true;
  }

  #remove(claim: PartitionClaim): void {
    const name = nameOf(claim.topic, claim.partition);
    if (this.#claims.get(name) === claim) this.#claims.delete(name);
  }
}

function nameOf(topic: string, partition: number): string {
  return `${partition}/${topic}`;
}
