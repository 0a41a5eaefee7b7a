/**
 * A log as analytics may meet it: orders, payments, behaviour, and everything that can go wrong
 * with a record, from one seed.
 *
 * Only for tests. Among the records are repeats, late and early ones, bytes that are no frame,
 * frames whose payload does not fit, and types that are none of analytics' business.
 */

import type { FeedBatch, FeedRecord } from "../brokers/feed.ts";
import type { ShopEvent } from "../contracts/messages.ts";
import type { BehaviorEvent } from "./behavior-columns.ts";

import { checkFrame, encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { encodeValue } from "../contracts/codec.ts";
import { encodeEvent } from "../delivery/decode-message.ts";
import { behaviorColumns } from "./behavior-columns.ts";

const SLOTS = 4;
const START_MS = 1_700_000_000_000;
const DAY_MS = 86_400_000;
const CUSTOMERS = 12;
const PRODUCTS = 8;

/** A record with what is in it; `event` is absent where nothing can be read. */
export interface LogEntry {
  readonly record: FeedRecord;
  readonly event: ShopEvent | undefined;
  readonly behavior?: readonly BehaviorEvent[];
  readonly atMs: number;
  /** Same for two records that are the same message. */
  readonly identity: string;
}

/** Makes one log. Ids and times follow from `seed`. */
export class LogWriter {
  readonly entries: LogEntry[] = [];
  storedAtMs = START_MS;
  readonly #environment;

  constructor(seed: number) {
    this.#environment = createVirtualEnvironment(seed);
  }

  below(end: number): number {
    return Math.floor(this.#environment.random() * end);
  }

  event(event: ShopEvent, ageMs = 0): void {
    const atMs = this.storedAtMs - ageMs;
    const id = this.#environment.newId();
    const environment = { newId: () => id, nowMs: () => atMs };
    const { topic, frame } = encodeEvent(event, { environment, slots: SLOTS });
    this.#append(topic, frame, { event, atMs, identity: id });
  }

  behavior(events: readonly BehaviorEvent[]): void {
    const batchId = `batch-${this.entries.length}`;
    this.event({ type: "user.behavior", batchId, ...behaviorColumns(events) });
    Object.assign(this.entries.at(-1) ?? {}, { behavior: events });
  }

  bytes(bytes: Uint8Array): void {
    // Without an id or a time of its own, it is known again on the day of its receipt only.
    const day = Math.floor(this.storedAtMs / DAY_MS);
    const identity = `${Buffer.from(bytes).toString("hex")} ${day}`;
    this.#append("orders", bytes, { event: undefined, atMs: this.storedAtMs, identity });
  }

  /** A frame of `type` whose payload is nothing of the kind. */
  misfit(type: number, value: unknown): void {
    const id = this.#environment.newId();
    const payload = encodeValue(value);
    const times = { id, timeMs: this.storedAtMs, slot: 0, key: "k" };
    const frame = encodeFrame({ ...times, type, payload });
    this.#append("orders", frame, { event: undefined, atMs: this.storedAtMs, identity: id });
  }

  again(index: number): void {
    const entry = this.entries[index];
    if (entry === undefined) return;
    const { topic, bytes } = entry.record;
    if (checkFrame(bytes) === undefined) this.#append(topic, bytes, entry);
    else this.bytes(bytes);
  }

  #append(topic: string, bytes: Uint8Array, entry: Omit<LogEntry, "record">): void {
    const sequence = this.entries.length + 1;
    const { storedAtMs } = this;
    this.entries.push({ ...entry, record: { topic, partition: 0, sequence, bytes, storedAtMs } });
  }
}

/** A log of `records` records. */
export function writeLog(seed: number, records: number): readonly LogEntry[] {
  const log = new LogWriter(seed);
  while (log.entries.length < records) {
    log.storedAtMs += log.below(20_000);
    writeSomething(log);
  }
  return log.entries;
}

function writeSomething(log: LogWriter): void {
  const number = log.below(log.entries.length + 1);
  const orderId = `order-${number}`;
  const ageMs = log.below(10) === 0 ? log.below(3) * 3_600_000 : log.below(90_000);
  switch (log.below(12)) {
    case 0:
    case 1:
    case 2:
      return log.event(orderCreated(log), ageMs);
    case 3:
    case 4:
      return log.event(paymentOf(log, orderId), ageMs);
    case 5:
      return log.event({ type: "inventory.reserved", orderId, ...reservation(log) }, ageMs);
    case 6:
      return log.event(
        { type: "order.shipped", orderId, trackingNumber: "t", carrier: "c" },
        ageMs,
      );
    case 7:
    case 8:
      return log.behavior(behaviorOf(log));
    case 9:
      return log.again(log.below(log.entries.length));
    case 10:
      return log.event({ type: "order.delivered", orderId, trackingNumber: "t" });
    default:
      return writeBroken(log);
  }
}

function writeBroken(log: LogWriter): void {
  switch (log.below(3)) {
    case 0:
      return log.bytes(Uint8Array.from({ length: log.below(120) }, () => log.below(256)));
    case 1:
      return log.misfit(1, { orderId: "o" });
    default:
      return log.misfit(13, { ...behaviorColumns(behaviorOf(log)), batchId: "b", event: [999] });
  }
}

function orderCreated(log: LogWriter): ShopEvent {
  const items = Array.from({ length: 1 + log.below(3) }, () => ({
    productId: `product-${log.below(PRODUCTS)}`,
    quantity: 1 + log.below(3),
    priceMinor: log.below(40_000),
  }));
  const totalMinor = items.reduce((sum, item) => sum + item.quantity * item.priceMinor, 0);
  return {
    type: "order.created",
    orderId: `order-${log.entries.length}`,
    customerId: `customer-${log.below(CUSTOMERS)}`,
    items,
    totalMinor,
    currency: log.below(3) === 0 ? "EUR" : "USD",
  };
}

function paymentOf(log: LogWriter, orderId: string): ShopEvent {
  const isFailed = log.below(4) === 0;
  return {
    type: "payment.processed",
    orderId,
    status: isFailed ? "failed" : "completed",
    amountMinor: log.below(100_000),
    currency: log.below(3) === 0 ? "EUR" : "USD",
    gateway: "standard",
    ...(isFailed && log.below(2) === 0 ? { reason: "declined" } : {}),
  };
}

function reservation(log: LogWriter) {
  return log.below(5) === 0
    ? ({ status: "failed" } as const)
    : ({ status: "reserved", expiresAtMs: 1 } as const);
}

function behaviorOf(log: LogWriter): readonly BehaviorEvent[] {
  return Array.from({ length: 1 + log.below(20) }, () => ({
    event: ["page.viewed", "cart.added", "search"][log.below(3)] ?? "",
    customerId: `customer-${log.below(CUSTOMERS)}`,
    ...(log.below(3) === 0 ? {} : { productId: `product-${log.below(PRODUCTS)}` }),
    atMs: log.storedAtMs - 200_000 + log.below(600_000) - (log.below(9) === 0 ? 4_000_000 : 0),
  }));
}

/** `entries` from `from`, at most `length` of them; the cursor is the number of those read. */
export function batchAt(entries: readonly LogEntry[], from: number, length: number): FeedBatch {
  const taken = entries.slice(from, from + length);
  return { records: taken.map(({ record }) => record), cursor: String(from + taken.length) };
}
