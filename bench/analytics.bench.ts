/**
 * Events from the log into windows that a question sees, over the real journal and the real view.
 *
 * What is measured begins with publishing (a durable commit of the journal) and ends when a read-
 * only connection, asked as the gateway asks, counts every event; HTTP is left out. Journal, feed
 * and view share one thread here, where the shop gives them one each, so the figures are the lower
 * bound. Each run checks its counts by event and by product. Afterwards events are published at a
 * fixed rate, and the time until they are seen is printed: it refuses more than a second.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { BehaviorEvent } from "../actors/analytics/behavior-columns.ts";
import type { ShopEvent } from "../actors/contracts/messages.ts";
import type { BenchCase } from "./harness.ts";

import { createAnalyticsProjection } from "../actors/analytics/analytics-projection.ts";
import { openAnalyticsReads } from "../actors/analytics/analytics-reads.ts";
import { behaviorColumns } from "../actors/analytics/behavior-columns.ts";
import { HOUR_MS, windowStart } from "../actors/analytics/event-windows.ts";
import { TOPICS, VIEWS } from "../actors/contracts/topics.ts";
import { encodeEvent } from "../actors/delivery/decode-message.ts";
import { openJournal } from "../actors/stores/journal/journal.ts";
import { EMPTY_UNIT } from "../actors/stores/unit-of-work.ts";
import { openJournalFeed } from "../actors/views/journal-feed.ts";
import { startView } from "../actors/views/view-runner.ts";
import { VIEW_SETTINGS } from "../actors/views/view-settings.ts";
import { decodeFrame, encodeFrame } from "../runtime/frames/frame.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { runBench } from "./harness.ts";

const SLOTS = 64;
const EVENTS_PER_FRAME = 1_000;
const FRAMES = 1_000;
const FRAMES_PER_COMMIT = 20;
const ORDERS = 10_000;
const EVENTS_PER_ORDER = 4;
const PRODUCTS = 500;
const CUSTOMERS = 20_000;
const NAMES = ["page.viewed", "product.viewed", "cart.added", "search", "checkout.started"];
const YEAR_MS = 31_536_000_000;
/** The fixed rate, in frames each tick, and how long. */
const TICK_MS = 50;
const FRAMES_PER_TICK = 5;
const TICKS = 100;
const FRESH_MS_MAX = 1_000;

const environment = systemEnvironment;
const directory = mkdtempSync(join(tmpdir(), "shopstream-bench-"));
const journal = openJournal({
  directory,
  slots: SLOTS,
  topics: TOPICS,
  environment,
  retention: {
    logAgeMs: YEAR_MS,
    logBytesMax: 100_000_000_000,
    inboxAgeMs: YEAR_MS,
    idempotencyAgeMs: YEAR_MS,
    fraudAgeMs: YEAR_MS,
    deadLettersMax: 1_000,
  },
});
const reads = openAnalyticsReads(directory, environment);
const view = startView(
  {
    name: "analytics",
    environment,
    settings: VIEW_SETTINGS,
    openProjection: () => createAnalyticsProjection({ directory, environment }),
    openFeed: () =>
      openJournalFeed({
        directory,
        name: "analytics",
        topics: VIEWS.analytics,
        environment,
        release: async () => {},
        standing: async () => ({ records: 0 }),
      }),
    onEvent: (event) => {
      if (event.kind === "failed" || event.kind === "lost") console.error(event.error.message);
    },
    drainMs: () => 0,
  },
  () => process.exit(1),
);

const turn = () => new Promise<void>((resolve) => environment.defer(resolve));
const wait = (delayMs: number) =>
  new Promise<void>((resolve) => void environment.startTimer(delayMs, resolve));

let made = 0;
function behaviorFrame() {
  const nowMs = environment.nowMs();
  const events = Array.from({ length: EVENTS_PER_FRAME }, (): BehaviorEvent => {
    const number = made++;
    return {
      event: NAMES[number % NAMES.length] ?? "",
      customerId: `customer-${(number * 7_919) % CUSTOMERS}`,
      productId: `product-${(number * 31) % PRODUCTS}`,
      atMs: nowMs - (number % 30_000),
    };
  });
  const batchId = environment.newId();
  return encode({ type: "user.behavior", batchId, ...behaviorColumns(events) });
}

function encode(event: ShopEvent) {
  return encodeEvent(event, { environment, slots: SLOTS });
}

function orderFrames(number: number) {
  const orderId = environment.newId();
  const money = { currency: "USD" };
  const productId = `product-${number % PRODUCTS}`;
  const items = [{ productId, quantity: 1, priceMinor: 100 + (number % 9_000) }];
  const customerId = `customer-${(number * 7_919) % CUSTOMERS}`;
  const totalMinor = 100 + (number % 9_000);
  const parcel = { trackingNumber: "t", carrier: "c" };
  const paid = { status: "completed", gateway: "standard", amountMinor: totalMinor } as const;
  return [
    encode({ type: "order.created", orderId, customerId, items, totalMinor, ...money }),
    encode({ type: "inventory.reserved", orderId, status: "reserved", expiresAtMs: 1 }),
    encode({ type: "payment.processed", orderId, ...paid, ...money }),
    encode({ type: "order.shipped", orderId, ...parcel }),
  ];
}

function publish(outgoing: readonly ReturnType<typeof encode>[]): void {
  for (const outcome of journal.commit([{ unit: { ...EMPTY_UNIT, outgoing }, acks: [] }])) {
    if (outcome.kind !== "committed") throw new RangeError(`not published: ${outcome.kind}`);
  }
}

/** What a question sees of `metric`, in all hours together. */
async function seen(
  metric: "behavior" | "shipments",
  groupBy: "all" | "event" | "product" | "carrier",
) {
  const hourMs = windowStart(environment.nowMs(), HOUR_MS);
  const range = { fromMs: hourMs - 2 * HOUR_MS, toMs: hourMs + HOUR_MS };
  const shared = { window: "range", aggregates: ["count"] } as const;
  const answer = await reads.query({ metric, groupBy, ...range, ...shared });
  return answer.kind === "rows" ? answer.rows.reduce((sum, { count }) => sum + count, 0) : -1;
}

async function untilSeen(metric: "behavior" | "shipments", wanted: number): Promise<void> {
  while ((await seen(metric, "all")) < wanted) await wait(1);
}

function behavior(): BenchCase {
  const total = FRAMES * EVENTS_PER_FRAME;
  return {
    name: `analytics: events of behaviour, ${EVENTS_PER_FRAME} a message`,
    operations: total,
    expected: { count: total, checksum: 2 * total },
    async run() {
      const before = await seen("behavior", "all");
      const beforeParts = (await seen("behavior", "event")) + (await seen("behavior", "product"));
      for (let frame = 0; frame < FRAMES; frame += FRAMES_PER_COMMIT) {
        publish(ready.slice(frame, frame + FRAMES_PER_COMMIT).map((one) => renew(one)));
        await turn();
      }
      await untilSeen("behavior", before + total);
      journal.maintain();
      return {
        count: (await seen("behavior", "all")) - before,
        checksum:
          (await seen("behavior", "event")) + (await seen("behavior", "product")) - beforeParts,
      };
    },
  };
}

function orders(): BenchCase {
  return {
    name: `analytics: events of orders, ${EVENTS_PER_ORDER} an order`,
    operations: ORDERS * EVENTS_PER_ORDER,
    expected: { count: ORDERS, checksum: ORDERS },
    async run() {
      const before = await seen("shipments", "all");
      for (let number = 0; number < ORDERS; number += 50) {
        publish(Array.from({ length: 50 }, (_, index) => orderFrames(number + index)).flat());
        await turn();
      }
      await untilSeen("shipments", before + ORDERS);
      journal.maintain();
      const count = (await seen("shipments", "all")) - before;
      return { count, checksum: count };
    },
  };
}

const ready = Array.from({ length: FRAMES }, behaviorFrame);

/** The same events as another message. */
function renew({ topic, frame }: ReturnType<typeof encode>) {
  const again = { ...decodeFrame(frame), id: environment.newId(), timeMs: environment.nowMs() };
  return { topic, frame: encodeFrame(again) };
}

/** Publishes at a fixed rate and says how long each tick's events took to be seen. */
async function measureFreshness(): Promise<string> {
  const ages: number[] = [];
  const open: { readonly count: number; readonly atMs: number }[] = [];
  let published = await seen("behavior", "all");
  const look = async () => {
    const count = await seen("behavior", "all");
    const nowMs = environment.monotonicMs();
    while (open[0] !== undefined && open[0].count <= count) {
      ages.push(nowMs - (open.shift()?.atMs ?? 0));
    }
  };
  const startMs = environment.monotonicMs();
  for (let tick = 0; tick < TICKS; tick++) {
    const dueMs = startMs + tick * TICK_MS;
    // The age counts from when the tick was due, whether or not it could begin then.
    publish(Array.from({ length: FRAMES_PER_TICK }, behaviorFrame));
    published += FRAMES_PER_TICK * EVENTS_PER_FRAME;
    open.push({ count: published, atMs: dueMs });
    while (environment.monotonicMs() < dueMs + TICK_MS) {
      await wait(5);
      await look();
    }
  }
  while (open.length > 0) {
    await wait(5);
    await look();
  }
  ages.sort((left, right) => left - right);
  const at = (share: number) => Math.round(ages[Math.floor(share * (ages.length - 1))] ?? 0);
  const rate = (FRAMES_PER_TICK * EVENTS_PER_FRAME * 1_000) / TICK_MS;
  if (at(1) > FRESH_MS_MAX) throw new RangeError(`events were seen only after ${at(1)} ms`);
  return `at ${rate} events/s: seen after p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`;
}

try {
  await runBench([behavior(), orders()], {
    title: "Analytics",
    unit: "event",
    runs: 5,
    notes: ["publishing, feed, view and questions share one thread; HTTP is left out"],
  });
  console.log(await measureFreshness());
} finally {
  await view.stop();
  reads.close();
  journal.close();
  rmSync(directory, { recursive: true, force: true });
}
