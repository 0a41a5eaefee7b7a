/**
 * What the journal's thread can commit: log records alone, and whole units of an order's saga.
 *
 * A whole unit is one inbox mark, one order row with its three indexes, one timeline entry, one
 * frame and one acknowledgement: five rows. Every commit is fsynced, checkpoints are part of the
 * run, and every run counts what the log holds afterwards. The peers are the obvious schema, a log
 * keyed by partition and sequence, and bare rows as the floor. It measures one thread, no rings.
 */

import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { DeliveryRef } from "../actors/brokers/broker.ts";
import type { JournalUnit } from "../actors/stores/journal/journal-types.ts";
import type { BenchCase, Evidence } from "./harness.ts";

import { openJournal } from "../actors/stores/journal/journal.ts";
import { EMPTY_UNIT } from "../actors/stores/unit-of-work.ts";
import { encodeFrame } from "../runtime/frames/frame.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { runBench } from "./harness.ts";

const SLOTS = 64;
const TOPICS = ["orders", "payments", "inventory", "shipping"];
const GROUP = "bench";
const RECORDS = 20_000;
const UNITS = 6_000;
const ROWS_PER_UNIT = 5;
const PAYLOAD_BYTES = 200;
const CUSTOMERS = 5_000;
const YEAR_MS = 31_536_000_000;

const directory = mkdtempSync(join(tmpdir(), "shopstream-bench-"));
const journal = openJournal({
  directory,
  slots: SLOTS,
  topics: TOPICS,
  environment: systemEnvironment,
  retention: {
    logAgeMs: YEAR_MS,
    logBytesMax: 10_000_000_000,
    inboxAgeMs: YEAR_MS,
    idempotencyAgeMs: YEAR_MS,
    fraudAgeMs: YEAR_MS,
    deadLettersMax: 1_000,
  },
});
journal.registerGroup(GROUP, ["orders"], "earliest");
const payload = new Uint8Array(PAYLOAD_BYTES).fill(7);
const data = new Uint8Array(300).fill(9);

function frameOf(number: number): Uint8Array {
  const id = systemEnvironment.newId();
  const timeMs = systemEnvironment.nowMs();
  return encodeFrame({ type: 1, slot: (number * 31) % SLOTS, key: id, payload, id, timeMs });
}

const frames = Array.from({ length: 2_048 }, (_, index) => frameOf(index));

/** Commits `units` of them at a time and counts what came back as committed. */
function commitAll(units: number, batch: number, make: (number: number) => JournalUnit): Evidence {
  const before = journal.stats().logRecords;
  let checksum = 0;
  for (let from = 0; from < units; from += batch) {
    const made = Array.from({ length: batch }, (_, index) => make(from + index));
    for (const outcome of journal.commit(made)) {
      if (outcome.kind !== "committed") continue;
      for (const record of outcome.appended) {
        checksum += record.partition;
        delivered.push({ ...record, group: GROUP, epoch: 1 });
      }
    }
    journal.maintain();
  }
  return { count: journal.stats().logRecords - before, checksum };
}

const peers: Database[] = [];
/** Frames that are still to be acknowledged by a later unit. */
let delivered: DeliveryRef[] = [];

function append(batch: number): BenchCase {
  const expected = { count: RECORDS, checksum: 0 };
  for (let number = 0; number < RECORDS; number++) expected.checksum += slotAt(number);
  return {
    name: `journal: log records, ${batch} a commit`,
    operations: RECORDS,
    expected,
    run: () =>
      commitAll(RECORDS, batch, (number) => ({
        unit: { ...EMPTY_UNIT, outgoing: [{ topic: "payments", frame: frameAt(number) }] },
        acks: [],
      })),
  };
}

function wholeUnits(batch: number): BenchCase {
  const expected = { count: UNITS, checksum: 0 };
  for (let number = 0; number < UNITS; number++) expected.checksum += slotAt(number);
  return {
    name: `journal: whole units, ${batch} a commit`,
    operations: UNITS * ROWS_PER_UNIT,
    expected,
    run() {
      delivered = [];
      return commitAll(UNITS, batch, wholeUnit);
    },
  };
}

function wholeUnit(number: number): JournalUnit {
  const id = systemEnvironment.newId();
  const createdAtMs = systemEnvironment.nowMs();
  const customerId = `customer-${(number * 7_919) % CUSTOMERS}`;
  const columns = { customerId, status: "pending", createdAtMs };
  return {
    unit: {
      ...EMPTY_UNIT,
      inbox: [{ group: GROUP, messageId: id }],
      rows: [{ table: "orders", key: id, expectedVersion: 0, data, columns }],
      timeline: [{ orderId: id, version: 1, type: "order.created", atMs: createdAtMs, data }],
      outgoing: [{ topic: "orders", frame: frameAt(number) }],
    },
    acks: delivered.splice(0, 1),
  };
}

/** The least that SQLite can do: rows in transactions of the same size, and nothing around them. */
function bareRows(batch: number): BenchCase {
  return peer(
    `peer: bare SQLite rows, ${batch} a commit`,
    batch,
    "CREATE TABLE log (part INTEGER, sequence INTEGER, bytes BLOB)",
  );
}

/** The obvious schema: every commit writes to as many places of the file as it has partitions. */
function keyedLog(batch: number): BenchCase {
  return peer(
    `peer: log keyed by partition, ${batch} a commit`,
    batch,
    `CREATE TABLE log (part INTEGER, sequence INTEGER, bytes BLOB,
     PRIMARY KEY (part, sequence)) WITHOUT ROWID`,
  );
}

function peer(name: string, batch: number, ddl: string): BenchCase {
  const handle = new Database(join(directory, `peer-${peers.length}.db`));
  peers.push(handle);
  handle.run("PRAGMA journal_mode = WAL");
  handle.run("PRAGMA synchronous = FULL");
  handle.run("PRAGMA cache_size = -32768");
  handle.run(ddl);
  const insert = handle.prepare<unknown, [number, number, Uint8Array]>(
    "INSERT INTO log VALUES (?, ?, ?)",
  );
  const count = handle.prepare<{ count: number }, []>("SELECT count(*) AS count FROM log");
  const commit = handle.transaction((from: number) => {
    for (let number = from; number < from + batch; number++) {
      insert.run(slotAt(number), ++sequence, frameAt(number));
    }
  });
  let sequence = 0;
  return {
    name,
    operations: RECORDS,
    expected: { count: RECORDS, checksum: 0 },
    run() {
      const before = count.get()?.count ?? 0;
      for (let from = 0; from < RECORDS; from += batch) commit(from);
      return { count: (count.get()?.count ?? 0) - before, checksum: 0 };
    },
  };
}

function frameAt(number: number): Uint8Array {
  return frames[number % frames.length]!; // `!`: the index is below the length
}

function slotAt(number: number): number {
  return ((number % frames.length) * 31) % SLOTS;
}

try {
  await runBench(
    [append(100), bareRows(100), keyedLog(100), append(500), wholeUnits(100), wholeUnits(300)],
    {
      title: "Journal",
      unit: "row",
      runs: 5,
      notes: [
        "a whole unit is five rows and three index entries; its making is inside the timing",
        "log records and peers take frames made before",
      ],
    },
  );
} finally {
  journal.close();
  for (const handle of peers) handle.close();
  rmSync(directory, { recursive: true, force: true });
}
