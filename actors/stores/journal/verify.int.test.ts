/**
 * What a disk can do to the data is found, named, and either stops the start or is set aside. The
 * data is changed behind the journal's back, by SQL and byte by byte.
 */

import { afterAll, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from "node:fs";

import type { Journal, JournalOptions } from "./journal-types.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import {
  commitOne,
  committed,
  makeDirectory,
  openTestJournal,
  orderRow,
  outgoing,
  publish,
  refOf,
  removeDirectories,
  stockRow,
  tamper,
  TOPICS,
  unitOf,
} from "./journal.fixture.ts";
import { journalPath } from "./journal.ts";

afterAll(removeDirectories);

const quarantine: Partial<JournalOptions> = { onDamage: "quarantine" };
const noBudget = { tuning: { verifyBudgetMs: 0 } };

/** Two partitions of `orders` with six records each: 1 and 2 settled, 3 to 6 not. */
function makeData(): string {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  journal.registerGroup("readers", ["orders"], "earliest");
  for (const slot of [0, 1]) {
    const [first, second] = publish(journal, "orders", slot, 6, "text");
    commitOne(journal, unitOf({}, { acks: [refOf(first!), refOf(second!)] })); // `!`: six were
  }
  commitOne(
    journal,
    unitOf({
      rows: [stockRow("p1", 0), stockRow("p2", 0), orderRow("o1", 0)],
      timeline: [{ orderId: "o1", version: 1, type: "t", atMs: 1, data: Uint8Array.of(1) }],
      timersStarted: [{ id: "timer", dueAtMs: 5, outgoing: outgoing("payments", 1, "timed") }],
    }),
  );
  journal.close();
  return directory;
}

/** The fixture's environment, but every look at the monotonic clock takes a millisecond. */
function tickingEnvironment() {
  let elapsedMs = 0;
  return { ...createVirtualEnvironment(), monotonicMs: () => elapsedMs++ };
}

function refusal(directory: string, overrides: Partial<JournalOptions> = {}): ShopError {
  let journal: Journal;
  try {
    journal = openTestJournal(directory, overrides);
  } catch (error) {
    if (error instanceof ShopError) return error;
    throw error;
  }
  journal.close();
  throw new Error("the journal opened");
}

const FLIP = "UPDATE log SET bytes = CAST(substr(bytes, 1, 90) || x'00' AS BLOB)";
const AT = "WHERE part = 1 AND sequence";

test("data that nothing happened to is verified and found good", () => {
  const directory = makeData();
  const journal = openTestJournal(directory);
  expect(journal.damage).toEqual([]);
  expect(journal.stats().scrubRounds).toBe(1);
  journal.close();
});

test.each([
  ["changed", `${FLIP} ${AT} = 4`, 4, "bad checksum"],
  ["missing", `DELETE FROM log ${AT} = 4`, 4, "missing"],
  ["the last and missing", `DELETE FROM log ${AT} = 6`, undefined, "newest of its partition"],
  ["moved to another partition", `UPDATE log SET part = 3 ${AT} = 4`, 4, "out of place"],
  ["given another number", `UPDATE log SET sequence = 9 ${AT} = 4`, 4, "out of place"],
])("a record that is %s is refused by name, and set aside under quarantine", (...row) => {
  const [, statement, sequence, reason] = row;
  const directory = makeData();
  tamper(directory, statement);
  const { code, message } = refusal(directory, noBudget);
  expect(code).toBe("DATA_DAMAGED");
  expect(message).toContain(reason);
  if (sequence !== undefined) expect(message).toContain("log orders/1/4");

  let journal = openTestJournal(directory, { ...quarantine, ...noBudget });
  expect(journal.damage).toHaveLength(1);
  const letters = journal.deadLetters("orders", 0, 10);
  if (sequence !== undefined) {
    expect(letters).toMatchObject([
      { group: "readers", partition: 1, sequence, burial: { reason: "damaged" } },
    ]);
    expect(journal.positions("readers")[1]).toMatchObject({ position: 2, settledAbove: [4] });
    expect(journal.read("orders", 1, 2, 1, 1)).toMatchObject([{ sequence: 3 }]);
  }
  // The other records are all there, and the partition goes on.
  expect(journal.read("orders", 0, 0, 10, 1e6)).toHaveLength(6);
  publish(journal, "orders", 1, 1);
  journal.close();
  // What was set aside is no reason to refuse again, however long one looks.
  journal = openTestJournal(directory);
  expect(journal.damage).toEqual([]);
  journal.close();
});

test("the bytes of a damaged record are kept as they are", () => {
  const directory = makeData();
  tamper(directory, `UPDATE log SET bytes = x'0102030405' ${AT} = 4`);
  const journal = openTestJournal(directory, quarantine);
  expect(journal.deadLetters("orders", 0, 1)[0]?.bytes).toEqual(Uint8Array.of(1, 2, 3, 4, 5));
  journal.close();
});

test("reading a damaged record throws by name and never skips it", () => {
  const directory = makeData();
  tamper(directory, `${FLIP} ${AT} = 2`);
  const journal = openTestJournal(directory, { ...quarantine, ...noBudget });
  expect(journal.read("orders", 1, 0, 1, 1)).toMatchObject([{ sequence: 1 }]);
  expect(() => journal.read("orders", 1, 0, 10, 1e6)).toThrow(
    expect.objectContaining({
      code: "DATA_DAMAGED",
      message: expect.stringContaining("orders/1/2"),
    }),
  );
  journal.close();
});

test("settled records, rows, timeline and dead letters are found by scrubbing, in slices", () => {
  const directory = makeData();
  tamper(
    directory,
    `${FLIP} ${AT} = 2`,
    "UPDATE stock SET data = x'00' WHERE key = 'p2'",
    "UPDATE orders SET customer_id = 'x' WHERE key = 'o1'",
    "UPDATE timeline SET type = 'x'",
    "INSERT INTO dead_letter VALUES (7, 'g', 'orders', 1, 1, 'r', 1, 'e', 'e', 1, 1, x'00')",
  );
  // A clock that stands still would give it all the time in the world.
  const environment = tickingEnvironment();
  const journal = openTestJournal(directory, { ...quarantine, environment, ...noBudget });
  const found = [...journal.damage];
  for (let slice = 0; journal.stats().scrubRounds === 0; slice++) {
    expect(slice).toBeLessThan(100);
    found.push(...journal.scrub(0));
  }
  expect(found).toEqual([
    { what: "log", topic: "orders", partition: 1, sequence: 2, reason: "bad checksum" },
    { what: "row", table: "orders", key: "o1", reason: "bad checksum" },
    { what: "row", table: "stock", key: "p2", reason: "bad checksum" },
    { what: "timeline", key: "o1", sequence: 1, reason: "bad checksum" },
    { what: "dead_letter", topic: "orders", key: "7", reason: "bad checksum" },
  ]);
  expect(() => journal.load("stock", ["p1", "p2"])).toThrow(
    expect.objectContaining({ message: "row p2 of table stock fails its checksum" }),
  );
  expect(() => journal.deadLetters("orders", 0, 10)).toThrow("dead letter 7");
  journal.close();
  expect(refusal(directory).message).toStartWith("5 damaged: ");
});

test("a position ahead of a log that lost its end does not settle what comes next", () => {
  const directory = makeDirectory();
  let journal = openTestJournal(directory);
  journal.registerGroup("readers", ["orders"], "earliest");
  const acks = publish(journal, "orders", 1, 4).map((record) => refOf(record));
  commitOne(journal, unitOf({}, { acks: [acks[0]!, acks[1]!, acks[3]!] })); // `!`: four were
  journal.close();
  tamper(directory, `DELETE FROM log ${AT} >= 2`);
  expect(refusal(directory).message).toContain("position orders/readers: ahead of the log");
  journal = openTestJournal(directory, quarantine);
  publish(journal, "orders", 1, 3);
  journal.close();
  journal = openTestJournal(directory);
  expect(journal.positions("readers")[1]).toMatchObject({
    position: 1,
    settledAbove: [],
    last: 4,
  });
  journal.close();
});

test("a damaged timer is refused, and under quarantine becomes a dead letter", () => {
  const directory = makeData();
  tamper(directory, "UPDATE timer SET due_at = 6");
  expect(refusal(directory, noBudget).message).toContain("timer timer: bad checksum");
  const journal = openTestJournal(directory, quarantine);
  expect(journal.nextTimerDueMs()).toBeUndefined();
  expect(journal.deadLetters("payments", 0, 9)).toMatchObject([{ group: "timer", sequence: 0 }]);
  journal.close();
});

test("damaged positions are refused, and under quarantine start again at the oldest record", () => {
  const directory = makeData();
  tamper(directory, "UPDATE position SET data = CAST(data || x'00' AS BLOB)");
  expect(refusal(directory, noBudget).message).toContain("position orders/readers");
  let journal = openTestJournal(directory, quarantine);
  expect(journal.positions("readers")[1]).toMatchObject({ position: 0, last: 6 });
  journal.close();
  journal = openTestJournal(directory);
  expect(journal.positions("readers")[1]).toMatchObject({ position: 0, last: 6 });
  journal.close();
});

test.each([
  ["a segment", "UPDATE log_segment SET parts = CAST(x'0200' || substr(parts, 3) AS BLOB)"],
  ["a lost segment", "DELETE FROM log_segment WHERE first_id = 5"],
  ["the base", "UPDATE log_base SET bytes = bytes + 1"],
  ["the state row", "UPDATE state SET last_id = last_id - 1"],
])("damage to %s stops the start under either policy", (_, statement) => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory, { tuning: { segmentRecords: 4 } });
  for (let round = 0; round < 3; round++) publish(journal, "orders", 1, 4);
  journal.prune(1_700_000_000_000 + 60_000, 5);
  journal.close();
  tamper(directory, statement);
  expect(refusal(directory)).toMatchObject({ code: "DATA_DAMAGED" });
  expect(refusal(directory, quarantine)).toMatchObject({ code: "DATA_DAMAGED" });
});

test("one flipped bit anywhere in a record's bytes in the file is found", () => {
  const directory = makeData();
  const path = journalPath(directory);
  const at = readFileSync(path).indexOf("text-3");
  expect(at).toBeGreaterThan(0);
  const file = openSync(path, "r+");
  const [byte = 0] = readFileSync(path).subarray(at, at + 1);
  writeSync(file, Uint8Array.of(byte ^ 0x10), 0, 1, at);
  closeSync(file);
  expect(refusal(directory).message).toMatch(/^1 damaged: log orders\/[01]\/4: bad checksum$/);
});

test("a file that is no database, or half of one, is reported as damaged", () => {
  const directory = makeData();
  writeFileSync(journalPath(directory), new Uint8Array(8_192).fill(7));
  expect(refusal(directory)).toMatchObject({ code: "DATA_DAMAGED", retry: "never" });

  const half = makeData();
  truncateSync(journalPath(half), 4_096 * 9);
  expect(refusal(half)).toMatchObject({ code: "DATA_DAMAGED", retry: "never" });
});

test("at most ten findings are named, and the rest counted", () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  for (const outcome of journal.commit(
    Array.from({ length: 14 }, (_, index) => unitOf({ rows: [stockRow(`p${index}`, 0)] })),
  )) {
    committed(outcome);
  }
  journal.close();
  tamper(directory, "UPDATE stock SET version = 9");
  const { message } = refusal(directory);
  expect(message).toStartWith("14 damaged: ");
  expect(message.split("; ")).toHaveLength(10);
});

test("another number of slots and a newer schema are refused; a new topic is not", () => {
  const directory = makeData();
  const slots = refusal(directory, { slots: 8 });
  expect(slots).toMatchObject({ code: "BAD_CONFIGURATION" });
  expect(slots.message).toContain("it is 4, not 8");
  const topics = Array.from({ length: 20_000 }, (_, index) => `t${index}`);
  expect(refusal(directory, { topics })).toMatchObject({ code: "BAD_CONFIGURATION" });

  const journal = openTestJournal(directory, { topics: ["shipping", ...TOPICS.slice(1)] });
  publish(journal, "shipping", 3, 1);
  // A topic that is no longer declared can be read, and takes nothing more.
  expect(journal.read("orders", 1, 0, 10, 1e6)).toHaveLength(6);
  expect(journal.commit([unitOf({ outgoing: [outgoing("orders", 1)] })])).toMatchObject([
    { kind: "refused", error: { code: "UNKNOWN_TOPIC" } },
  ]);
  journal.close();

  tamper(directory, "UPDATE meta SET value = '99' WHERE name = 'schema_version'");
  expect(refusal(directory).message).toContain("schema version 99; this is 3");
});
