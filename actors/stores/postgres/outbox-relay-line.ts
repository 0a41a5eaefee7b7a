/**
 * Frames of some topics of one broker on their way out, one batch after the other, for ever.
 *
 * Batches leave one at a time, so that frames of a topic and slot keep their order. While memory
 * has no room, or it is not certain that memory has everything, frames are turned away and read
 * back from the table, lowest id first, once those in memory are out. It decides nothing about
 * other topics: what may have been taken in part is told, and smaller batches are tried only where
 * there is one topic left.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { RetryPolicy } from "../../delivery/retry-schedule.ts";
import type { RelayPublisher } from "./outbox-relay-publisher.ts";
import type { Removals } from "./outbox-relay-removals.ts";
import type { RelayLaneSettings } from "./outbox-relay-settings.ts";
import type { OutboxFrame, OutboxTable } from "./outbox-relay-table.ts";

import { describeError, InvariantError, isShopError } from "../../../runtime/errors.ts";
import { backoffMs } from "../../delivery/retry-schedule.ts";
import { FrameQueue } from "./outbox-relay-queue.ts";

const RETRY: RetryPolicy = { attemptsMax: 1_000, delayMinMs: 20, delayMaxMs: 2_000, jitter: 0.5 };

export interface RelayLineOptions {
  readonly environment: Environment;
  readonly relayId: string;
  readonly table: Pick<OutboxTable, "read" | "count" | "settled">;
  readonly removals: Removals;
  readonly publisher: Pick<RelayPublisher, "publish">;
  readonly settings: RelayLaneSettings;
  readonly topics: readonly string[];
  /** Relays that it publishes for, this one first. */
  readonly relays: readonly string[];
  /** Why it waits before its first batch, and how large that may be; absent: nothing is known. */
  readonly doubt?: { readonly detail: string; readonly framesMax: number };
  /** Before each step, when nothing of it is under way. */
  readonly onTurn: () => void;
  /** There is nothing to do until more comes. */
  readonly onRest: () => void;
  /** `batch`, of a line with several topics, may have been taken in part. */
  readonly onDoubt: (batch: readonly OutboxFrame[], error: unknown) => void;
  /** The broker takes frames of it again, or does not any more. */
  readonly onState: () => void;
}

export class RelayLine {
  readonly #options: RelayLineOptions;
  readonly #queue = new FrameQueue();
  #topics: readonly string[];
  /** `table`: what is not in `#queue` yet is to be read from the table. */
  #source: "memory" | "table" = "memory";
  /** In the table and not in memory, by count. */
  #waiting = 0;
  /** Turned away since the last read began. */
  #turnedAway = 0;
  /** Largest id that came from the table. */
  #readThrough = 0;
  /** A commit may have left frames here of which nobody told. */
  #isUncertain = false;
  #mustCount = false;
  #relays: readonly string[];
  /** Of the next publication, at most. */
  #framesMax: number;
  /** The last publication was taken as it was. */
  #isWell: boolean;
  /** Why the broker takes nothing; undefined when it does. */
  #detail: string | undefined;
  #isClosed = false;
  #wake: (() => void) | undefined;

  constructor(options: RelayLineOptions) {
    const { doubt, settings } = options;
    this.#options = options;
    this.#topics = options.topics;
    this.#relays = options.relays;
    this.#framesMax = doubt?.framesMax ?? settings.batchFramesMax;
    this.#isWell = doubt === undefined;
    this.#detail = doubt?.detail;
  }

  get topics(): readonly string[] {
    return this.#topics;
  }

  /** Frames that wait, exact but for a moment. */
  get depth(): number {
    return this.#queue.length + this.#waiting;
  }

  /** Frames come from the table, not from memory. */
  get readsBack(): boolean {
    return this.#source === "table";
  }

  get detail(): string | undefined {
    return this.#detail;
  }

  /** Everything is out, and the broker took the last of it as it was. */
  get hasCaughtUp(): boolean {
    return this.#isWell && this.#queue.length === 0 && this.#source === "memory";
  }

  /** Frames in the order in which they were committed. */
  outgoing(frames: readonly OutboxFrame[]): void {
    for (const frame of frames) this.#take(frame);
    this.wake();
  }

  /** From now on until it has caught up it believes only the table. */
  distrustMemory(): void {
    this.#isUncertain = true;
    this.#toTable();
  }

  /** Rows of these relays are its own now, in place of those before. */
  setRelays(relays: readonly string[]): void {
    const had = this.#relays;
    this.#relays = relays;
    if (relays.some((id) => !had.includes(id))) this.#toTable();
  }

  isKnown(id: number): boolean {
    return this.#source === "table" || this.#queue.has(id);
  }

  /** All that is to come of `topic` is the other's, as far as its memory goes at once. */
  give(topic: string, other: RelayLine): void {
    this.#topics = this.#topics.filter((each) => each !== topic);
    for (const frame of this.#queue.takeTopic(topic)) other.#take(frame);
    // Not before: those may have come from the table themselves.
    other.#readThrough = this.#readThrough;
    if (this.#source === "memory") return;
    other.#isUncertain = this.#isUncertain;
    other.#toTable();
    this.#mustCount = true;
  }

  /** The topics of one that has caught up are this one's. To be called in its own turn. */
  takeOver(other: RelayLine): void {
    this.#topics = [...this.#topics, ...other.#topics];
    this.#readThrough = Math.max(this.#readThrough, other.#readThrough);
    other.close();
  }

  wake(): void {
    this.#wake?.();
  }

  /** Frames in memory stay in the table. What is under way is for the publisher to abandon. */
  close(): void {
    this.#isClosed = true;
    this.wake();
  }

  /** Until it is closed; rejects for a bug. Once. */
  async run(): Promise<void> {
    let failures = this.#options.doubt === undefined ? 0 : 1;
    if (failures > 0) {
      await this.#pause(failures);
      // It may be long before it reads back itself. Nothing depends on the figure.
      if (this.#mustCount) await this.#count().catch(() => undefined);
    }
    while (!this.#isClosed) {
      try {
        await this.#step();
        failures = 0;
      } catch (error) {
        if (error instanceof InvariantError) throw error;
        failures++;
        await this.#pause(failures);
      }
    }
  }

  async #step(): Promise<void> {
    this.#options.onTurn();
    if (this.#queue.length > 0) return await this.#publishNext();
    if (this.#source === "table") return await this.#readBack();
    this.#options.onRest();
    await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = undefined;
  }

  #take(frame: OutboxFrame): void {
    const { memoryFramesMax, memoryBytesMax } = this.#options.settings;
    const hasRoom =
      this.#queue.length < memoryFramesMax &&
      this.#queue.bytes + frame.frame.byteLength <= memoryBytesMax;
    // What was told late may have come from the table already.
    const isLate = frame.id <= this.#readThrough;
    if (this.#source === "memory" && hasRoom && !isLate) {
      this.#queue.add(frame);
      return;
    }
    this.#source = "table";
    this.#turnedAway++;
    this.#waiting++;
  }

  #toTable(): void {
    this.#source = "table";
    this.#turnedAway++;
    this.#mustCount = true;
    this.wake();
  }

  /** What was published must be out of the table first, or it would be read and sent again. */
  async #readBack(): Promise<void> {
    const { table, removals, settings, relayId } = this.#options;
    await removals.flush();
    this.#turnedAway = 0;
    if (this.#isUncertain) {
      this.#isUncertain = false;
      await orElse(table.settled(relayId), () => (this.#isUncertain = true));
    }
    if (this.#mustCount) {
      await this.#count();
      this.#mustCount = false;
    }
    const share = { relays: this.#relays, topics: this.#topics };
    const bounds = { framesMax: settings.batchFramesMax, bytesMax: settings.batchBytesMax };
    const { frames, isAll } = await table.read(share, bounds);
    for (const frame of frames) {
      this.#queue.add(frame);
      this.#readThrough = Math.max(this.#readThrough, frame.id);
    }
    const hasAll = isAll && this.#turnedAway === 0;
    this.#waiting = hasAll ? 0 : Math.max(0, this.#waiting - frames.length);
    if (hasAll) this.#source = "memory";
  }

  async #count(): Promise<void> {
    const share = { relays: this.#relays, topics: this.#topics };
    const rows = await this.#options.table.count(share);
    this.#waiting = Math.max(0, rows - this.#queue.length);
  }

  async #publishNext(): Promise<void> {
    const { publisher, settings } = this.#options;
    const bounds = { framesMax: this.#framesMax, bytesMax: settings.batchBytesMax };
    const batch = this.#queue.first(bounds);
    let out = 0;
    try {
      this.#isWell = await publisher.publish(batch, (count) => {
        this.#isOut(batch.slice(out, out + count));
        out += count;
      });
    } catch (error) {
      if (!this.#isClosed) this.#failed(batch.slice(out), error);
      throw error;
    }
    this.#framesMax = Math.min(settings.batchFramesMax, 2 * this.#framesMax);
    this.#tell(undefined);
  }

  #isOut(frames: readonly OutboxFrame[]): void {
    this.#options.removals.add(frames.map(({ id }) => id));
    this.#queue.shift(frames.length, this.#options.settings.batchFramesMax);
  }

  #failed(batch: readonly OutboxFrame[], error: unknown): void {
    this.#isWell = false;
    if (!isShopError(error, "INDETERMINATE")) {
      this.#tell(describeError(error));
    } else if (this.#topics.length === 1) {
      this.#framesMax = Math.max(1, Math.floor(batch.length / 2));
      this.#tell(describeError(error));
    } else {
      // From now on the trouble is theirs who have these topics.
      this.#options.onDoubt(batch, error);
      this.#tell(undefined);
    }
  }

  #tell(detail: string | undefined): void {
    this.#detail = detail;
    this.#options.onState();
  }

  /** After so many failures in a row, or until it is closed. */
  async #pause(failures: number): Promise<void> {
    if (this.#isClosed) return;
    const { environment } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = environment.startTimer(backoffMs(RETRY, failures, environment.random()), resolve);
    this.#wake = () => {
      if (this.#isClosed) resolve();
    };
    await promise;
    timer.cancel();
    this.#wake = undefined;
  }
}

async function orElse(promise: Promise<void>, undo: () => void): Promise<void> {
  try {
    await promise;
  } catch (error) {
    undo();
    throw error;
  }
}
