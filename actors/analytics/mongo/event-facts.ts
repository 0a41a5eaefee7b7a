/**
 * What analytics keeps of one record, whatever stores it: read, placed in time, ready to be
 * counted.
 *
 * Nothing is decided here that depends on other records; what an order is to its customer, and a
 * payment to its order, is filled in by `OrderBook`. Never throws for what a record holds: it is
 * then `unreadable`, in the minute of its receipt. Types that say nothing to analytics are refused
 * without decoding them.
 */

import type { FeedRecord } from "../../brokers/feed.ts";
import type { EventOf } from "../../contracts/messages.ts";
import type { AnalyticsSettings } from "../analytics-tuning.ts";
import type { Dimension, Metric } from "../analytics-metrics.ts";
import type { PlacingKind } from "../event-windows.ts";
import type { CountedOrderEvent, OpenOrder } from "../order-facts.ts";
import type { AddFact, PendingCells } from "../pending-cells.ts";

import { countedOf } from "../counted-event.ts";
import { readingOf } from "../../brokers/feed-reading.ts";
import {
  InventoryReserved,
  OrderCreated,
  OrderShipped,
  PaymentProcessed,
} from "../../contracts/messages.ts";
import { UserBehavior } from "../../contracts/platform-messages.ts";
import { countColumns } from "../behavior-columns.ts";
import { DAY_MS, HOUR_MS, MINUTE_MS, placeEvent, windowStart } from "../event-windows.ts";
import { addCreated, addPayment, addReserved, addShipped } from "../order-facts.ts";
import { addVisitor, createVisitorSketch, mergeVisitors } from "../visitor-sketch.ts";

const COUNTED_TYPES: ReadonlySet<number> = new Set(
  [OrderCreated, PaymentProcessed, InventoryReserved, OrderShipped, UserBehavior].map(
    ({ number }) => number,
  ),
);

/** Counts of the events of one batch in one window. */
export interface BehaviorWindow {
  readonly kind: PlacingKind;
  readonly startMs: number;
  readonly events: readonly string[];
  readonly eventCounts: readonly number[];
  readonly products: readonly string[];
  readonly productCounts: readonly number[];
  readonly visitors: Uint8Array;
}

interface FactsBase {
  /** The same for every copy of a message. */
  readonly id: string;
  /** Day, in days since the epoch, in which copies of the message are looked for. */
  readonly day: number;
  readonly storedAtMs: number;
}

export interface OrderFacts extends FactsBase {
  readonly shape: "order";
  readonly kind: PlacingKind;
  readonly startMs: number;
  readonly event: CountedOrderEvent;
  /** Of what was created, and of a payment whose order is known. */
  readonly order?: OpenOrder;
  /**
   * Of a payment that came before its order: `own` is what can be counted without, `order` the
   * rest. Absent: everything.
   */
  readonly part?: "own" | "order";
}

export interface BehaviorFacts extends FactsBase {
  readonly shape: "behavior";
  readonly batchId: string;
  readonly windows: readonly BehaviorWindow[];
}

export interface UnreadableFacts extends FactsBase {
  readonly shape: "unreadable";
}

export type EventFacts = OrderFacts | BehaviorFacts | UnreadableFacts;

export type FactSettings = Pick<AnalyticsSettings, "latenessMs" | "aheadMs" | "seenRetentionMs">;

/** `undefined`: nothing for analytics. */
export function factsOf(record: FeedRecord, settings: FactSettings): EventFacts | undefined {
  const { bytes, storedAtMs } = record;
  const reading = readingOf(record);
  const frame = reading.frame();
  if (typeof frame === "string") {
    // Bytes that are no frame have no id but themselves.
    const id = `bytes-${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
    return { shape: "unreadable", id, day: dayOf(storedAtMs), storedAtMs };
  }
  if (!COUNTED_TYPES.has(frame.type)) return undefined;
  const { id, timeMs } = frame;
  const base = { id, day: dayOfMessage(timeMs, storedAtMs, settings), storedAtMs };
  const event = reading.event(frame);
  const counted = typeof event === "string" ? undefined : countedOf(event);
  if (counted === undefined) return { shape: "unreadable", ...base };
  if (counted.type !== "user.behavior") {
    const { kind, startMs } = placeEvent(timeMs, storedAtMs, settings);
    return { shape: "order", ...base, kind, startMs, event: counted };
  }
  const windows = windowsOf(counted, storedAtMs, settings);
  return { shape: "behavior", ...base, batchId: counted.batchId, windows };
}

export function dayOf(atMs: number): number {
  return Math.floor(atMs / DAY_MS);
}

/** A time that is no time of ours has the day of its receipt: its copies are known on that day. */
function dayOfMessage(timeMs: number, storedAtMs: number, { seenRetentionMs }: FactSettings) {
  const isOurs = timeMs >= storedAtMs - seenRetentionMs && timeMs <= storedAtMs + DAY_MS;
  return dayOf(isOurs ? timeMs : storedAtMs);
}

function windowsOf(
  batch: EventOf<"user.behavior">,
  storedAtMs: number,
  settings: FactSettings,
): readonly BehaviorWindow[] {
  const counted = countColumns(batch, (atMs) => placeEvent(atMs, storedAtMs, settings));
  return counted.map(({ kind, startMs, byEvent, byProduct, byCustomer }) => {
    const events = occurring(batch.events, byEvent, 0);
    const isCounted = kind === "counted";
    const products = isCounted ? occurring(batch.products, byProduct, 1) : NOTHING;
    const visitors = createVisitorSketch();
    for (const [place, customer] of batch.customers.entries()) {
      if (isCounted && (byCustomer[place] ?? 0) > 0) addVisitor(visitors, customer);
    }
    return {
      kind,
      startMs,
      events: events.texts,
      eventCounts: events.counts,
      products: products.texts,
      productCounts: products.counts,
      visitors,
    };
  });
}

const NOTHING = { texts: [], counts: [] };

function occurring(texts: readonly string[], counts: Uint32Array, shift: number) {
  const places = [...texts.keys()].filter((place) => (counts[place + shift] ?? 0) > 0);
  return {
    texts: places.map((place) => texts[place] ?? ""),
    counts: places.map((place) => counts[place + shift] ?? 0),
  };
}

/** Sketches of visitors by the start of their hour. */
export type VisitorHours = Map<number, Uint8Array>;

export function addFacts(facts: EventFacts, cells: PendingCells, visitors: VisitorHours): void {
  switch (facts.shape) {
    case "unreadable":
      return cells.at(windowStart(facts.storedAtMs, MINUTE_MS))("unreadable", "all", "", 1);
    case "behavior":
      for (const window of facts.windows) addBehavior(window, cells, visitors);
      return;
    case "order":
      return addOrderFacts(facts, cells.at(facts.startMs));
  }
}

/** What of a payment cannot be said without its order. */
function isOfOrder(metric: Metric, dimension: Dimension): boolean {
  return metric === "units" || (metric === "revenue" && dimension !== "all");
}

function addOrderFacts({ kind, event, order, part }: OrderFacts, addAny: AddFact): void {
  const add: AddFact = (metric, dimension, ...fact) => {
    const isWanted = part === undefined || (part === "order") === isOfOrder(metric, dimension);
    if (isWanted) addAny(metric, dimension, ...fact);
  };
  if (kind !== "counted") {
    add(kind, "all", "", 1);
    add(kind, "event", event.type, 1);
    return;
  }
  switch (event.type) {
    case "order.created":
      if (order !== undefined) addCreated(event, order, add);
      return;
    case "payment.processed":
      return addPayment(event, order, add);
    case "inventory.reserved":
      return addReserved(event, add);
    case "order.shipped":
      return addShipped(event, add);
  }
}

function addBehavior(window: BehaviorWindow, cells: PendingCells, visitors: VisitorHours): void {
  const { kind, startMs } = window;
  const add = cells.at(startMs);
  const metric = kind === "counted" ? "behavior" : kind;
  let total = 0;
  for (const [place, event] of window.events.entries()) {
    const count = window.eventCounts[place] ?? 0;
    add(metric, "event", event, count);
    total += count;
  }
  add(metric, "all", "", total);
  if (kind !== "counted") return;
  for (const [place, product] of window.products.entries()) {
    add(metric, "product", product, window.productCounts[place] ?? 0);
  }
  const hourMs = windowStart(startMs, HOUR_MS);
  const hour = visitors.get(hourMs) ?? createVisitorSketch();
  mergeVisitors(hour, window.visitors);
  visitors.set(hourMs, hour);
}
