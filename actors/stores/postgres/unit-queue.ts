/**
 * Units that wait for their transaction: one batch is written at a time, of all that has come.
 *
 * So a busy writer commits many units with one sync, and an idle one commits at once. A server that
 * is fast enough to keep up with every few units is not asked to: a transaction has its price there
 * and here, and so has each publication that follows it. Bounded in units and bytes; beyond, a unit
 * is refused with `SATURATED`. Every unit is answered: with its result, or with why there is none.
 * Who only waits for a turn of the writer is told once it has had one.
 */

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { CommitResult, CommittedBatch, UnitOfWork } from "../unit-of-work.ts";
import type { OutgoingRow, UnitResult, WrittenBatch } from "./batch-writer.ts";

import { assert, InvariantError, ShopError } from "../../../runtime/errors.ts";

/**
 * After a transaction of so many units another is on its way: the next waits for company, until
 * `gatherMs` after the last began. Whoever asks one thing after the other never waits.
 */
const BUSY_UNITS = 8;
/** So many units are company enough. */
const COMPANY_UNITS = 128;

export interface UnitQueueBounds {
  readonly gatherMs: number;
  readonly batchUnitsMax: number;
  readonly batchBytesMax: number;
  readonly queueUnitsMax: number;
  readonly queueBytesMax: number;
}

export interface UnitQueueOptions extends UnitQueueBounds {
  readonly environment: Environment;
  readonly write: (units: readonly UnitOfWork[]) => Promise<WrittenBatch>;
  /** Before the units are answered. */
  readonly onOutgoing: (outgoing: readonly OutgoingRow[] | "unknown") => void;
  /** After each batch that had units. */
  readonly onBatch?: ((batch: CommittedBatch) => void) | undefined;
}

interface Waiting {
  readonly unit: UnitOfWork;
  readonly bytes: number;
  readonly resolve: (result: CommitResult) => void;
  readonly reject: (error: unknown) => void;
}

export class UnitQueue {
  readonly #options: UnitQueueOptions;
  #waiting: Waiting[] = [];
  #bytes = 0;
  #isBusy = false;
  #isClosed = false;
  /** When the last transaction began, by the monotonic clock, if it was of many. */
  #busySinceMs: number | undefined;
  /** Ends the wait for company, while there is one. */
  #endGathering: (() => void) | undefined;
  /** After the next batch to begin. */
  #whenWritten: (() => void)[] = [];
  #whenIdle: (() => void)[] = [];

  constructor(options: UnitQueueOptions) {
    this.#options = options;
  }

  /** Units that wait, without those being written. */
  get length(): number {
    return this.#waiting.length;
  }

  add(unit: UnitOfWork): Promise<CommitResult> {
    return new Promise((resolve, reject) => {
      const { queueUnitsMax, queueBytesMax } = this.#options;
      const bytes = unitBytes(unit);
      const isFull =
        this.#waiting.length >= queueUnitsMax ||
        (this.#waiting.length > 0 && this.#bytes + bytes > queueBytesMax);
      if (this.#isClosed) return reject(closed());
      if (isFull) return reject(saturated(this.#waiting.length));
      this.#waiting.push({ unit, bytes, resolve, reject });
      this.#bytes += bytes;
      if (this.#isBusy) {
        if (this.#hasCompany()) this.#endGathering?.();
        return;
      }
      this.#begin();
    });
  }

  /**
   * Resolves after a batch that began after the call, one of no units if none waits; at once when
   * the queue is closed.
   */
  async pass(): Promise<void> {
    if (this.#isClosed) return;
    const written = new Promise<void>((resolve) => this.#whenWritten.push(resolve));
    if (!this.#isBusy) this.#begin();
    await written;
  }

  /** Refuses what waits, and resolves when what is being written is answered. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { reject } of this.#take(this.#waiting.length)) reject(closed());
    this.#endGathering?.();
    if (this.#isBusy) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  #begin(): void {
    this.#isBusy = true;
    // What else comes in this turn goes with it.
    this.#options.environment.defer(() => void this.#writeAll());
  }

  async #writeAll(): Promise<void> {
    for (;;) {
      await this.#gather();
      const whenWritten = this.#whenWritten.splice(0);
      if (this.#waiting.length === 0 && whenWritten.length === 0) break;
      const batch = this.#take(this.#fitting());
      const isBusy = batch.length >= BUSY_UNITS;
      this.#busySinceMs = isBusy ? this.#options.environment.monotonicMs() : undefined;
      const { results, outage } = await this.#write(batch);
      batch.forEach(({ resolve, reject }, index) => {
        const result = results[index];
        if (result instanceof Error) return reject(result);
        assert(result !== undefined, "every unit of a batch has a result");
        resolve(result);
      });
      // Nothing of what waits was sent: who waits hears of the outage now, not one by one.
      if (outage !== undefined) {
        for (const { reject } of this.#take(this.#waiting.length)) reject(outage);
      }
      for (const resolve of whenWritten) resolve();
    }
    this.#isBusy = false;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  async #gather(): Promise<void> {
    const { environment, gatherMs } = this.#options;
    if (this.#busySinceMs === undefined) return;
    const leftMs = this.#busySinceMs + gatherMs - environment.monotonicMs();
    if (leftMs <= 0 || this.#waiting.length === 0 || this.#hasCompany()) return;
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#endGathering = resolve;
      timer = environment.startTimer(leftMs, resolve);
    });
    timer?.cancel();
    this.#endGathering = undefined;
  }

  #hasCompany(): boolean {
    const { batchUnitsMax, batchBytesMax } = this.#options;
    const enough = Math.min(COMPANY_UNITS, batchUnitsMax);
    return this.#waiting.length >= enough || this.#bytes >= batchBytesMax;
  }

  async #write(batch: readonly Waiting[]): Promise<{
    readonly results: readonly (UnitResult | Error)[];
    readonly outage?: ShopError;
  }> {
    const { environment, onBatch } = this.#options;
    const startMs = environment.monotonicMs();
    try {
      const written = await this.#options.write(batch.map(({ unit }) => unit));
      const { outgoing, results } = written;
      const refused = results.filter((result) => result instanceof Error).length;
      const durationMs = environment.monotonicMs() - startMs;
      if (batch.length > 0) onBatch?.({ units: batch.length, refused, durationMs });
      if (outgoing === "unknown" || outgoing.length > 0) this.#options.onOutgoing(outgoing);
      return written;
    } catch (error) {
      // A bug: those who wait are told, and die of it.
      const bug = error instanceof Error ? error : new InvariantError(String(error));
      return { results: batch.map(() => bug) };
    }
  }

  /** How many of those that wait fit one batch; at least one, if there is one. */
  #fitting(): number {
    const { batchUnitsMax, batchBytesMax } = this.#options;
    let bytes = 0;
    let count = 0;
    for (const { bytes: more } of this.#waiting) {
      bytes += more;
      if (count > 0 && (count === batchUnitsMax || bytes > batchBytesMax)) break;
      count++;
    }
    return count;
  }

  #take(count: number): readonly Waiting[] {
    const taken = this.#waiting.splice(0, count);
    for (const { bytes } of taken) this.#bytes -= bytes;
    return taken;
  }
}

/** What it takes in memory and on the way, roughly. */
export function unitBytes({ rows, timeline, outgoing, timersStarted }: UnitOfWork): number {
  let bytes = 256;
  for (const { data } of rows) bytes += data.length;
  for (const { data } of timeline) bytes += data.length;
  for (const { frame } of outgoing) bytes += frame.length;
  for (const timer of timersStarted) bytes += timer.outgoing.frame.length;
  return bytes;
}

function saturated(length: number): ShopError {
  return new ShopError("SATURATED", `${length} units wait for PostgreSQL`, "later");
}

function closed(): ShopError {
  return new ShopError("CLOSED", "the store is closed", "never");
}
