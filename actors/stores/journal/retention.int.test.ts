/** Retention: what is old and settled goes, bit by bit; what somebody still needs stays. */

import { afterAll, expect, test } from "bun:test";

import type { Journal, LogRecord } from "./journal-types.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import {
  commitOne,
  committed,
  idOf,
  integrityOf,
  makeDirectory,
  openTestJournal,
  orderRow,
  outgoing,
  publish,
  refOf,
  removeDirectories,
  RETENTION,
  SLOTS,
  START_MS,
  unitOf,
} from "./journal.fixture.ts";

afterAll(removeDirectories);

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const LATER_MS = START_MS + HOUR_MS;
const tuning = { segmentRecords: 10 };

/** Publishes to all partitions of `orders` in turn, five records a transaction. */
function fill(journal: Journal, count: number): LogRecord[] {
  const records: LogRecord[] = [];
  for (let from = 0; from < count; from += 5) {
    const units = Array.from({ length: Math.min(5, count - from) }, (_, index) =>
      unitOf({ outgoing: [outgoing("orders", (from + index) % SLOTS, `record-${from + index}`)] }),
    );
    for (const outcome of journal.commit(units)) records.push(...committed(outcome).appended);
  }
  return records;
}

function ack(journal: Journal, records: readonly LogRecord[], group = "readers"): void {
  commitOne(journal, unitOf({}, { acks: records.map((record) => refOf(record, group)) }));
}

function kept(journal: Journal): number[][] {
  return Array.from({ length: SLOTS }, (_, partition) =>
    journal.read("orders", partition, 0, 1_000, 1e9).map(({ sequence }) => sequence),
  );
}

test("only what every group has settled goes, and sequences go on after a restart", () => {
  const directory = makeDirectory();
  let journal = openTestJournal(directory, { tuning });
  journal.registerGroup("readers", ["orders"], "earliest");
  journal.registerGroup("slow", ["orders"], "earliest");
  const records = fill(journal, 40);
  ack(journal, records);
  expect(journal.prune(LATER_MS, 1_000).logRecords).toBe(0);
  // The slow group leaves sequence 3 of partition 1 open: 1 and 2 go, and 3 to 10 stay.
  ack(
    journal,
    records.filter(({ partition, sequence }) => partition !== 1 || sequence !== 3),
    "slow",
  );
  expect(journal.prune(LATER_MS, 1_000)).toMatchObject({ logRecords: 32, done: true });
  expect(kept(journal)).toEqual([[], [3, 4, 5, 6, 7, 8, 9, 10], [], []]);
  expect(journal.stats().logRecords).toBe(8);
  journal.close();

  journal = openTestJournal(directory, { tuning });
  expect(kept(journal)).toEqual([[], [3, 4, 5, 6, 7, 8, 9, 10], [], []]);
  expect(journal.stats().logRecords).toBe(8);
  ack(
    journal,
    records.filter(({ partition }) => partition === 1),
    "slow",
  );
  expect(journal.prune(LATER_MS, 1_000).logRecords).toBe(8);
  expect(journal.stats()).toMatchObject({ logRecords: 0, logBytes: 0 });
  expect(fill(journal, 4).map(({ sequence }) => sequence)).toEqual([11, 11, 11, 11]);
  journal.close();

  journal = openTestJournal(directory, { tuning });
  expect(kept(journal)).toEqual([[11], [11], [11], [11]]);
  journal.close();
  expect(integrityOf(directory)).toBe("ok");
});

test("nothing goes before its age, and everything settled after it, tail included", () => {
  const environment = createVirtualEnvironment();
  const journal = openTestJournal(makeDirectory(), { tuning, environment });
  fill(journal, 25);
  expect(journal.prune(START_MS + RETENTION.logAgeMs - 1, 1_000).logRecords).toBe(0);
  // Nobody reads the topic, so nothing has to be settled.
  expect(journal.prune(START_MS + RETENTION.logAgeMs, 1_000).logRecords).toBe(25);
  expect(kept(journal)).toEqual([[], [], [], []]);
  journal.close();
});

test("a step removes at most its budget of log records, and steps together remove all", () => {
  const journal = openTestJournal(makeDirectory(), { tuning });
  fill(journal, 50);
  const removed: number[] = [];
  for (;;) {
    const { logRecords, done } = journal.prune(LATER_MS, 7);
    if (logRecords > 0) removed.push(logRecords);
    expect(kept(journal).flat()).toHaveLength(50 - removed.reduce((sum, one) => sum + one, 0));
    if (done) break;
  }
  expect(removed).toEqual([7, 7, 7, 7, 7, 7, 7, 1]);
  journal.close();
});

test("pruning at any point and restarting never loses an unsettled record", () => {
  const directory = makeDirectory();
  let journal = openTestJournal(directory, { tuning });
  journal.registerGroup("readers", ["orders"], "earliest");
  const open = new Set<LogRecord>();
  for (let round = 0; round < 12; round++) {
    for (const record of fill(journal, 9)) open.add(record);
    const done = [...open].filter((_, index) => (index * 7 + round) % 3 === 0);
    ack(journal, done);
    for (const record of done) open.delete(record);
    journal.prune(LATER_MS, 5 + round);
    if (round % 3 === 2) {
      journal.close();
      journal = openTestJournal(directory, { tuning });
    }
    for (const record of open) {
      const { topic, partition, sequence } = record;
      expect(journal.read(topic, partition, sequence - 1, 1, 1)).toEqual([record]);
    }
  }
  expect(journal.scrub(1_000)).toEqual([]);
  journal.close();
});

test("at its size the log makes room by itself, whatever the age of what is settled", () => {
  const retention = { ...RETENTION, logBytesMax: 5_000 };
  const journal = openTestJournal(makeDirectory(), { tuning, retention });
  journal.registerGroup("readers", ["orders"], "earliest");
  for (let round = 0; round < 20; round++) ack(journal, fill(journal, 10));
  expect(journal.stats().logBytes).toBeLessThanOrEqual(5_000);
  expect(journal.stats().logRecords).toBeGreaterThan(10);
  journal.close();
});

test("a full log refuses publishes by naming who lags, takes results, and heals", () => {
  const retention = { ...RETENTION, logBytesMax: 2_000 };
  const journal = openTestJournal(makeDirectory(), { tuning, retention });
  journal.registerGroup("readers", ["orders"], "earliest");
  const publishOne = unitOf({ outgoing: [outgoing("orders", 1, "x".repeat(100))] });
  const records: LogRecord[] = [];
  for (;;) {
    const [outcome] = journal.commit([publishOne]);
    if (outcome?.kind !== "committed") {
      const error = { code: "STORAGE_FULL", retry: "later" };
      expect(outcome).toMatchObject({ kind: "refused", error });
      const message = outcome?.kind === "refused" ? outcome.error.message : "";
      expect(message).toContain(`group readers is ${records.length} records behind in orders/1`);
      break;
    }
    records.push(...outcome.appended);
    expect(records.length).toBeLessThan(100);
  }
  expect(journal.stats().logBytes).toBeLessThanOrEqual(2_000);
  // Units without frames are not concerned, and a consumer may publish what came of a delivery.
  commitOne(journal, unitOf({ rows: [orderRow("o", 0)] }));
  const acks = records.slice(0, 1).map((record) => refOf(record));
  const result = unitOf({ outgoing: [outgoing("payments", 1)] }, { acks });
  commitOne(journal, result);
  ack(journal, records.slice(1));
  commitOne(journal, publishOne);
  journal.close();
});

test("in one batch frames are taken until the log is full, and a later small one may fit", () => {
  const retention = { ...RETENTION, logBytesMax: 1_000 };
  const journal = openTestJournal(makeDirectory(), { retention });
  const frame = (bytes: number) => unitOf({ outgoing: [outgoing("orders", 1, "x".repeat(bytes))] });
  const kinds = journal.commit([frame(300), frame(600), frame(200)]).map(({ kind }) => kind);
  expect(kinds).toEqual(["committed", "refused", "committed"]);
  journal.close();
});

test("marks and idempotency rows are forgotten after their age and not before", async () => {
  const environment = createVirtualEnvironment();
  const journal = openTestJournal(makeDirectory(), { environment });
  const row = (key: string) => ({ ...orderRow(key, 0), table: "idempotency" as const });
  const unit = (number: number) => {
    const { columns: _, ...write } = row(`k${number}`);
    const inbox = [{ group: "payment", messageId: idOf(number) }];
    return unitOf({ inbox, rows: [write] });
  };
  commitOne(journal, unit(1));
  commitOne(journal, unit(2));
  await environment.advance(30_000);
  commitOne(journal, unit(3));
  expect(journal.prune(START_MS + 60_000, 100)).toMatchObject({
    inboxMarks: 0,
    idempotencyRows: 0,
  });
  expect(journal.prune(START_MS + 60_001, 100)).toMatchObject({
    inboxMarks: 2,
    idempotencyRows: 2,
  });
  expect(journal.stats().inboxMarks).toBe(1);
  expect(journal.load("idempotency", ["k1", "k2", "k3"])).toMatchObject([undefined, undefined, {}]);
  const marks = [1, 2, 3].map((number) => ({ group: "payment", messageId: idOf(number) }));
  expect(journal.commit([unitOf({ inbox: marks })])).toEqual([
    { kind: "duplicate", messageIds: [idOf(3)] },
  ]);
  commitOne(journal, unit(1));
  journal.close();
});

test("a row of the fraud check goes a day after its last write is older than its age", async () => {
  const environment = createVirtualEnvironment();
  const retention = { ...RETENTION, fraudAgeMs: 3 * DAY_MS };
  const journal = openTestJournal(makeDirectory(), { environment, retention });
  const write = (key: string, expectedVersion: number) =>
    ({ table: "fraud", key, expectedVersion, data: new Uint8Array([1]) }) as const;
  commitOne(journal, unitOf({ rows: [write("order:o", 0), write("card:c", 0)] }));
  commitOne(journal, unitOf({ rows: [write("card:c", 1)] }));
  await environment.advance(2 * DAY_MS);
  commitOne(journal, unitOf({ rows: [write("card:c", 2), write("customer:d", 0)] }));
  const firstDayMs = START_MS - (START_MS % DAY_MS);
  const goneMs = firstDayMs + 4 * DAY_MS;
  expect(goneMs).toBeGreaterThan(START_MS + retention.fraudAgeMs);
  expect(journal.prune(goneMs, 100).fraudRows).toBe(0);
  expect(journal.prune(goneMs + 1, 100).fraudRows).toBe(1);
  const keys = ["order:o", "card:c", "customer:d"];
  expect(journal.load("fraud", keys)).toMatchObject([undefined, { version: 3 }, { version: 1 }]);
  expect(journal.prune(goneMs + 2 * DAY_MS + 1, 1)).toMatchObject({ fraudRows: 1, done: false });
  expect(journal.prune(goneMs + 2 * DAY_MS + 1, 100)).toMatchObject({ fraudRows: 1, done: true });
  commitOne(journal, unitOf({ rows: [write("card:c", 0)] }));
  expect(journal.scrub(1_000)).toEqual([]);
  journal.close();
});

test("dead letters over the cap go, oldest first, and are counted for ever", () => {
  const directory = makeDirectory();
  const overrides = { retention: { ...RETENTION, deadLettersMax: 3 } };
  let journal = openTestJournal(directory, overrides);
  journal.registerGroup("readers", ["orders"], "earliest");
  const burial = { reason: "poison", attempts: 1, firstError: "e", lastError: "e" };
  const burials = publish(journal, "orders", 0, 8).map((record) => ({
    delivery: refOf(record),
    burial,
  }));
  commitOne(journal, unitOf({}, { burials }));
  expect(journal.prune(START_MS, 4).deadLetters).toBe(4);
  expect(journal.prune(START_MS, 4)).toMatchObject({ deadLetters: 1, done: true });
  journal.close();
  journal = openTestJournal(directory, overrides);
  expect(journal.deadLetters("orders", 0, 10).map(({ sequence }) => sequence)).toEqual([6, 7, 8]);
  expect(journal.stats()).toMatchObject({ deadLetters: 3, deadLettersDropped: 5 });
  journal.close();
});

test("a step with nothing to do writes nothing", () => {
  const journal = openTestJournal(makeDirectory());
  fill(journal, 3);
  const { batches, walFrames } = journal.stats();
  expect(journal.prune(START_MS, 100)).toEqual({
    logRecords: 0,
    inboxMarks: 0,
    idempotencyRows: 0,
    fraudRows: 0,
    deadLetters: 0,
    done: true,
  });
  expect(journal.stats()).toMatchObject({ batches, walFrames });
  journal.close();
});
