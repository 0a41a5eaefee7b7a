/**
 * The view against a naive reference over the same log, in a real database.
 *
 * However the log is cut into batches, repeated, or interrupted by failures, the windows are those
 * of the reference.
 */

import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { LogEntry } from "./analytics-log.fixture.ts";
import type { AnalyticsSettings } from "./analytics-tuning.ts";

import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { openAnalyticsDatabase } from "./analytics-database.ts";
import { batchAt, LogWriter, writeLog } from "./analytics-log.fixture.ts";
import { createAnalyticsProjection } from "./analytics-projection.ts";
import { expectedCells, rowCount, stateHash, storedCells } from "./analytics-state.fixture.ts";
import { ANALYTICS_SETTINGS } from "./analytics-tuning.ts";
import { NaiveAnalytics } from "./naive-analytics.fixture.ts";

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "shopstream-analytics-"));
  directories.push(directory);
  return directory;
}

function open(directory: string, changes: Partial<AnalyticsSettings> = {}) {
  const environment = createVirtualEnvironment();
  const settings = { ...ANALYTICS_SETTINGS, ...changes };
  return createAnalyticsProjection({ directory, environment, settings });
}

/** Applies `entries` in batches of `lengths`, over and over, and closes. */
function project(
  directory: string,
  entries: readonly LogEntry[],
  lengths: readonly number[],
  changes: Partial<AnalyticsSettings> = {},
): void {
  const view = open(directory, changes);
  let batches = 0;
  for (let at = 0; at < entries.length; batches++) {
    const batch = batchAt(entries, at, lengths[batches % lengths.length] ?? 1);
    view.apply(batch);
    at = Number(batch.cursor);
  }
  view.close();
}

const lengths = fc.array(fc.integer({ min: 1, max: 80 }), { minLength: 1, maxLength: 6 });

describe("the view", () => {
  test("is in files that only their owner may read", () => {
    const directory = makeDirectory();
    const view = open(directory);
    view.apply(batchAt(writeLog(1, 10), 0, 10));
    const modes = readdirSync(directory).map(
      (name) => statSync(join(directory, name)).mode & 0o777,
    );
    expect(modes).toEqual([0o600, 0o600, 0o600]);
    view.close();
  });

  test("has in its windows what the reference has, however the log is cut", () => {
    fc.assert(
      fc.property(fc.nat({ max: 100_000 }), lengths, fc.boolean(), (seed, cuts, isNarrow) => {
        const entries = writeLog(seed, 300);
        const narrow = { minuteValuesMax: 2, hourValuesMax: 3 };
        const changes = isNarrow ? narrow : {};
        const reference = new NaiveAnalytics({ ...ANALYTICS_SETTINGS, ...changes }).read(entries);
        const directory = makeDirectory();
        project(directory, entries, cuts, changes);
        expect(storedCells(directory)).toEqual(expectedCells(reference.cells));
      }),
      { numRuns: 25 },
    );
  });

  test("is the same, to the last bit, after every message has come again", () => {
    const entries = writeLog(7, 600);
    const directory = makeDirectory();
    project(directory, entries, [40]);
    const hash = stateHash(directory);
    project(directory, entries, [70]);
    project(directory, entries.toReversed(), [11]);
    expect(stateHash(directory)).toBe(hash);
    const last = entries.at(-1)?.record.storedAtMs ?? 0;
    const published = entries
      .filter(({ event }) => event !== undefined)
      .map((entry) => ({ ...entry, record: { ...entry.record, storedAtMs: last + 86_400_000 } }));
    project(directory, published, [50]);
    expect(stateHash(directory)).toBe(hash);
  });

  test("goes on where it ended, and starts at the beginning when it is new", () => {
    const directory = makeDirectory();
    const first = open(directory);
    expect(first.cursor()).toBeUndefined();
    first.apply(batchAt(writeLog(1, 50), 0, 20));
    expect(first.cursor()).toBe("20");
    first.close();
    first.close();
    expect(() => first.apply(batchAt([], 0, 1))).toThrow("closed");
    const second = open(directory);
    expect(second.cursor()).toBe("20");
    second.apply({ records: [], cursor: "31" });
    expect(second.cursor()).toBe("31");
    second.close();
  });

  test("leaves nothing of a batch that fails in the middle", () => {
    const directory = makeDirectory();
    const entries = writeLog(3, 200);
    project(directory, entries.slice(0, 100), [100]);
    const hash = stateHash(directory);
    const view = open(directory);
    const batch = batchAt(entries, 100, 100);
    const failing = {
      cursor: batch.cursor,
      // The bug of a feed: a record without bytes.
      records: [...batch.records, { ...batch.records[0]!, bytes: undefined as never }],
    };
    expect(() => view.apply(failing)).toThrow();
    expect(view.cursor()).toBe("100");
    expect(stateHash(directory)).toBe(hash);
    view.apply(batch);
    view.close();
    const reference = new NaiveAnalytics(ANALYTICS_SETTINGS).read(entries);
    expect(storedCells(directory)).toEqual(expectedCells(reference.cells));
  });

  test("tells what of a batch fits nowhere, once, as the windows have it", () => {
    const directory = makeDirectory();
    const told = { late: 0, future: 0, unreadable: 0 };
    const view = createAnalyticsProjection({
      directory,
      environment: createVirtualEnvironment(),
      onApplied(misfits) {
        told.late += misfits.late;
        told.future += misfits.future;
        told.unreadable += misfits.unreadable;
      },
    });
    const entries = writeLog(5, 600);
    view.apply(batchAt(entries, 0, 600));
    const once = { ...told };
    view.apply({ ...batchAt(entries, 0, 600), cursor: "again" });
    view.close();
    const { cells } = new NaiveAnalytics(ANALYTICS_SETTINGS).read(entries);
    for (const name of ["late", "future", "unreadable"] as const) {
      const prefix = `["minute","${name}","all",`;
      const counts = [...cells].map(([cell, { count }]) => (cell.startsWith(prefix) ? count : 0));
      const sum = counts.reduce((total, count) => total + count, 0);
      expect(sum).toBeGreaterThan(0);
      expect(told[name]).toBe(sum);
    }
    expect(told).toEqual(once);
  });

  test("refuses a file of other tables and a file that is no database", () => {
    const directory = makeDirectory();
    writeFileSync(
      join(directory, "analytics.db"),
      "not a database, but long enough to be one".repeat(40),
    );
    expect(() => open(directory)).toThrow(expect.objectContaining({ code: "DATA_DAMAGED" }));
  });

  test("refuses settings that forget what may still change", () => {
    expect(() => open(makeDirectory(), { seenRetentionMs: 1_000 })).toThrow("must be kept");
  });
});

describe("a disk that fails", () => {
  class DiskFailure extends Error {
    readonly code: string;
    constructor(code: string) {
      super("the disk failed");
      this.code = code;
    }
  }
  const failures = [
    ["SQLITE_IOERR_FSYNC", "STORAGE_FAULT"],
    ["SQLITE_FULL", "STORAGE_FULL"],
    ["SQLITE_BUSY", "STORAGE_FAULT"],
  ] as const;
  for (const point of ["begin", "commit", "committed"] as const) {
    for (const [code, reported] of failures) {
      test(`with ${code} at ${point} is told, and the same batch counts once in the end`, () => {
        const directory = makeDirectory();
        const entries = writeLog(13, 120);
        const environment = createVirtualEnvironment();
        let failuresLeft = 0;
        const faults = (at: string) => {
          if (at === point && failuresLeft-- > 0) throw new DiskFailure(code);
        };
        const view = createAnalyticsProjection({ directory, environment, faults });
        view.apply(batchAt(entries, 0, 50));
        failuresLeft = 2;
        for (let attempt = 0; attempt < 2; attempt++) {
          const expected = expect.objectContaining({ code: reported, retry: "later" });
          expect(() => view.apply(batchAt(entries, 50, 70))).toThrow(expected);
          expect(view.cursor()).toBe(point === "committed" ? "120" : "50");
        }
        view.apply(batchAt(entries, 50, 70));
        view.close();
        const reference = new NaiveAnalytics(ANALYTICS_SETTINGS).read(entries);
        expect(storedCells(directory)).toEqual(expectedCells(reference.cells));
      });
    }
  }
});

describe("housekeeping", () => {
  test("takes away what is too old, window by window, and nothing else", () => {
    const directory = makeDirectory();
    const entries = writeLog(5, 400);
    project(directory, entries, [400]);
    const lastMs = entries.at(-1)?.record.storedAtMs ?? 0;
    const before = storedCells(directory);
    const isMinute = (name: string) => name.includes('"minute"');
    const view = open(directory);
    view.maintain(lastMs, 1_000);
    expect(storedCells(directory)).toEqual(before);
    view.close();

    const later = open(directory, { seenRetentionMs: 7 * 86_400_000 });
    later.maintain(lastMs + 2 * ANALYTICS_SETTINGS.minuteRetentionMs, 1_000);
    const hours = Object.fromEntries(Object.entries(before).filter(([name]) => !isMinute(name)));
    expect(storedCells(directory)).toEqual(hours);
    expect(rowCount(directory, "seen")).toBeGreaterThan(0);
    later.close();

    const last = open(directory);
    last.maintain(lastMs + 2 * ANALYTICS_SETTINGS.hourRetentionMs, 1_000);
    for (const table of ["cells", "visitors", "seen", "open_orders"]) {
      expect(rowCount(directory, table)).toBe(0);
    }
    last.close();
  });

  test("forgets in one step what a busy second brings, and still bounds the customers", () => {
    const directory = makeDirectory();
    const today = Math.floor(Date.UTC(2026, 0, 31) / 86_400_000);
    const handle = openAnalyticsDatabase(directory);
    const remember = handle.prepare("INSERT INTO seen VALUES (?, ?)");
    const meet = handle.prepare("INSERT INTO customers VALUES (?, 1, ?)");
    handle.transaction(() => {
      for (let number = 0; number < 9_000; number++) {
        remember.run(today - 9, new Uint8Array(new Float64Array([number, number]).buffer));
      }
      for (let number = 0; number < 30; number++) meet.run(`customer-${number}`, today);
    })();
    handle.close(true);
    const view = open(directory, { customersMax: 10 });
    // Without any time to spend there is one step.
    view.maintain(today * 86_400_000, 0);
    // A thousand orders of four events each.
    expect(rowCount(directory, "seen")).toBeLessThanOrEqual(9_000 - 4_000);
    expect(rowCount(directory, "customers")).toBe(10);
    view.close();
  });

  test("keeps no more customers and open orders than allowed, the latest of them", () => {
    const directory = makeDirectory();
    const log = new LogWriter(1);
    for (let number = 0; number < 30; number++) {
      log.storedAtMs += 86_400_000;
      log.event({
        type: "order.created",
        orderId: `order-${number}`,
        customerId: `customer-${number}`,
        items: [{ productId: "p", quantity: 1, priceMinor: 5 }],
        totalMinor: 5,
        currency: "USD",
      });
    }
    const bounds = { customersMax: 10, openOrdersMax: 4, openOrderAgeMs: 40 * 86_400_000 };
    project(directory, log.entries, [30], bounds);
    const view = open(directory, bounds);
    view.maintain(log.storedAtMs, 1_000);
    expect(rowCount(directory, "customers")).toBe(10);
    expect(rowCount(directory, "open_orders")).toBe(4);
    for (const orderId of ["order-0", "order-29"]) {
      log.event({
        type: "payment.processed",
        orderId,
        status: "completed",
        amountMinor: 5,
        currency: "USD",
        gateway: "standard",
      });
    }
    view.apply(batchAt(log.entries, 30, 2));
    view.close();
    const names = Object.keys(storedCells(directory)).filter((name) => name.includes('"revenue"'));
    const segments = names.filter((name) => name.includes('"segment"') && name.includes('"hour"'));
    expect(segments.map((name) => String(JSON.parse(name)[5])).sort()).toEqual(["new", "unknown"]);
  });
});
