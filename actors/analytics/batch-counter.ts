/**
 * One batch of the feed, record by record: what is counted, as what, and what is passed by.
 *
 * Never throws for what a record holds: bytes that are no frame and payloads that do not fit their
 * contract are counted as `unreadable` in the minute of their receipt. A message that has been
 * counted is passed by, whatever it is. Types that say nothing to analytics are not decoded.
 */

import type { FeedRecord } from "../brokers/feed.ts";
import type { EventOf } from "../contracts/messages.ts";
import type { AnalyticsSettings } from "./analytics-tuning.ts";
import type { CountedEvent } from "./counted-event.ts";
import type { CountedOrderEvent, OrderMemory } from "./order-facts.ts";
import type { PendingCells } from "./pending-cells.ts";
import type { SeenTable } from "./seen-table.ts";
import type { VisitorBatch } from "./visitor-table.ts";

import { countedOf } from "./counted-event.ts";
import { frameIdBytes } from "../../runtime/frames/frame.ts";
import { readingOf } from "../brokers/feed-reading.ts";
import {
  InventoryReserved,
  OrderCreated,
  OrderShipped,
  PaymentProcessed,
} from "../contracts/messages.ts";
import { UserBehavior } from "../contracts/platform-messages.ts";
import { countColumns } from "./behavior-columns.ts";
import { MINUTE_MS, placeEvent, windowStart } from "./event-windows.ts";
import { addCreated, addPayment, addReserved, addShipped, openOrder } from "./order-facts.ts";

const ID_BYTES = 16;
const COUNTED_TYPES: ReadonlySet<number> = new Set(
  [OrderCreated, PaymentProcessed, InventoryReserved, OrderShipped, UserBehavior].map(
    ({ number }) => number,
  ),
);

/** Where one batch leaves what it finds. */
export interface BatchTargets {
  readonly settings: AnalyticsSettings;
  readonly seen: SeenTable;
  readonly memory: OrderMemory;
  readonly visitors: VisitorBatch;
  readonly cells: PendingCells;
}

export function countRecord(record: FeedRecord, targets: BatchTargets): void {
  const { bytes, storedAtMs } = record;
  const read = readRecord(record);
  if (read === undefined) return;
  // Bytes that are no frame have no id but themselves.
  const id = read.id ?? new Bun.CryptoHasher("sha256").update(bytes).digest().subarray(0, ID_BYTES);
  if (!targets.seen.isNew(id, read.atMs ?? storedAtMs, storedAtMs)) return;
  if (read.event === undefined) {
    targets.cells.at(windowStart(storedAtMs, MINUTE_MS))("unreadable", "all", "", 1);
  } else if (read.event.type === "user.behavior") {
    countBehavior(read.event, storedAtMs, targets);
  } else countOrderEvent(read.event, read.atMs ?? storedAtMs, storedAtMs, targets);
}

interface ReadRecord {
  readonly id?: Uint8Array;
  readonly atMs?: number;
  /** Absent: there is none to be read. */
  readonly event?: CountedEvent;
}

/** `undefined`: nothing for analytics. */
function readRecord(record: FeedRecord): ReadRecord | undefined {
  const reading = readingOf(record);
  const frame = reading.frame();
  if (typeof frame === "string") return {};
  if (!COUNTED_TYPES.has(frame.type)) return undefined;
  const event = reading.event(frame);
  const counted = typeof event === "string" ? undefined : countedOf(event);
  const message = { id: frameIdBytes(record.bytes), atMs: frame.timeMs };
  return counted === undefined ? message : { ...message, event: counted };
}

function countOrderEvent(
  event: CountedOrderEvent,
  atMs: number,
  storedAtMs: number,
  { settings, memory, cells }: BatchTargets,
): void {
  // Remembered and forgotten whether or not it is in time: the payment may be.
  const order =
    event.type === "order.created"
      ? openOrder(event, storedAtMs, memory, settings)
      : event.type === "payment.processed"
        ? memory.take(event.orderId)
        : undefined;
  const { kind, startMs } = placeEvent(atMs, storedAtMs, settings);
  const add = cells.at(startMs);
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
      addPayment(event, order, add);
      return;
    case "inventory.reserved":
      addReserved(event, add);
      return;
    case "order.shipped":
      addShipped(event, add);
      return;
  }
}

function countBehavior(
  batch: EventOf<"user.behavior">,
  storedAtMs: number,
  { settings, visitors, cells }: BatchTargets,
): void {
  const windows = countColumns(batch, (atMs) => placeEvent(atMs, storedAtMs, settings));
  for (const { kind, startMs, byEvent, byCustomer, byProduct } of windows) {
    const add = cells.at(startMs);
    const metric = kind === "counted" ? "behavior" : kind;
    let total = 0;
    for (const [place, event] of batch.events.entries()) {
      const count = byEvent[place] ?? 0;
      if (count > 0) add(metric, "event", event, count);
      total += count;
    }
    add(metric, "all", "", total);
    if (kind !== "counted") continue;
    for (const [place, product] of batch.products.entries()) {
      const count = byProduct[place + 1] ?? 0;
      if (count > 0) add(metric, "product", product, count);
    }
    for (const [place, customer] of batch.customers.entries()) {
      if ((byCustomer[place] ?? 0) > 0) visitors.add(startMs, customer);
    }
  }
}
