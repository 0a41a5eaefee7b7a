/**
 * Letting go of partitions that another member is to have: settle, commit, forget, in this order.
 *
 * Nothing more of them is handed out, what is in hand may be settled for as long as the settings
 * allow, the last commit is made, and only then the subscriber is told to forget. What waits for a
 * time of its own is not waited for; it goes to the next member with its attempt and its time.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { SubscribeOptions } from "../broker.ts";
import type { RemoteMember } from "../remote-member.ts";
import type { TopicPartitions } from "./kafka-driver.ts";
import type { OffsetCommitter } from "./offset-committer.ts";

import { settledWithin } from "./settled-within.ts";

/** For the last commit. */
const COMMIT_WITHIN_MS = 5_000;

export interface HandOverOptions {
  readonly environment: Environment;
  readonly subscribe: SubscribeOptions;
  readonly member: RemoteMember;
  readonly committer: OffsetCommitter;
  /** For settling what is in hand. */
  readonly waitMs: number;
}

export class HandOver {
  readonly #options: HandOverOptions;
  #waits: { readonly isOver: () => boolean; readonly resolve: () => void }[] = [];
  #hasEnded = false;

  constructor(options: HandOverOptions) {
    this.#options = options;
  }

  /** Resolves when the partitions are let go of. Never rejects. */
  async run(held: readonly TopicPartitions[]): Promise<void> {
    const { environment, member, committer, waitMs } = this.#options;
    for (const { topic, partitions } of held) member.endDelivering(topic, partitions);
    await settledWithin(environment, waitMs, this.#untilIdle(held));
    for (const { topic, partitions } of held) {
      for (const partition of partitions) committer.changed(topic, partition);
    }
    await settledWithin(environment, COMMIT_WITHIN_MS, committer.flush());
    for (const { topic, partitions } of held) {
      for (const partition of partitions) committer.forget(topic, partition);
      member.revoke(topic, partitions);
    }
  }

  /** Something was settled, or its lease has run out. */
  settled(): void {
    if (this.#waits.length === 0) return;
    const over = this.#waits.filter(({ isOver }) => this.#hasEnded || isOver());
    this.#waits = this.#waits.filter((wait) => !over.includes(wait));
    for (const { resolve } of over) resolve();
  }

  /** The member closes: nothing is waited for any more. */
  end(): void {
    this.#hasEnded = true;
    this.settled();
  }

  async #untilIdle(held: readonly TopicPartitions[]): Promise<void> {
    const { onRevoking } = this.#options.subscribe;
    if (onRevoking === undefined) return await this.#untilSettled(held);
    await Promise.all(held.map(({ topic, partitions }) => onRevoking(topic, partitions)));
  }

  #untilSettled(held: readonly TopicPartitions[]): Promise<void> {
    const isOver = (): boolean =>
      held.every(({ topic, partitions }) =>
        partitions.every((partition) => this.#isIdle(topic, partition)),
      );
    if (this.#hasEnded || isOver()) return Promise.resolve();
    return new Promise((resolve) => void this.#waits.push({ isOver, resolve }));
  }

  /** Nothing is in hand but what waits for its time. */
  #isIdle(topic: string, partition: number): boolean {
    const { environment, member } = this.#options;
    const nowMs = environment.nowMs();
    let waiting = 0;
    for (const { notBeforeMs } of member.position(topic, partition)?.postponed.values() ?? []) {
      if (notBeforeMs > nowMs) waiting++;
    }
    return member.inHand(topic, partition) <= waiting;
  }
}
