/**
 * The journal engine alone, in one thread: frames appended and whole units committed, fsynced.
 *
 * Each batch is one transaction, as the journal's thread makes it. Beside it, in the same run,
 * the least that SQLite can do: bare rows in transactions of the same size. Nothing is read back
 * while the clock runs; the counts come from the journal's own log afterwards.
 */

import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { JournalUnit } from "../actors/stores/journal/journal-types.ts";
import type { BenchCase, Evidence } from "./harness.ts";

import { encodeValue } from "../actors/contracts/codec.ts";
import { openJournal } from "../actors/stores/journal/journal.ts";
import { EMPTY_UNIT } from "../actors/stores/unit-of-work.ts";
import { encodeFrame } from "../runtime/frames/frame.ts";
import { slotOf } from "../runtime/frames/murmur2.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { runBench } from "./harness.ts";

const SLOTS = 64;
const BATCH = 100;
const UNITS = 5_000;
const DAY_MS = 86_400_000;
const directory = mkdtempSync(join(tmpdir(), "shopstream-bench-"));
const payload = encodeValue({ orderId: "x".repeat(36), status: "completed", amountMinor: 4_200 });
const journal = openJournal({
  directory,
  slots: SLOTS,
  topics: ["orders"],
  environment: systemEnvironment,
  retention: {
    logAgeMs: DAY_MS,
    logBytesMax: 8 * 1024 ** 3,
    inboxAgeMs: DAY_MS,
    idempotencyAgeMs: DAY_MS,
    deadLettersMax: 1_000,
  },
});

function frameOf(key: string): Uint8Array {
  return encodeFrame({
    type: 1,
    slot: slotOf(key, SLOTS),
    key,
    payload,
    id: systemEnvironment.newId(),
    timeMs: systemEnvironment.nowMs(),
  });
}

/** A frame and nothing else: what publishing is. */
function appendUnit(): JournalUnit {
  const frame = frameOf(systemEnvironment.newId());
  return { unit: { ...EMPTY_UNIT, outgoing: [{ topic: "orders", frame }] }, acks: [] };
}

/** What one step of an order is: mark, row with indexed columns, timeline entry, frame. */
function orderUnit(): JournalUnit {
  const key = systemEnvironment.newId();
  const atMs = systemEnvironment.nowMs();
  const columns = { customerId: key, status: "pending", createdAtMs: atMs };
  return {
    unit: {
      ...EMPTY_UNIT,
      inbox: [{ group: "order", messageId: key }],
      rows: [{ table: "orders", key, expectedVersion: 0, data: payload, columns }],
      timeline: [{ orderId: key, version: 1, type: "order.created", atMs, data: payload }],
      outgoing: [{ topic: "orders", frame: frameOf(key) }],
    },
    acks: [],
  };
}

function commitAll(make: () => JournalUnit): Evidence {
  let committed = 0;
  let appended = 0;
  for (let done = 0; done < UNITS; done += BATCH) {
    const outcomes = journal.commit(Array.from({ length: BATCH }, make));
    for (const outcome of outcomes) {
      if (outcome.kind !== "committed") continue;
      committed++;
      appended += outcome.appended.length;
    }
    journal.maintain();
  }
  return { count: committed, checksum: appended };
}

const bare = new Database(join(directory, "bare.db"));
bare.run("PRAGMA journal_mode = WAL");
bare.run("PRAGMA synchronous = FULL");
bare.run("CREATE TABLE row (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)");
const insert = bare.prepare<unknown, [Uint8Array]>("INSERT INTO row (bytes) VALUES (?)");

function bareRows(): Evidence {
  let count = 0;
  for (let done = 0; done < UNITS; done += BATCH) {
    bare.transaction(() => {
      for (let row = 0; row < BATCH; row++) count += insert.run(frameOf("key")).changes;
    })();
  }
  return { count, checksum: count };
}

const expected: Evidence = { count: UNITS, checksum: UNITS };
const cases: readonly BenchCase[] = [
  { name: "bare SQLite row (floor)", operations: UNITS, expected, run: bareRows },
  { name: "journal append", operations: UNITS, expected, run: () => commitAll(appendUnit) },
  { name: "journal order unit", operations: UNITS, expected, run: () => commitAll(orderUnit) },
];
await runBench(cases, {
  title: `Journal, ${BATCH} units a transaction, synchronous=FULL`,
  unit: "unit",
  notes: ["an order unit is 4 rows and 3 index entries; frames are made inside the timing"],
});
journal.close();
bare.close();
rmSync(directory, { recursive: true });
