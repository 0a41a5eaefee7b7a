/**
 * An audit in a directory of its own, and feeds of whole orders to fill it with.
 *
 * Only for tests. Directories are under the system's temporary directory and are removed by
 * `removeAudits`, which a test file calls in `afterAll`.
 */

import type { FeedBatch, FeedRecord } from "../brokers/feed.ts";
import type { ShopEvent } from "../contracts/messages.ts";
import type { AuditOptions } from "./audit-projection.ts";

import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { decodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { causeOf, encodeEvent } from "../delivery/decode-message.ts";
import { auditPath } from "./audit-database.ts";
import { createAuditProjection } from "./audit-projection.ts";
import { openAuditReads } from "./audit-reads.ts";

const SLOTS = 4;
const RECORDS_PER_ORDER = 5;
const directories: string[] = [];

export function makeAuditDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "shopstream-audit-"));
  directories.push(directory);
  return directory;
}

export function removeAudits(): void {
  for (const directory of directories.splice(0)) {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A writer in `directory`, a new one when absent. */
export function openAudit(directory = makeAuditDirectory(), overrides: Partial<AuditOptions> = {}) {
  const environment = createVirtualEnvironment();
  const projection = createAuditProjection({ directory, environment, ...overrides });
  return { directory, projection };
}

/** The reading side of `directory`, with turns that are over at once. */
export function readsOf(directory: string) {
  let nowMs = 0;
  return openAuditReads({
    directory,
    environment: { monotonicMs: () => nowMs++, defer: (callback) => queueMicrotask(callback) },
  });
}

/** A log of its own: every record gets the next sequence of its partition. */
export function createTestFeed() {
  const environment = createVirtualEnvironment();
  const sequences = new Map<string, number>();
  let batches = 0;

  function record(topic: string, bytes: Uint8Array, partition = 0): FeedRecord {
    const place = `${topic}/${partition}`;
    const sequence = (sequences.get(place) ?? 0) + 1;
    sequences.set(place, sequence);
    return { topic, partition, sequence, bytes, storedAtMs: environment.nowMs() };
  }

  /** One event as the shop would publish it, a second after the one before. */
  function event(content: ShopEvent, causedBy?: FeedRecord): FeedRecord {
    environment.jumpWallClock(1_000);
    const cause = causedBy === undefined ? undefined : causeOf(decodeFrame(causedBy.bytes));
    const { topic, frame } = encodeEvent(content, { environment, slots: SLOTS, cause });
    return record(topic, frame, decodeFrame(frame).slot);
  }

  return {
    environment,
    record,
    event,
    batch: (records: readonly FeedRecord[]): FeedBatch => ({ records, cursor: `c${++batches}` }),
    /** What becomes of one order: five records. */
    order(number: number, customerId = `customer-${number % 3}`): readonly FeedRecord[] {
      const orderId = `order-${number}`;
      const created = event(orderCreated(orderId, customerId));
      return [created, ...aftermath(orderId).map((content) => event(content, created))];
    },
  };
}

export type TestFeed = ReturnType<typeof createTestFeed>;

/** With something in every field that must stay hidden. */
export function orderCreated(orderId: string, customerId: string): ShopEvent {
  return {
    type: "order.created",
    orderId,
    customerId,
    items: [{ productId: "coffee-beans-1kg", quantity: 2, priceMinor: 1_050 }],
    totalMinor: 2_100,
    currency: "EUR",
    shippingAddress: {
      name: "Zoë Ångström",
      line1: "Straße der Pariser Kommune 8",
      city: "Berlin",
      postalCode: "10243",
      country: "DE",
    },
    paymentMethod: { type: "card", token: "tok_secretone", fingerprint: "fp_secrettwo" },
    contact: {
      email: "zoe@secretthree.example",
      phone: "+49301234567",
      pushToken: "push_secretfour",
    },
  };
}

function aftermath(orderId: string): readonly ShopEvent[] {
  const reference = `cap ${orderId.replace("order-", "ref")}`;
  return [
    { type: "inventory.reserved", orderId, status: "reserved", expiresAtMs: 1 },
    {
      type: "payment.processed",
      orderId,
      status: "completed",
      amountMinor: 2_100,
      currency: "EUR",
      gateway: "standard",
      reference,
    },
    { type: "order.shipped", orderId, trackingNumber: `SS${orderId}`, carrier: "simulated" },
    { type: "order.delivered", orderId, trackingNumber: `SS${orderId}` },
  ];
}

/** An audit with `orders` whole orders, closed by its writer. */
export function filledAudit(orders: number) {
  const feed = createTestFeed();
  const { directory, projection } = openAudit();
  for (let number = 0; number < orders; number++) {
    projection.apply(feed.batch(feed.order(number)));
  }
  projection.close();
  return { directory, feed, count: orders * RECORDS_PER_ORDER };
}

/** Writes to the file behind the audit's back, as whoever tampers with it would. */
export function tamper(directory: string, work: (handle: Database) => void): void {
  const handle = new Database(auditPath(directory), { readwrite: true, strict: true });
  try {
    handle.run("DROP TRIGGER IF EXISTS records_no_update");
    handle.run("DROP TRIGGER IF EXISTS records_no_delete");
    work(handle);
  } finally {
    handle.close(true);
  }
}

/** Everything about the records, as text, for comparing two states. */
export function stateOf(directory: string): string {
  const handle = new Database(auditPath(directory), { readonly: true });
  try {
    const records = handle.prepare("SELECT seq, hex(hash) AS hash FROM records").all();
    const head = handle.prepare("SELECT count, hex(hash) AS hash FROM head").all();
    return JSON.stringify({ records, head });
  } finally {
    handle.close(true);
  }
}
