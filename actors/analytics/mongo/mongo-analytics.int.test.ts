/**
 * Analytics on a real server that speaks MongoDB, against the embedded view over the same history.
 *
 * However the history is cut, repeated, rolled up, or fed by two at once, the answers are those of
 * the embedded view.
 */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { TestServer } from "../../../deploy/services/test-server.ts";
import type { ViewSink } from "../../views/view-sink.ts";
import type { LogEntry } from "../analytics-log.fixture.ts";
import type { AnalyticsQuery } from "../analytics-query.ts";
import type { AnalyticsReads } from "../analytics-reads.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { isShopError } from "../../../runtime/errors.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { batchAt, LogWriter, writeLog } from "../analytics-log.fixture.ts";
import { SERIES } from "../analytics-metrics.ts";
import { createAnalyticsProjection } from "../analytics-projection.ts";
import { openAnalyticsReads } from "../analytics-reads.ts";
import { ANALYTICS_SETTINGS } from "../analytics-tuning.ts";
import { HOUR_MS, windowStart } from "../event-windows.ts";
import { documentOf } from "./event-document.ts";
import { factsOf } from "./event-facts.ts";
import { openMongoAnalyticsReads } from "./mongo-analytics-reads.ts";
import { openMongoAnalyticsSink } from "./mongo-analytics-sink.ts";
import { openMongoClient } from "./mongo-client.ts";
import { collectionsOf, insertNew } from "./mongo-collections.ts";
import { MONGO_SETTINGS } from "./mongo-settings.ts";
import { OrderBook } from "./order-book.ts";

const missing = whyMissing("mongodb");
const available = requireOrSkip("mongodb", missing === undefined, missing ?? "");
/** How often the server is killed under what is being stored. */
const BOUNCES = 3;

describe.skipIf(!available)("analytics on MongoDB", () => {
  let server: TestServer;
  let directory = "";
  let shops = 0;
  const opened: { close(): unknown }[] = [];
  beforeAll(async () => {
    server = await startTestServer("mongodb");
  });
  afterAll(async () => {
    await server.dispose();
  });
  beforeEach(() => {
    shops++;
    directory = mkdtempSync(join(tmpdir(), "shopstream-mongo-"));
  });
  afterEach(async () => {
    for (const one of opened.splice(0)) await one.close();
    rmSync(directory, { recursive: true });
  });

  function settingsNow() {
    return { ...MONGO_SETTINGS, url: server.url, prefix: `shop${shops}_` };
  }

  async function openSink(analytics = ANALYTICS_SETTINGS, nowMs = 0): Promise<ViewSink> {
    const then = { ...environment, nowMs: () => nowMs };
    const sink = await openMongoAnalyticsSink(settingsNow(), { environment: then, analytics });
    opened.push(sink);
    return sink;
  }

  async function openReads(analytics = ANALYTICS_SETTINGS): Promise<AnalyticsReads> {
    const reads = await openMongoAnalyticsReads(settingsNow(), { environment, analytics });
    opened.push(reads);
    return reads;
  }

  /** The reads of an embedded view that has `entries`. */
  function embedded(entries: readonly LogEntry[], settings = ANALYTICS_SETTINGS): AnalyticsReads {
    const view = createAnalyticsProjection({ directory, environment, settings });
    view.apply(batchAt(entries, 0, entries.length));
    view.close();
    const reads = openAnalyticsReads(directory, environment);
    opened.push(reads);
    return reads;
  }

  async function feed(sink: ViewSink, entries: readonly LogEntry[], length: number) {
    for (let at = 0; at < entries.length; at += length) {
      await sink.append(batchAt(entries, at, length).records);
    }
  }

  test("answers every question as the embedded view, rolled up or not", async () => {
    const entries = sane(writeLog(31, 700));
    const wanted = embedded(entries);
    const [sink, reads] = [await openSink(), await openReads()];
    await feed(sink, entries.slice(0, 400), 60);
    await sink.maintain(endOf(entries));
    await feed(sink, entries.slice(400), 45);
    expect(await compare(wanted, reads, entries)).toBeGreaterThan(300);
    await sink.maintain(endOf(entries));
    expect(await compare(wanted, reads, entries)).toBeGreaterThan(300);
  });

  test("answers the same after everything came again, reordered, from others", async () => {
    const entries = sane(writeLog(7, 400));
    const wanted = embedded(entries);
    const [first, second, reads] = [await openSink(), await openSink(), await openReads()];
    await feed(first, entries, 40);
    await feed(second, entries, 70);
    await first.maintain(endOf(entries));
    await feed(first, entries.toReversed(), 90);
    await feed(await openSink(), entries, 400);
    const dayLater = entries
      .filter(({ event }) => event !== undefined)
      .map((one) => ({
        ...one,
        record: { ...one.record, storedAtMs: endOf(entries) + 24 * HOUR_MS },
      }));
    await feed(await openSink(), dayLater, 100);
    await second.maintain(endOf(entries));
    await compare(wanted, reads, entries);
  });

  test("counts once what two members store at the same time while both roll up", async () => {
    const entries = sane(writeLog(12, 500));
    const wanted = embedded(entries);
    const [first, second, reads] = [await openSink(), await openSink(), await openReads()];
    const roll = async (sink: ViewSink, times: number) => {
      for (let time = 0; time < times; time++) await sink.maintain(endOf(entries));
    };
    await Promise.all([feed(first, entries, 35), feed(second, entries, 50), roll(first, 3)]);
    await Promise.all([roll(first, 2), roll(second, 2), roll(await openSink(), 1)]);
    // Who is whose first order depends on who came first: segments are not compared.
    await compare(wanted, reads, entries, ({ groupBy }) => groupBy !== "segment");
  });

  for (const step of ["its events", "its claim"] as const) {
    test(`counts once what a process stored that died after ${step}`, async () => {
      const log = new LogWriter(6);
      for (const orderId of ["a", "b", "c"]) orderAndPay(log, orderId);
      const wanted = embedded(log.entries);
      const handle = await openMongoClient(settingsNow(), environment);
      opened.push(handle);
      const collections = collectionsOf(handle, settingsNow().prefix);
      const book = new OrderBook(collections, ANALYTICS_SETTINGS, MONGO_SETTINGS);
      const read = log.entries.flatMap(({ record }) => factsOf(record, ANALYTICS_SETTINGS) ?? []);
      const facts = (await book.complete(read)).slice(0, 5);
      const day = facts[0]?.day ?? 0;
      const piece = `dead_${day}`;
      const events = facts.map((one) => documentOf(one, piece));
      await insertNew(collections.events(day), events);
      const claim = { _id: `${piece}/0`, piece, number: 0, ids: facts.map(({ id }) => id) };
      if (step === "its claim") await insertNew(collections.claims(day), [claim]);
      const [sink, reads] = [await openSink(), await openReads()];
      await feed(sink, log.entries, 4);
      await compare(wanted, reads, log.entries);
    });
  }

  test("keeps as many values apart as the embedded view, and the same ones", async () => {
    const narrow = { ...ANALYTICS_SETTINGS, minuteValuesMax: 2, hourValuesMax: 3 };
    const entries = sane(writeLog(5, 400));
    const wanted = embedded(entries, narrow);
    const [sink, reads] = [await openSink(narrow), await openReads(narrow)];
    await feed(sink, entries.slice(0, 300), 50);
    await sink.maintain(endOf(entries));
    await feed(sink, entries.slice(300), 30);
    await compare(wanted, reads, entries);
  });

  test("counts a payment that comes before its order as one that comes after it", async () => {
    const log = new LogWriter(1);
    for (const orderId of ["a", "b"]) orderAndPay(log, orderId);
    const wanted = embedded(log.entries.filter(({ behavior }) => behavior === undefined));
    const nowMs = endOf(log.entries);
    const orders = await openSink(ANALYTICS_SETTINGS, nowMs);
    const payments = await openSink(ANALYTICS_SETTINGS, nowMs);
    const reads = await openReads();
    const of = (type: string) =>
      log.entries.filter(({ event }) => event?.type === type).map(({ record }) => record);
    await payments.append(of("payment.processed"));
    const question = questionsAbout(log.entries).find(
      ({ metric, groupBy, window }) =>
        metric === "revenue" && groupBy === "all" && window === "range",
    );
    if (question === undefined) throw new Error("there is no such question");
    expect(await reads.query(question)).toMatchObject({ rows: [{ count: 2, sumMinor: 1_800 }] });
    await orders.append(of("order.created"));
    await payments.maintain(endOf(log.entries));
    await payments.append(of("payment.processed"));
    await compare(wanted, reads, log.entries);
  });

  test("counts a payment whose order never comes as unknown", async () => {
    const log = new LogWriter(1);
    orderAndPay(log, "a");
    const paid = log.entries.filter(({ event }) => event?.type === "payment.processed");
    const wanted = embedded(paid);
    const nowMs = endOf(log.entries);
    const sink = await openSink(ANALYTICS_SETTINGS, nowMs);
    const reads = await openReads();
    await sink.append(paid.map(({ record }) => record));
    await sink.maintain(nowMs + MONGO_SETTINGS.orderWaitMs + 1_000);
    const lost = ({ groupBy }: AnalyticsQuery) => groupBy === "segment" || groupBy === "size";
    for (const question of questionsAbout(log.entries).filter(lost)) {
      expect(await reads.query(question)).toEqual(await wanted.query(question));
    }
  });

  test("keeps what it said is stored when the server is killed, and doubles nothing", async () => {
    const own = await startTestServer("mongodb");
    const settings = { ...MONGO_SETTINGS, url: own.url, connectTimeoutMs: 1_500 };
    const entries = sane(writeLog(44, 900));
    const wanted = embedded(entries);
    const sink = await openMongoAnalyticsSink(settings, { environment });
    let reads: AnalyticsReads | undefined;
    try {
      let rejected = 0;
      let isOver = false;
      let failure: unknown;
      const bounces: Promise<void>[] = [];
      /** What was rejected before, once the server is down. */
      let struck = Promise.resolve(0);
      // In the midst of what is being stored, and away until that was refused.
      const strike = async (delayMs: number): Promise<number> => {
        await new Promise<void>((resolve) => environment.startTimer(delayMs, resolve));
        const before = rejected;
        await own.kill();
        return before;
      };
      const revive = async (): Promise<void> => {
        const before = await struck;
        while (rejected === before && !isOver) await Bun.sleep(5);
        await own.start();
      };
      const feeding = (async () => {
        for (let at = 0; at < entries.length; at += 20) {
          if (at % 200 === 100 && bounces.length < BOUNCES) {
            await bounces.at(-1);
            struck = strike(5 * bounces.length);
            bounces.push(revive().catch((error: unknown) => void (failure = error)));
          }
          // The last is stored by nobody before the last kill.
          if (at + 20 >= entries.length) await struck;
          // A server that will not come back would be tried for ever.
          while (failure === undefined) {
            try {
              await sink.append(batchAt(entries, at, 20).records);
              break;
            } catch (error) {
              if (!isShopError(error, "STORAGE_FAULT")) throw error;
              rejected++;
            }
          }
          if (at % 200 === 0) await sink.maintain(endOf(entries)).catch(() => undefined);
        }
      })();
      await feeding.finally(() => (isOver = true));
      await Promise.all(bounces);
      expect(failure).toBeUndefined();
      expect(bounces).toHaveLength(BOUNCES);
      expect(rejected).toBeGreaterThanOrEqual(BOUNCES);
      reads = await openMongoAnalyticsReads(settings, { environment });
      await compare(wanted, reads, entries);
    } finally {
      reads?.close();
      await sink.close();
      await own.dispose();
    }
  }, 120_000);

  test("takes away windows and days that are too old, and nothing else", async () => {
    const log = new LogWriter(3);
    orderAndPay(log, "old");
    log.storedAtMs += 5 * 24 * HOUR_MS;
    orderAndPay(log, "new");
    const [sink, reads] = [await openSink(), await openReads()];
    await feed(sink, log.entries, 3);
    await sink.maintain(endOf(log.entries));
    const counts = async (window: "minute" | "hour") => {
      const question = questionsAbout(log.entries).find((one) => {
        return one.metric === "orders" && one.groupBy === "all" && one.window === window;
      });
      const answer = question && (await reads.query(question));
      return answer?.kind === "rows" ? answer.rows.length : -1;
    };
    expect(await counts("minute")).toBe(1);
    expect(await counts("hour")).toBe(2);
    const handle = await openMongoClient(settingsNow(), environment);
    const names = (await handle.database.listCollections().toArray()).map(({ name }) => name);
    await handle.close();
    const days = names.filter((name) => name.startsWith(`shop${shops}_events_`));
    expect(days).toHaveLength(1);
  });

  test("refuses, once it is closed, and says so", async () => {
    const [sink, reads] = [await openSink(), await openReads()];
    await sink.close();
    await sink.close();
    reads.close();
    await expect(sink.append(batchAt(writeLog(1, 5), 0, 5).records)).rejects.toThrow("closed");
    await expect(reads.realtime(0)).rejects.toThrow("closed");
  });
});

function endOf(entries: readonly LogEntry[]): number {
  return entries.at(-1)?.record.storedAtMs ?? 0;
}

/**
 * `entries` without what only the embedded view forgets: payments before their order, and payments
 * after the first.
 */
function sane(entries: readonly LogEntry[]): readonly LogEntry[] {
  const orders = new Set<string>();
  const paid = new Map<string, string>();
  return entries.filter(({ event, identity }) => {
    if (event?.type === "order.created") orders.add(event.orderId);
    if (event?.type !== "payment.processed" || !orders.has(event.orderId)) {
      return event?.type !== "payment.processed";
    }
    const first = paid.get(event.orderId) ?? identity;
    paid.set(event.orderId, first);
    return first === identity;
  });
}

function orderAndPay(log: LogWriter, orderId: string): void {
  const money = { currency: "USD" };
  const items = [{ productId: `product-${orderId}`, quantity: 3, priceMinor: 300 }];
  const customerId = `customer-${orderId}`;
  log.event({ type: "order.created", orderId, customerId, items, totalMinor: 900, ...money });
  const paid = { status: "completed", gateway: "standard", amountMinor: 900, ...money } as const;
  log.event({ type: "payment.processed", orderId, ...paid });
  log.behavior([{ event: "page.viewed", customerId, atMs: log.storedAtMs }]);
}

function questionsAbout(entries: readonly LogEntry[]): readonly AnalyticsQuery[] {
  const startMs = windowStart(entries[0]?.record.storedAtMs ?? 0, HOUR_MS) - 3 * HOUR_MS;
  const toMs = windowStart(entries.at(-1)?.record.storedAtMs ?? 0, HOUR_MS) + 2 * HOUR_MS;
  return SERIES.flatMap(([metric, groupBy]) =>
    (["minute", "hour", "range"] as const).map((window) => {
      const aggregates = ["count", "sum", "p50", "p95"] as const;
      return { metric, groupBy, window, fromMs: startMs, toMs, aggregates };
    }),
  );
}

/** Compares all answers and resolves with how many rows there were. */
async function compare(
  wanted: AnalyticsReads,
  found: AnalyticsReads,
  entries: readonly LogEntry[],
  isCompared: (question: AnalyticsQuery) => boolean = () => true,
): Promise<number> {
  let rows = 0;
  for (const question of questionsAbout(entries).filter(isCompared)) {
    const [one, other] = await Promise.all([wanted.query(question), found.query(question)]);
    expect(other).toEqual(one);
    if (other.kind === "rows") rows += other.rows.length;
  }
  const nowMs = endOf(entries);
  expect(await found.realtime(nowMs)).toEqual(await wanted.realtime(nowMs));
  return rows;
}
