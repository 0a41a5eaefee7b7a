/**
 * One view at work: reads the log, applies it, tells the broker what need not be kept, again and
 * again.
 *
 * It is a child of a supervisor. An expected failure (a disk that is full, a store that is damaged)
 * is waited out for ever, with ever longer waits, and told; records that are gone or damaged are
 * told and passed by. Anything else is a bug: the view ends, and its supervisor begins it anew from
 * its store. It never gives up by itself, and never goes on in memory with what a failure may have
 * left half done.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { Exit, RunningChild } from "../../runtime/supervision/child.ts";
import type { Feed, FeedBatch, FeedCursor, FeedLag, Projection } from "../brokers/feed.ts";
import type { ShopError } from "../../runtime/errors.ts";
import type { ViewSettings } from "./view-settings.ts";

import { isShopError } from "../../runtime/errors.ts";

/** Of `bytesMax`: a batch that holds more was cut by its bytes, most likely. */
const FULL_BYTES_SHARE = 0.5;
/** The last release may go unanswered: the journal then keeps a little more than it must. */
const LAST_RELEASE_MS = 500;

export type ViewEvent =
  | { readonly kind: "applied"; readonly records: number; readonly durationMs: number }
  | { readonly kind: "lag"; readonly records: number; readonly ageMs: number }
  | { readonly kind: "failed"; readonly error: ShopError; readonly retryInMs: number }
  /** For the first time, or again after a failure. */
  | { readonly kind: "working" }
  /** Records that are gone or cannot be read; the view goes on behind them. */
  | { readonly kind: "lost"; readonly error: ShopError };

export interface ViewOptions {
  readonly name: string;
  readonly environment: Environment;
  readonly settings: ViewSettings;
  /** Opened when the view begins, and again after what a new start may heal. */
  readonly openProjection: () => Projection;
  readonly openFeed: () => Feed;
  readonly onEvent: (event: ViewEvent) => void;
  /** How long a stop may go on applying what is in the log. */
  readonly drainMs: () => number;
}

/** Begins at once; a store that cannot be opened is a failure like any other. */
export function startView(options: ViewOptions, onExit: (exit: Exit) => void): RunningChild {
  return new ViewRunner(options, onExit);
}

class ViewRunner implements RunningChild {
  readonly #options: ViewOptions;
  readonly #onExit: (exit: Exit) => void;
  readonly #done: Promise<void>;
  #projection: Projection | undefined;
  #feed: Feed | undefined;
  /** Where to read next; may be ahead of the projection's by records of no concern to it. */
  #place: { readonly cursor: FeedCursor | undefined } | undefined;
  #applied: FeedCursor | undefined;
  #released: FeedCursor | undefined;
  #releasing: Promise<void> | undefined;
  readonly #dueMs = { release: 0, lag: 0, maintain: 0 };
  #failures = 0;
  #isWorking = false;
  #stopByMs: number | undefined;
  #isEnded = false;
  #wake: () => void = () => undefined;

  constructor(options: ViewOptions, onExit: (exit: Exit) => void) {
    this.#options = options;
    this.#onExit = onExit;
    const nowMs = options.environment.monotonicMs();
    this.#dueMs.maintain = nowMs + options.settings.maintainMs;
    this.#done = this.#run();
  }

  /** Applies what is in the log, as far as the time allows, releases it and closes. */
  async stop(): Promise<void> {
    this.#stopByMs ??= this.#options.environment.monotonicMs() + this.#options.drainMs();
    this.#wake();
    await this.#done;
  }

  kill(): void {
    this.#isEnded = true;
    this.#wake();
    this.#close();
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        // A turn that began before the stop may have missed what was published until then.
        const isLast = this.#stopByMs !== undefined;
        const waitMs = await this.#turn();
        if (this.#isEnded) return;
        if (isLast && (waitMs > 0 || this.#isStopOverdue())) break;
        await this.#wait(this.#stopByMs === undefined ? waitMs : 0);
        if (this.#isEnded) return;
      }
      await this.#releaseLast();
      this.#end();
    } catch (error) {
      if (this.#isEnded) return;
      this.#end();
      this.#onExit({ kind: "abnormal", error });
    }
  }

  #isStopOverdue(): boolean {
    const nowMs = this.#options.environment.monotonicMs();
    return this.#stopByMs !== undefined && nowMs >= this.#stopByMs;
  }

  /** One step; how long to wait before the next. */
  async #turn(): Promise<number> {
    try {
      const feed = (this.#feed ??= this.#options.openFeed());
      // What the store cannot say, as long as it cannot be opened, the broker can about.
      if (this.#place === undefined) await this.#measureReleased(feed);
      if (this.#isEnded) return 0;
      const projection = (this.#projection ??= this.#options.openProjection());
      const { cursor } = (this.#place ??= { cursor: projection.cursor() });
      await this.#measure(() => feed.lag(cursor));
      const batch = await this.#read(feed, cursor);
      if (this.#isEnded || batch === undefined) return 0;
      if (batch.records.length > 0) this.#apply(projection, batch);
      this.#place = { cursor: batch.cursor };
      this.#succeeded();
      this.#release(feed);
      const isFull = this.#isFull(batch);
      this.#maintain(projection, isFull);
      return isFull ? 0 : this.#options.settings.flushMs;
    } catch (error) {
      if (this.#isEnded || !isShopError(error)) throw error;
      return this.#failed(error);
    }
  }

  /** `undefined`: the next record is lost, which was told, and the place is behind it now. */
  async #read(feed: Feed, cursor: FeedCursor | undefined): Promise<FeedBatch | undefined> {
    const { recordsMax, bytesMax } = this.#options.settings;
    try {
      return await feed.read(cursor, recordsMax, bytesMax);
    } catch (error) {
      if (!isShopError(error, "STALE", "DATA_DAMAGED")) throw error;
      // A cursor or a file that cannot be read at all is refused here too, and then waited out.
      this.#place = { cursor: await feed.passLoss(cursor) };
      this.#options.onEvent({ kind: "lost", error });
      return undefined;
    }
  }

  #apply(projection: Projection, batch: FeedBatch): void {
    const { environment, onEvent } = this.#options;
    const startedMs = environment.monotonicMs();
    projection.apply(batch);
    this.#applied = batch.cursor;
    const durationMs = environment.monotonicMs() - startedMs;
    onEvent({ kind: "applied", records: batch.records.length, durationMs });
  }

  #isFull({ records }: FeedBatch): boolean {
    const { recordsMax, bytesMax } = this.#options.settings;
    if (records.length >= recordsMax) return true;
    const bytes = records.reduce((sum, record) => sum + record.bytes.length, 0);
    return bytes > bytesMax * FULL_BYTES_SHARE;
  }

  /** Begins again from what the store says; a damaged one is opened anew. */
  #failed(error: ShopError): number {
    const { settings, onEvent } = this.#options;
    const { retryMinMs, retryMaxMs } = settings;
    const retryInMs = Math.min(retryMaxMs, retryMinMs * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 32);
    this.#isWorking = false;
    this.#place = undefined;
    if (error.retry === "never") this.#close();
    onEvent({ kind: "failed", error, retryInMs });
    return retryInMs;
  }

  #succeeded(): void {
    if (!this.#isWorking) this.#options.onEvent({ kind: "working" });
    this.#isWorking = true;
    this.#failures = 0;
  }

  /** A broker that does not answer holds nothing up: then nobody knows. */
  async #measureReleased(feed: Feed): Promise<void> {
    try {
      await this.#measure(() => feed.unreleased());
    } catch (error) {
      if (!isShopError(error)) throw error;
    }
  }

  async #measure(look: () => Promise<FeedLag>): Promise<void> {
    if (!this.#isDue("lag", this.#options.settings.lagMs)) return;
    this.#options.onEvent({ kind: "lag", ...(await look()) });
  }

  /** In the background: whether the broker hears of it now or later holds up no record. */
  #release(feed: Feed): void {
    const cursor = this.#applied;
    if (cursor === undefined || cursor === this.#released || this.#releasing !== undefined) return;
    if (!this.#isDue("release", this.#options.settings.releaseMs)) return;
    this.#releasing = this.#tellReleased(feed, cursor);
  }

  async #tellReleased(feed: Feed, cursor: FeedCursor): Promise<void> {
    try {
      await feed.release(cursor);
      this.#released = cursor;
    } catch (error) {
      // An expected failure is made good by the next release.
      if (!isShopError(error) && !this.#isEnded) this.#breakDown(error);
    } finally {
      this.#releasing = undefined;
    }
  }

  #breakDown(error: unknown): void {
    this.#isEnded = true;
    this.#wake();
    this.#close();
    this.#onExit({ kind: "abnormal", error });
  }

  async #releaseLast(): Promise<void> {
    const feed = this.#feed;
    const cursor = this.#applied;
    if (feed === undefined) return;
    const releasing = async (): Promise<void> => {
      await this.#releasing;
      if (cursor !== undefined && cursor !== this.#released) await this.#tellReleased(feed, cursor);
    };
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#options.environment.startTimer(LAST_RELEASE_MS, resolve);
    await Promise.race([releasing(), promise]);
    timer.cancel();
  }

  #maintain(projection: Projection, isFull: boolean): void {
    const { environment, settings } = this.#options;
    const nowMs = environment.monotonicMs();
    const overdueMs = settings.maintainBusyMs - settings.maintainMs;
    if (nowMs < this.#dueMs.maintain + (isFull ? overdueMs : 0)) return;
    this.#dueMs.maintain = nowMs + settings.maintainMs;
    projection.maintain(environment.nowMs(), settings.maintainBudgetMs);
  }

  #isDue(what: "release" | "lag", everyMs: number): boolean {
    const nowMs = this.#options.environment.monotonicMs();
    if (nowMs < this.#dueMs[what]) return false;
    this.#dueMs[what] = nowMs + everyMs;
    return true;
  }

  /** Lets others have their turn, however short it is. */
  #wait(waitMs: number): Promise<void> {
    const { environment } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer: Timer | undefined =
      waitMs === 0 ? undefined : environment.startTimer(waitMs, resolve);
    if (waitMs === 0) environment.defer(resolve);
    this.#wake = () => {
      timer?.cancel();
      resolve();
    };
    return promise;
  }

  #end(): void {
    this.#isEnded = true;
    this.#close();
  }

  #close(): void {
    this.#place = undefined;
    const projection = this.#projection;
    const feed = this.#feed;
    this.#projection = undefined;
    this.#feed = undefined;
    projection?.close();
    void feed?.close();
  }
}
