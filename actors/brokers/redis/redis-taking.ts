/**
 * Claims that the subscriber is being asked to take on: from the server's word to the first read.
 *
 * Asking takes as long as a database does, and a claim may be lost meanwhile. Whoever agrees to
 * what is another's may end its rightful owner, so the server is asked before, and again after.
 * What was lost or refused by then is taken from the subscriber again, and then given back. Refuses
 * to have anything read of a claim that was lost, even when nobody else took it.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { SubscribeOptions } from "../broker.ts";
import type { RedisGroupDesk } from "./redis-group-desk.ts";
import type { Claim } from "./redis-membership.ts";
import type { StoredPlace } from "./redis-position.ts";

import { RedisRefusal } from "./redis-failure.ts";

export interface RedisTakingOptions {
  readonly environment: Pick<Environment, "startTimer">;
  /** Longest that the subscriber may take to let go of what it does not get. */
  readonly handOverMs: number;
  readonly subscribe: Pick<SubscribeOptions, "topics" | "onAssigned" | "onRevoking" | "onRevoked">;
  readonly desk: Pick<RedisGroupDesk, "places">;
  /** Taken on. `places`: per topic. */
  readonly onTaken: (claim: Claim, places: readonly StoredPlace[]) => void;
  /** It may be another's already. Must not reject. */
  readonly giveBack: (claim: Claim) => Promise<void>;
  /** Must not reject. */
  readonly onGroupGone: () => Promise<void>;
  readonly onTrouble: (error: unknown) => void;
}

interface Standing {
  readonly claim: Claim;
  readonly places: readonly StoredPlace[];
}

export class RedisTaking {
  readonly #options: RedisTakingOptions;
  readonly #fences = new Map<number, string>();

  constructor(options: RedisTakingOptions) {
    this.#options = options;
  }

  /** By partition: under way and not lost. */
  get fences(): ReadonlyMap<number, string> {
    return this.#fences;
  }

  /** Another may have them. The subscriber hears of it once it has answered. */
  lose(partitions: readonly number[]): void {
    for (const partition of partitions) this.#fences.delete(partition);
  }

  /** Resolves once each is taken on or given back. Does not reject. One call at a time. */
  async take(claims: readonly Claim[]): Promise<void> {
    const { onTaken, giveBack, onGroupGone, onTrouble } = this.#options;
    for (const { partition, fence } of claims) this.#fences.set(partition, fence);
    let asked: readonly Claim[] = [];
    const taken = new Set<Claim>();
    try {
      asked = (await this.#ours(claims)).map(({ claim }) => claim);
      await this.#ask(asked);
      for (const { claim, places } of await this.#ours(asked)) {
        onTaken(claim, places);
        taken.add(claim);
      }
    } catch (error) {
      onTrouble(error);
      if (error instanceof RedisRefusal && error.reply === "NOGROUP") await onGroupGone();
    }
    this.lose(claims.map(({ partition }) => partition));
    await this.#disown(asked.filter((claim) => !taken.has(claim)));
    await Promise.all(claims.filter((claim) => !taken.has(claim)).map(giveBack));
  }

  /** Those that are still this member's. */
  async #ours(claims: readonly Claim[]): Promise<readonly Standing[]> {
    const { desk } = this.#options;
    const kept = claims.filter((claim) => this.#isKept(claim));
    const found = await Promise.all(
      kept.map(({ partition, fence }) => desk.places(partition, fence)),
    );
    return kept.flatMap((claim, at) => {
      const places = found[at];
      return places !== undefined && this.#isKept(claim) ? [{ claim, places }] : [];
    });
  }

  #isKept({ partition, fence }: Claim): boolean {
    return this.#fences.get(partition) === fence;
  }

  /** Settles once every topic has: nothing is agreed to after it was given back. */
  async #ask(claims: readonly Claim[]): Promise<void> {
    const { topics, onAssigned } = this.#options.subscribe;
    if (onAssigned === undefined || claims.length === 0) return;
    const partitions = claims.map(({ partition }) => partition);
    const answers = await Promise.allSettled(
      topics.map(async (topic) => await onAssigned(topic, partitions)),
    );
    for (const answer of answers) if (answer.status === "rejected") throw answer.reason;
  }

  /** Who refused may have begun to take them on. Who does not let go in time loses them so. */
  async #disown(claims: readonly Claim[]): Promise<void> {
    if (claims.length === 0) return;
    const { environment, handOverMs, subscribe, onTrouble } = this.#options;
    const { topics, onRevoking, onRevoked } = subscribe;
    const letGo = async (topic: string): Promise<void> => {
      try {
        await onRevoking?.(topic, partitions);
      } catch (error) {
        onTrouble(error);
      }
    };
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = environment.startTimer(handOverMs, resolve);
    const partitions = claims.map(({ partition }) => partition);
    await Promise.all(
      topics.map(async (topic) => {
        await Promise.race([letGo(topic), late]);
        onRevoked?.(topic, partitions);
      }),
    );
    timer.cancel();
  }
}
