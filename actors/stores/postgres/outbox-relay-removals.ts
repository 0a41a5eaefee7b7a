/**
 * Takes published frames out of the outbox, many in one statement.
 *
 * A frame that was published and not yet removed when the process dies is published again, under
 * the same message id. Refuses nothing and forgets nothing: what could not be removed is tried
 * again for ever, one statement at a time.
 */

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { OutboxTable } from "./outbox-relay-table.ts";

/** A frame stays this long after it was published, so that many go together. */
const DELAY_MS = 50;
const IDS_MAX = 5_000;
const RETRY_MS = 500;

/** Frames that were published leave the table some time later. */
export interface Removals {
  add(ids: readonly number[]): void;
  /** Resolves when nothing that was added before the call is in the table any more. */
  flush(): Promise<void>;
}

export interface OutboxRemovalsOptions {
  readonly environment: Environment;
  readonly table: Pick<OutboxTable, "remove">;
  readonly onFault?: (error: unknown) => void;
}

export class OutboxRemovals implements Removals {
  readonly #options: OutboxRemovalsOptions;
  readonly #ids: number[] = [];
  #underWay: readonly number[] = [];
  /** Since it was made; they leave in the order in which they were added. */
  #added = 0;
  #removed = 0;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;

  constructor(options: OutboxRemovalsOptions) {
    this.#options = options;
  }

  add(ids: readonly number[]): void {
    for (const id of ids) this.#ids.push(id);
    this.#added += ids.length;
    if (this.#running !== undefined) return;
    if (this.#ids.length >= IDS_MAX) this.#begin();
    else this.#timer ??= this.#options.environment.startTimer(DELAY_MS, () => this.#begin());
  }

  isKnown(id: number): boolean {
    return this.#underWay.includes(id) || this.#ids.includes(id);
  }

  /** Rejects when the table does not take it now; it is tried again all the same. */
  async flush(): Promise<void> {
    // Not what comes meanwhile: while others publish there is always some.
    const through = this.#added;
    while (this.#removed < through) {
      if (this.#running === undefined) this.#begin();
      await this.#running;
    }
  }

  /** Nothing is tried any more after this. Rejects when something is left in the table. */
  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      this.#stopTimer();
    }
  }

  #begin(): void {
    this.#stopTimer();
    const running = this.#removeOnce();
    this.#running = running;
    // Whoever flushes hears of it; otherwise it is tried again below.
    running.catch(() => undefined);
  }

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  async #removeOnce(): Promise<void> {
    this.#underWay = this.#ids.splice(0, IDS_MAX);
    let againMs = DELAY_MS;
    try {
      await this.#options.table.remove(this.#underWay);
      this.#removed += this.#underWay.length;
    } catch (error) {
      this.#ids.unshift(...this.#underWay);
      againMs = RETRY_MS;
      this.#options.onFault?.(error);
      throw error;
    } finally {
      this.#underWay = [];
      this.#running = undefined;
      if (this.#ids.length > 0) {
        this.#timer ??= this.#options.environment.startTimer(againMs, () => this.#begin());
      }
    }
  }
}
