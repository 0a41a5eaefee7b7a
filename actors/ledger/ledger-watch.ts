/**
 * Asks the groups of a shard for their books again and again, and says when they do not balance.
 *
 * Questions are put one after the other, each in a turn of its own, so that what answers have set
 * going is counted before the next. It keeps one row per partition and refuses to keep more; what
 * a broker refuses to answer is asked again the next time, and is no imbalance.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { LedgerRow } from "../contracts/order-state.ts";
import type { Consumer } from "../delivery/consumer.ts";
import type { Carried } from "./ledger.ts";

import { isShopError } from "../../runtime/errors.ts";
import { balance, rowOf } from "./ledger.ts";
import { foldRows } from "./ledger-rows.ts";

/** Imbalances that are told one by one after one question. */
const TOLD_MAX = 16;

/** Plain values, cloneable. */
export interface LedgerSettings {
  /** Between two questions. */
  readonly everyMs: number;
  /** Intervals after which what was settled at the broker and is still at work here has hung. */
  readonly hangRounds: number;
}

export const LEDGER_SETTINGS: LedgerSettings = { everyMs: 2_000, hangRounds: 60 };

export interface LedgerMember {
  readonly group: string;
  readonly consumer: Pick<Consumer, "books">;
}

export interface LedgerWatchOptions {
  readonly environment: Environment;
  readonly members: readonly LedgerMember[];
  readonly settings?: LedgerSettings;
  /** A partition does not balance; told once until it balances again. */
  readonly onImbalance: (detail: string) => void;
  /** Everything balances again. */
  readonly onBalanced: () => void;
}

export interface LedgerWatch {
  /** The rows as of now, after a question of its own. */
  rows(): Promise<readonly LedgerRow[]>;
  /** Asks no more. Idempotent. */
  stop(): void;
}

export function startLedgerWatch(options: LedgerWatchOptions): LedgerWatch {
  return new Watch(options);
}

class Watch implements LedgerWatch {
  readonly #options: LedgerWatchOptions;
  readonly #settings: LedgerSettings;
  /** By group, then by place. */
  readonly #carried = new Map<string, Map<string, Carried>>();
  readonly #rows = new Map<string, readonly LedgerRow[]>();
  #told = new Set<string>();
  #round: Promise<void> = Promise.resolve();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: LedgerWatchOptions) {
    this.#options = options;
    this.#settings = options.settings ?? LEDGER_SETTINGS;
    this.#arm();
  }

  async rows(): Promise<readonly LedgerRow[]> {
    await this.#ask(0);
    return foldRows([...this.#rows.values()].flat());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #arm(): void {
    if (this.#stopped) return;
    this.#timer = this.#options.environment.startTimer(this.#settings.everyMs, () => {
      const armAgain = (): void => this.#arm();
      // `#ask` rejects only for a bug, which is to end the thread.
      void this.#ask(1).then(armAgain);
    });
  }

  /** A question after those that are under way; `rounds` is 1 for the one of an interval. */
  #ask(rounds: 0 | 1): Promise<void> {
    this.#round = this.#round.then(() => this.#askAll(rounds));
    return this.#round;
  }

  async #askAll(rounds: 0 | 1): Promise<void> {
    const { environment, members } = this.#options;
    // What the last answers have set going ends in the turn in which they came.
    await new Promise<void>((resolve) => environment.defer(resolve));
    if (this.#stopped) return;
    await Promise.all(members.map((member) => this.#askMember(member, rounds)));
    this.#tell();
  }

  async #askMember({ group, consumer }: LedgerMember, rounds: 0 | 1): Promise<void> {
    try {
      const books = await consumer.books();
      const before = this.#carried.get(group);
      const after = new Map<string, Carried>();
      const rows: LedgerRow[] = [];
      for (const book of books) {
        const place = `${book.topic}/${book.partition}`;
        const result = balance(book, before?.get(place), rounds, this.#settings.hangRounds);
        if (result.carried !== undefined) after.set(place, result.carried);
        const row = rowOf(group, book, result.imbalance);
        if (row !== undefined) rows.push(row);
      }
      this.#carried.set(group, after);
      this.#rows.set(group, rows);
    } catch (error) {
      if (!isShopError(error)) throw error;
    }
  }

  #tell(): void {
    const { onImbalance, onBalanced } = this.#options;
    const wrong = new Map<string, string>();
    for (const { group, topic, partition, imbalance } of [...this.#rows.values()].flat()) {
      if (imbalance !== undefined) wrong.set(`${group} ${topic}/${partition}`, imbalance);
    }
    const news = [...wrong].filter(([place]) => !this.#told.has(place));
    for (const [place, imbalance] of news.slice(0, TOLD_MAX)) {
      onImbalance(`ledger of group ${place}: ${imbalance}`);
    }
    if (news.length > TOLD_MAX) {
      onImbalance(`ledger of ${news.length - TOLD_MAX} partitions more does not balance`);
    }
    const wasWrong = this.#told.size > 0;
    this.#told = new Set(wrong.keys());
    if (wasWrong && wrong.size === 0) onBalanced();
  }
}
