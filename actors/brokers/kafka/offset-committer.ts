/**
 * Commits of one member: one under way at a time, each with everything that changed before it.
 *
 * Who waits for a commit waits for the next that starts, so a hundred acknowledgements in a moment
 * cost two requests. A commit that fails for a while is tried again for as long as the member owns
 * the partitions; when it does not any more, who waits is refused with `STALE`.
 */

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { CommittedOffset } from "./kafka-driver.ts";

import { isShopError, ShopError } from "../../../runtime/errors.ts";

const BACKOFF_MIN_MS = 50;
const BACKOFF_MAX_MS = 2_000;

export interface OffsetCommitterOptions {
  readonly environment: Environment;
  /** How late the server may hear of what nobody waits for. */
  readonly intervalMs: number;
  /** What is to be committed of a partition; absent: it is not owned any more. */
  readonly snapshot: (topic: string, partition: number) => CommittedOffset | undefined;
  /** One attempt; `STALE`: the membership is over. */
  readonly commit: (offsets: readonly CommittedOffset[]) => Promise<void>;
  /** The group has gone on without the member. */
  readonly onStale: () => void;
  /** Undefined: it worked. */
  readonly onAttempt: (error: unknown) => void;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: ShopError) => void;
}

export class OffsetCommitter {
  readonly #options: OffsetCommitterOptions;
  #changed = new Map<string, { readonly topic: string; readonly partition: number }>();
  #waiters: Waiter[] = [];
  /** Of the commit that is under way. */
  #served: Waiter[] = [];
  #isRunning = false;
  #timer: Timer | undefined;
  /** Counts memberships: the answer to a commit of an earlier one is of no interest. */
  #term = 0;
  #wake: () => void = () => undefined;

  constructor(options: OffsetCommitterOptions) {
    this.#options = options;
  }

  /** The partition has changed; the server hears of it within the interval. */
  changed(topic: string, partition: number): void {
    const place = `${topic}/${partition}`;
    if (!this.#changed.has(place)) this.#changed.set(place, { topic, partition });
    this.#startTimer();
  }

  /** Resolves when all changes so far are committed. Rejects with `STALE`. */
  flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#start();
    });
  }

  /** Nothing more is committed of this partition. */
  forget(topic: string, partition: number): void {
    this.#changed.delete(`${topic}/${partition}`);
  }

  /** All partitions are lost, or given back: nothing more is committed of them. */
  drop(): void {
    this.#term++;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#changed.clear();
    const stale = new ShopError("STALE", "the member owns these partitions no more", "never");
    for (const { reject } of [...this.#served.splice(0), ...this.#waiters.splice(0)]) reject(stale);
    this.#wake();
  }

  #startTimer(): void {
    if (this.#isRunning || this.#timer !== undefined) return;
    this.#timer = this.#options.environment.startTimer(this.#options.intervalMs, () => {
      this.#timer = undefined;
      this.#start();
    });
  }

  #start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    // In a later turn: what is settled in this one is committed together. It cannot reject.
    this.#options.environment.defer(() => void this.#run());
  }

  async #run(): Promise<void> {
    let failures = 0;
    do {
      const term = this.#term;
      const changed = this.#changed;
      this.#changed = new Map();
      this.#served = this.#waiters;
      this.#waiters = [];
      const error = await this.#commit([...changed.values()]);
      if (this.#term !== term) failures = 0;
      if (this.#term !== term) continue;
      const served = this.#served;
      this.#served = [];
      if (error === undefined) {
        failures = 0;
        for (const { resolve } of served) resolve();
      } else if (isShopError(error, "STALE")) {
        for (const { reject } of served) reject(error);
        this.drop();
        this.#options.onStale();
      } else {
        for (const [place, each] of changed) this.#changed.set(place, each);
        this.#waiters.unshift(...served);
        await this.#backOff(++failures);
      }
    } while (failures > 0 || this.#waiters.length > 0);
    this.#isRunning = false;
    if (this.#changed.size > 0) this.#startTimer();
  }

  async #commit(
    changed: readonly { readonly topic: string; readonly partition: number }[],
  ): Promise<unknown> {
    const { snapshot, commit, onAttempt } = this.#options;
    const offsets = changed
      .map(({ topic, partition }) => snapshot(topic, partition))
      .filter((each) => each !== undefined);
    if (offsets.length === 0) return undefined;
    try {
      await commit(offsets);
      onAttempt(undefined);
      return undefined;
    } catch (error) {
      onAttempt(error);
      return error;
    }
  }

  #backOff(failures: number): Promise<void> {
    const { environment } = this.#options;
    const longestMs = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(failures, 10));
    return new Promise((resolve) => {
      const timer = environment.startTimer(longestMs * (0.5 + environment.random() / 2), resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}
