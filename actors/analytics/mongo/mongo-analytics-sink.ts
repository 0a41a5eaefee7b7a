/**
 * The analytics view on MongoDB, from the side that feeds it.
 *
 * Keeps no position: a record that comes again, from this process or another, changes nothing.
 * What `append` has resolved for is stored for good and seen by readers at once; what it rejected
 * for is given again. Roll-ups and retention happen in between. Refuses records only as the
 * contract does: what cannot be read is counted as `unreadable` and passed by.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { FeedRecord } from "../../brokers/feed.ts";
import type { ViewSink } from "../../views/view-sink.ts";
import type { AnalyticsMisfits } from "../analytics-projection.ts";
import type { AnalyticsSettings } from "../analytics-tuning.ts";
import type { EventFacts } from "./event-facts.ts";
import type { MongoHandle, MongoHooks } from "./mongo-client.ts";
import type { MongoSettings } from "./mongo-settings.ts";

import { describeError, ShopError } from "../../../runtime/errors.ts";
import { ANALYTICS_SETTINGS, checkAnalyticsSettings } from "../analytics-tuning.ts";
import { MINUTE_MS } from "../event-windows.ts";
import { dayOf, factsOf } from "./event-facts.ts";
import { awaitOrders, joinOrders } from "./late-orders.ts";
import { openMongoClient } from "./mongo-client.ts";
import { collectionsOf, indexAll, pileNames, retentionOf } from "./mongo-collections.ts";
import { mongoFailure, unusable } from "./mongo-failure.ts";
import { OrderBook } from "./order-book.ts";
import { PieceStore } from "./piece-store.ts";
import { rollUp } from "./roll-up.ts";

/** Between two looks for what is too old. */
const RETENTION_REST_MS = 10 * MINUTE_MS;
/** Between two roll-ups of what little there is, and of what other processes left. */
const ROLL_UP_REST_MS = 5_000;
/** Sums that the events of one piece may have: its document is far below what a server takes. */
const PIECE_SUMS_MAX = 50_000;
/** Ids of events that are known to be counted, so that their repeats are not even asked about. */
const COUNTED_IDS_MAX = 100_000;
/** Sums of an order event, at about two lines. */
const ORDER_SUMS = 12;

export interface MongoSinkOptions extends MongoHooks {
  readonly environment: Pick<
    Environment,
    "newId" | "nowMs" | "monotonicMs" | "defer" | "startTimer"
  >;
  readonly analytics?: AnalyticsSettings;
  readonly onLog?: (level: "info" | "warn", text: string) => void;
  /** Told of what was stored for the first time. */
  readonly onStored?: (misfits: AnalyticsMisfits) => void;
}

/** Rejects with `SERVER_UNUSABLE`, naming `mongodb.url`, within ten seconds. */
export async function openMongoAnalyticsSink(
  settings: MongoSettings,
  options: MongoSinkOptions,
): Promise<ViewSink> {
  const { analytics = ANALYTICS_SETTINGS } = options;
  checkAnalyticsSettings(analytics);
  const handle = await openMongoClient(settings, options.environment, options);
  try {
    const collections = collectionsOf(handle, settings.prefix);
    const { expires } = await indexAll(collections, analytics);
    return new MongoAnalyticsSink(handle, settings, analytics, expires, options);
  } catch (error) {
    await handle.close();
    throw unusable(error, settings.url);
  }
}

class MongoAnalyticsSink implements ViewSink {
  readonly #handle: MongoHandle;
  readonly #settings: MongoSettings;
  readonly #analytics: AnalyticsSettings;
  readonly #expires: boolean;
  readonly #options: MongoSinkOptions;
  readonly #collections;
  readonly #pieces: PieceStore;
  readonly #book: OrderBook;
  /** The latest, oldest first. */
  readonly #counted = new Set<string>();
  #rolling: Promise<void> | undefined;
  #piecesSinceRoll = 0;
  #restUntilMs = Number.NEGATIVE_INFINITY;
  #keepUntilMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;

  constructor(
    handle: MongoHandle,
    settings: MongoSettings,
    analytics: AnalyticsSettings,
    expires: boolean,
    options: MongoSinkOptions,
  ) {
    this.#handle = handle;
    this.#settings = settings;
    this.#analytics = analytics;
    this.#expires = expires;
    this.#options = options;
    this.#collections = collectionsOf(handle, settings.prefix);
    this.#pieces = new PieceStore(this.#collections, options.environment);
    this.#book = new OrderBook(this.#collections, analytics, settings);
  }

  async append(records: readonly FeedRecord[]): Promise<void> {
    await this.#guarded(async () => {
      const read = new Map<string, EventFacts>();
      for (const record of records) {
        const facts = factsOf(record, this.#analytics);
        if (facts === undefined || read.has(facts.id) || this.#counted.has(facts.id)) continue;
        read.set(facts.id, facts);
      }
      if (read.size === 0) return;
      const facts = await this.#book.complete([...read.values()]);
      await awaitOrders(this.#collections, facts, this.#options.environment.nowMs());
      const misfits = { late: 0, future: 0, unreadable: 0 };
      for (const [day, ofDay] of Map.groupBy(facts, (one) => one.day)) {
        for (const piece of cutPieces(ofDay, this.#settings.pieceRecordsMax)) {
          countMisfits(await this.#pieces.store(day, piece), misfits);
          this.#piecesSinceRoll++;
          this.#remember(piece);
        }
      }
      this.#options.onStored?.(misfits);
    });
    if (this.#piecesSinceRoll >= this.#settings.rollUpPieces) this.#startRollUp();
  }

  async maintain(nowMs: number): Promise<void> {
    const { monotonicMs } = this.#options.environment;
    await this.#guarded(async () => {
      if (monotonicMs() >= this.#restUntilMs) {
        await joinOrders(this.#joinDeps(), nowMs);
        this.#startRollUp();
        this.#restUntilMs = monotonicMs() + ROLL_UP_REST_MS;
      }
      await this.#rolling;
      if (monotonicMs() < this.#keepUntilMs) return;
      await this.#removeOld(nowMs);
      this.#keepUntilMs = monotonicMs() + RETENTION_REST_MS;
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#handle.close();
    await this.#rolling;
  }

  #remember(counted: readonly EventFacts[]): void {
    for (const { id } of counted) this.#counted.add(id);
    for (const id of this.#counted) {
      if (this.#counted.size <= COUNTED_IDS_MAX) return;
      this.#counted.delete(id);
    }
  }

  #joinDeps() {
    const shared = { collections: this.#collections, pieces: this.#pieces };
    return { ...shared, book: this.#book, settings: this.#settings };
  }

  /** One at a time; what fails is done the next time. */
  #startRollUp(): void {
    if (this.#isClosed) return;
    this.#rolling ??= this.#rollUp().finally(() => (this.#rolling = undefined));
  }

  async #rollUp(): Promise<void> {
    this.#piecesSinceRoll = 0;
    try {
      const { rollUpPiecesMax } = this.#settings;
      let taken: number;
      do taken = await rollUp(this.#collections, this.#analytics, this.#settings);
      while (taken === rollUpPiecesMax && !this.#isClosed);
    } catch (error) {
      const text = `analytics: a roll-up is tried again: ${describeError(mongoFailure(error))}`;
      if (!this.#isClosed) this.#options.onLog?.("warn", text);
    }
  }

  async #removeOld(nowMs: number): Promise<void> {
    // A day is over a day after it began, and its copies come for as long as they are known.
    const day = dayOf(nowMs - this.#analytics.seenRetentionMs) - 1;
    for (const name of await this.#collections.daysBefore(day)) await this.#collections.drop(name);
    if (this.#expires) return;
    const before = new Date(nowMs - this.#analytics.openOrderAgeMs);
    await this.#collections.orders.deleteMany({ at: { $lt: before } });
    for (const { granularity, name } of pileNames()) {
      const start = { $lt: new Date(nowMs - retentionOf(granularity, this.#analytics)) };
      await this.#collections.piles(granularity, name).deleteMany({ start });
    }
  }

  async #guarded(work: () => Promise<void>): Promise<void> {
    if (this.#isClosed) throw closed();
    try {
      await work();
    } catch (error) {
      // A socket that is gone fails at once, until the driver has had a turn to notice.
      await new Promise<void>((resolve) => this.#options.environment.defer(resolve));
      throw this.#isClosed ? closed() : mongoFailure(error);
    }
  }
}

function closed(): ShopError {
  return new ShopError("CLOSED", "the analytics store on MongoDB is closed", "never");
}

/** Runs of `facts` that are stored together. */
export function cutPieces(
  facts: readonly EventFacts[],
  recordsMax: number,
): readonly (readonly EventFacts[])[] {
  const pieces: EventFacts[][] = [];
  let sums = 0;
  for (const one of facts) {
    const more = sumsOf(one);
    const last = pieces.at(-1);
    if (last !== undefined && last.length < recordsMax && sums + more <= PIECE_SUMS_MAX) {
      last.push(one);
      sums += more;
    } else {
      pieces.push([one]);
      sums = more;
    }
  }
  return pieces;
}

function sumsOf(facts: EventFacts): number {
  if (facts.shape !== "behavior") return ORDER_SUMS;
  return facts.windows.reduce((sum, { events, products }) => {
    return sum + 1 + events.length + products.length;
  }, 0);
}

function countMisfits(
  stored: readonly EventFacts[],
  misfits: Record<keyof AnalyticsMisfits, number>,
): void {
  for (const facts of stored) {
    if (facts.shape === "unreadable") misfits.unreadable++;
    else if (facts.shape === "order" && facts.kind !== "counted") misfits[facts.kind]++;
    if (facts.shape !== "behavior") continue;
    for (const { kind, eventCounts } of facts.windows) {
      if (kind === "counted") continue;
      misfits[kind] += eventCounts.reduce((sum, count) => sum + count, 0);
    }
  }
}
