/**
 * The way of outgoing frames to one broker: in order, for ever, within a bounded memory.
 *
 * Frames come as they are committed and leave in batches, one after the other, so that those of a
 * topic and slot keep their order. While memory has no room, or it is not certain that memory has
 * everything, frames are turned away and read back from the table, lowest id first, once those in
 * memory are out. What the broker may have taken is sent again, first each topic on its own, then
 * in smaller and smaller batches: a topic that nobody reads must not hold up the others, and one
 * frame that no queue takes must not have its neighbours sent for ever. What the broker will never
 * take is handed to `onRefused`. Nothing is dropped and nothing of a topic overtakes.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { Broker, Outgoing } from "../../brokers/broker.ts";
import type { RetryPolicy } from "../../delivery/retry-schedule.ts";
import type { OutboxFrame, OutboxTable } from "./outbox-relay-table.ts";

import { describeError, InvariantError, isShopError, ShopError } from "../../../runtime/errors.ts";
import { backoffMs } from "../../delivery/retry-schedule.ts";
import { FrameQueue } from "./outbox-relay-queue.ts";

export interface RelayLaneSettings {
  /** Frames and bytes of one publication. */
  readonly batchFramesMax: number;
  readonly batchBytesMax: number;
  /** Frames and bytes of one broker in memory; what is beyond is read back from the table. */
  readonly memoryFramesMax: number;
  readonly memoryBytesMax: number;
  /** A publication that is not confirmed by then has failed, as far as anybody here can know. */
  readonly publishTimeoutMs: number;
}

export const RELAY_LANE_SETTINGS: RelayLaneSettings = {
  batchFramesMax: 1_000,
  batchBytesMax: 1_048_576,
  memoryFramesMax: 20_000,
  memoryBytesMax: 16 * 1_048_576,
  publishTimeoutMs: 10_000,
};

const RETRY: RetryPolicy = { attemptsMax: 1_000, delayMinMs: 20, delayMaxMs: 2_000, jitter: 0.5 };

/** Frames that were published leave the table some time later. */
export interface Removals {
  add(ids: readonly number[]): void;
  /** Resolves when nothing that was added before the call is in the table any more. */
  flush(): Promise<void>;
}

export interface RelayLaneOptions {
  /** The broker's name, for people. */
  readonly name: string;
  readonly topics: readonly string[];
  readonly broker: Pick<Broker, "publish">;
  readonly environment: Environment;
  readonly relayId: string;
  readonly table: Pick<OutboxTable, "read" | "count" | "settled">;
  readonly removals: Removals;
  readonly settings: RelayLaneSettings;
  /** Keeps a frame that the broker will never take; it leaves the outbox once this resolves. */
  readonly onRefused: (frame: OutboxFrame, error: ShopError) => Promise<void>;
  /** The broker takes frames again, or does not any more. */
  readonly onState?: (name: string, isUp: boolean, detail: string) => void;
}

export interface RelayLaneState {
  readonly name: string;
  /** Frames that wait for this broker, exact but for a moment. */
  readonly depth: number;
  readonly isUp: boolean;
  /** Why not; empty when it is. */
  readonly detail: string;
  /** Frames confirmed, frames of publications that failed, frames that were refused for good. */
  readonly published: number;
  readonly failed: number;
  readonly refused: number;
  /** Frames come from the table, not from memory. */
  readonly readsBack: boolean;
}

export class RelayLane {
  readonly #options: RelayLaneOptions;
  readonly #queue = new FrameQueue();
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
  /** Topics that are published on their own: some of their frames were not taken lately. */
  readonly #apart = new Set<string>();
  #isUp = true;
  #detail = "";
  #published = 0;
  #failed = 0;
  #refused = 0;
  /** Ends the wait for a publication under way. */
  #abandon: () => void = () => undefined;
  #isClosed = false;
  #wake: (() => void) | undefined;
  readonly #ended: Promise<void>;

  constructor(options: RelayLaneOptions) {
    this.#options = options;
    this.#relays = [options.relayId];
    this.#framesMax = options.settings.batchFramesMax;
    this.#ended = this.#run();
  }

  /** Settles when the lane was closed; rejects for a bug. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Frames in the order in which they were committed. */
  outgoing(frames: readonly OutboxFrame[]): void {
    for (const frame of frames) this.#take(frame);
    this.#signal();
  }

  /** From now on until it has caught up the lane believes only the table. */
  distrustMemory(): void {
    this.#isUncertain = true;
    this.#toTable();
  }

  /** Rows of these relays beside its own are this lane's too. */
  setAdopted(relayIds: readonly string[]): void {
    const had = this.#relays;
    this.#relays = [this.#options.relayId, ...relayIds];
    if (relayIds.some((id) => !had.includes(id))) this.#toTable();
  }

  isKnown(id: number): boolean {
    if (this.#source === "table") return true;
    return this.#queue.has(id);
  }

  state(): RelayLaneState {
    return {
      name: this.#options.name,
      depth: this.#queue.length + this.#waiting,
      isUp: this.#isUp,
      detail: this.#detail,
      published: this.#published,
      failed: this.#failed,
      refused: this.#refused,
      readsBack: this.#source === "table",
    };
  }

  /** Frames in memory stay in the table, those of a publication under way as well. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#abandon();
    this.#signal();
    await this.#ended;
  }

  #take(frame: OutboxFrame): void {
    const { memoryFramesMax, memoryBytesMax } = this.#options.settings;
    const hasRoom =
      this.#queue.kept < memoryFramesMax &&
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
    this.#signal();
  }

  #signal(): void {
    this.#wake?.();
  }

  async #run(): Promise<void> {
    for (let failures = 0; !this.#isClosed;) {
      try {
        if (this.#queue.length > 0) await this.#publishNext();
        else if (this.#source === "table") await this.#readBack();
        else await this.#idle();
        failures = 0;
      } catch (error) {
        if (error instanceof InvariantError) throw error;
        failures++;
        await this.#pause(backoffMs(RETRY, failures, this.#options.environment.random()));
      }
    }
  }

  async #idle(): Promise<void> {
    await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = undefined;
  }

  /** What was published must be out of the table first, or it would be read and sent again. */
  async #readBack(): Promise<void> {
    const { table, removals, settings, relayId, topics } = this.#options;
    await removals.flush();
    this.#turnedAway = 0;
    if (this.#isUncertain) {
      this.#isUncertain = false;
      await orElse(table.settled(relayId), () => (this.#isUncertain = true));
    }
    const share = { relays: this.#relays, topics };
    if (this.#mustCount) {
      this.#waiting = await table.count(share);
      this.#mustCount = false;
    }
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

  async #publishNext(): Promise<void> {
    const { batchBytesMax } = this.#options.settings;
    const batch = this.#queue.first({ framesMax: this.#framesMax, bytesMax: batchBytesMax });
    const shares = Map.groupBy(batch, ({ topic }) => (this.#apart.has(topic) ? topic : ""));
    let failure: { readonly error: unknown } | undefined;
    for (const share of shares.values()) {
      try {
        await this.#publishShare(share);
      } catch (error) {
        // It may be one topic's own; a broker that is away has none of the others either.
        if (!isShopError(error, "INDETERMINATE") || this.#isClosed) throw error;
        failure ??= { error };
      }
    }
    if (failure !== undefined) throw failure.error;
    this.#framesMax = Math.min(this.#options.settings.batchFramesMax, 2 * this.#framesMax);
  }

  async #publishShare(share: readonly OutboxFrame[]): Promise<void> {
    try {
      await this.#publish(share);
    } catch (error) {
      if (isShopError(error, "INDETERMINATE")) this.#divide(share);
      if (!isFrameFault(error)) throw error;
      await this.#oneByOne(share);
      return;
    }
    for (const { topic } of share) this.#apart.delete(topic);
  }

  /** Of what may have been taken in part: what is published together from now on. */
  #divide(share: readonly OutboxFrame[]): void {
    const topics = new Set(share.map(({ topic }) => topic));
    if (topics.size === 1) this.#framesMax = Math.max(1, Math.floor(share.length / 2));
    else for (const topic of topics) this.#apart.add(topic);
  }

  /** The broker is well and will never take one of them; which is not known. */
  async #oneByOne(batch: readonly OutboxFrame[]): Promise<void> {
    for (const frame of batch) {
      try {
        await this.#publish([frame]);
      } catch (error) {
        if (!isFrameFault(error)) throw error;
        await this.#options.onRefused(frame, error);
        this.#refused++;
        this.#isOut([frame]);
      }
    }
  }

  async #publish(batch: readonly OutboxFrame[]): Promise<void> {
    try {
      await this.#inTime(batch.map(({ topic, frame }) => ({ topic, frame })));
    } catch (error) {
      this.#failed += batch.length;
      if (!isFrameFault(error)) this.#tell(false, describeError(error));
      throw error;
    }
    this.#published += batch.length;
    this.#isOut(batch);
    this.#tell(true, "");
  }

  #isOut(batch: readonly OutboxFrame[]): void {
    this.#options.removals.add(batch.map(({ id }) => id));
    this.#queue.remove(batch, this.#options.settings.batchFramesMax);
  }

  /** A connection that is dead without having been closed answers nothing. */
  async #inTime(frames: readonly Outgoing[]): Promise<void> {
    const { broker, environment, name, settings } = this.#options;
    const { promise: late, reject } = Promise.withResolvers<never>();
    this.#abandon = () => reject(new ShopError("INDETERMINATE", `${name}: closed`, "later"));
    const timer = environment.startTimer(settings.publishTimeoutMs, () => {
      const what = `${name} confirmed nothing within ${settings.publishTimeoutMs} ms`;
      reject(new ShopError("INDETERMINATE", what, "later"));
    });
    try {
      await Promise.race([broker.publish(frames), late]);
    } finally {
      timer.cancel();
      this.#abandon = () => undefined;
    }
  }

  /** Until `delayMs` have passed or the lane is closed. */
  async #pause(delayMs: number): Promise<void> {
    if (this.#isClosed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#options.environment.startTimer(delayMs, resolve);
    this.#wake = () => {
      if (this.#isClosed) resolve();
    };
    await promise;
    timer.cancel();
    this.#wake = undefined;
  }

  #tell(isUp: boolean, detail: string): void {
    this.#detail = detail;
    if (this.#isUp === isUp) return;
    this.#isUp = isUp;
    this.#options.onState?.(this.#options.name, isUp, detail);
  }
}

/** True when the broker is well and will never take one of the frames. */
function isFrameFault(error: unknown): error is ShopError {
  return isShopError(error, "BAD_FRAME", "PAYLOAD_TOO_LARGE", "UNKNOWN_TOPIC");
}

async function orElse(promise: Promise<void>, undo: () => void): Promise<void> {
  try {
    await promise;
  } catch (error) {
    undo();
    throw error;
  }
}
