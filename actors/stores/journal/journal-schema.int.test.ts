/**
 * Data of older versions opens and is whole, or stays as it was. Data of newer ones is refused and
 * left alone.
 */

import { afterAll, expect, test } from "bun:test";

import { Database } from "bun:sqlite";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { TABLES } from "../unit-of-work.ts";
import {
  commitOne,
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
  START_MS,
  stockRow,
  tamper,
  unitOf,
} from "./journal.fixture.ts";
import { journalPath } from "./journal.ts";
import { prepareSchema } from "./journal-schema.ts";
import { writeVersion1 } from "./schema-v1.fixture.ts";

afterAll(removeDirectories);

const SLOTS = 4;
const DAY_MS = 86_400_000;

/** A version 1 directory with something in every table that version 1 had a use for. */
function makeVersion1(): string {
  const source = makeDirectory();
  const journal = openTestJournal(source, { tuning: { segmentRecords: 4 } });
  journal.registerGroup("readers", ["orders"], "earliest");
  const records = publish(journal, "orders", 1, 10);
  commitOne(
    journal,
    unitOf(
      {
        inbox: [{ group: "readers", messageId: idOf(7) }],
        rows: [orderRow("o", 0), stockRow("p", 0)],
        timersStarted: [{ id: "t", dueAtMs: 5, outgoing: outgoing("payments", 2, "late") }],
      },
      { acks: records.slice(0, 3).map((record) => refOf(record)) },
    ),
  );
  journal.close();
  const target = makeDirectory();
  writeVersion1(source, target);
  return target;
}

function metaOf(directory: string): Readonly<Record<string, string>> {
  const handle = new Database(journalPath(directory), { readonly: true });
  const rows = handle.prepare<{ name: string; value: string }, []>("SELECT * FROM meta").all();
  handle.close(true);
  return Object.fromEntries(rows.map(({ name, value }) => [name, value]));
}

/** Every table and index as SQLite keeps them, apart from how they were spelled. */
function shapeOf(directory: string): readonly string[] {
  const handle = new Database(journalPath(directory), { readonly: true });
  const rows = handle.prepare<{ sql: string | null }, []>("SELECT sql FROM sqlite_schema").all();
  handle.close(true);
  return rows
    .map(({ sql }) => (sql ?? "").replace(/\s+/g, " ").replace("IF NOT EXISTS ", ""))
    .toSorted();
}

test("data of version 1 opens, with everything in it, and has the tables of today", () => {
  const directory = makeVersion1();
  expect(metaOf(directory)).toEqual({ schema_version: "1", slots: "4" });
  const topics = ["orders", "payments", "behavior"];
  const journal = openTestJournal(directory, { topics });
  expect(journal.damage).toEqual([]);
  expect(journal.read("orders", 1, 0, 100, 1e6)).toHaveLength(10);
  expect(journal.positions("readers")[1]).toMatchObject({ position: 3, last: 10 });
  expect(journal.load("stock", ["p"])[0]).toMatchObject({ version: 1 });
  expect(journal.load("orders", ["o"])[0]).toMatchObject({ version: 1 });
  expect(journal.nextTimerDueMs()).toBe(5);
  expect(journal.commit([unitOf({ inbox: [{ group: "readers", messageId: idOf(7) }] })])).toEqual([
    { kind: "duplicate", messageIds: [idOf(7)] },
  ]);
  const data = new Uint8Array([1]);
  const rows = (["fraud", "notifications"] as const).map((table) => ({
    table,
    key: "k",
    expectedVersion: 0,
    data,
  }));
  commitOne(journal, unitOf({ rows, outgoing: [outgoing("behavior", 3)] }));
  journal.keepFeeds([{ name: "audit", topics }]);
  journal.close();

  expect(integrityOf(directory)).toBe("ok");
  const fresh = makeDirectory();
  openTestJournal(fresh, { topics }).close();
  expect(metaOf(directory)).toEqual(metaOf(fresh));
  expect(shapeOf(directory)).toEqual(shapeOf(fresh));
  const again = openTestJournal(directory, { topics });
  for (const table of TABLES) again.load(table, ["k"]);
  expect(again.load("fraud", ["k"])[0]).toMatchObject({ version: 1 });
  again.close();
});

test("version 1 with the tables of version 2, as builds between them left it, opens too", () => {
  const directory = makeDirectory();
  openTestJournal(directory).close();
  tamper(directory, "DROP INDEX fraud_written");
  tamper(directory, "ALTER TABLE fraud DROP COLUMN written_at");
  tamper(directory, "UPDATE meta SET value = '1' WHERE name = 'schema_version'");
  const journal = openTestJournal(directory);
  commitOne(journal, unitOf({ rows: [stockRow("p", 0)] }));
  journal.close();
  expect(metaOf(directory)["schema_version"]).toBe("3");
});

test("an upgrade that is cut off leaves version 1, which opens at the next start", () => {
  const directory = makeVersion1();
  const handle = new Database(journalPath(directory));
  // The last thing an upgrade does fails, when all its tables are made.
  handle.run("CREATE TRIGGER cut BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'cut off'); END");
  expect(() => prepareSchema(handle, SLOTS, START_MS)).toThrow("cut off");
  const names = handle.prepare<{ name: string }, []>(
    "SELECT name FROM sqlite_schema WHERE name = 'fraud'",
  );
  expect(names.all()).toEqual([]);
  handle.run("DROP TRIGGER cut");
  handle.close(true);
  expect(metaOf(directory)["schema_version"]).toBe("1");
  openTestJournal(directory).close();
  expect(metaOf(directory)["schema_version"]).toBe("3");
});

test("what version 2 knew of fraud is kept as if it had been written at the upgrade", async () => {
  const directory = makeDirectory();
  const environment = createVirtualEnvironment();
  const before = openTestJournal(directory, { environment });
  const data = new Uint8Array([7]);
  const profile = { table: "fraud", key: "card:c", expectedVersion: 0, data } as const;
  commitOne(before, unitOf({ rows: [profile] }));
  before.close();
  tamper(directory, "DROP INDEX fraud_written");
  tamper(directory, "ALTER TABLE fraud DROP COLUMN written_at");
  tamper(directory, "UPDATE meta SET value = '2' WHERE name = 'schema_version'");

  await environment.advance(10 * RETENTION.fraudAgeMs);
  const upgradedMs = environment.nowMs();
  const journal = openTestJournal(directory, { environment });
  expect(journal.damage).toEqual([]);
  const keptMs = upgradedMs + RETENTION.fraudAgeMs + DAY_MS;
  expect(journal.prune(keptMs, 100).fraudRows).toBe(0);
  expect(journal.load("fraud", ["card:c"])[0]).toMatchObject({ version: 1 });
  expect(journal.prune(keptMs + 1, 100).fraudRows).toBe(1);
  journal.close();
  const fresh = makeDirectory();
  openTestJournal(fresh).close();
  expect(shapeOf(directory)).toEqual(shapeOf(fresh));
  expect(integrityOf(directory)).toBe("ok");
});

test("a version that is newer, or none, is refused and nothing is changed", () => {
  for (const version of ["4", "99", "0", "-1", "1.5", "two", ""]) {
    const directory = makeDirectory();
    openTestJournal(directory).close();
    tamper(directory, `UPDATE meta SET value = '${version}' WHERE name = 'schema_version'`);
    expect(() => openTestJournal(directory)).toThrow(`schema version ${version}`);
    expect(metaOf(directory)["schema_version"]).toBe(version);
  }
});

test("another number of slots is refused before an upgrade is made", () => {
  const directory = makeVersion1();
  expect(() => openTestJournal(directory, { slots: 8 })).toThrow("it is 4, not 8");
  expect(metaOf(directory)["schema_version"]).toBe("1");
});
