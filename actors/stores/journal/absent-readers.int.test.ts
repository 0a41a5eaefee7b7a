/**
 * A role that is switched off: what it has not read is kept while there is room, and then goes,
 * told, oldest first; a group that has members, or will have, never loses anything.
 */

import { afterAll, expect, test } from "bun:test";

import type { Journal, JournalOptions, LogRecord } from "./journal-types.ts";

import {
  commitOne,
  committed,
  integrityOf,
  makeDirectory,
  openTestJournal,
  outgoing,
  refOf,
  removeDirectories,
  RETENTION,
  START_MS,
  unitOf,
} from "./journal.fixture.ts";

afterAll(removeDirectories);

const LOG_BYTES_MAX = 20_000;
const RECORD_BYTES = 400;
const retention = { ...RETENTION, logBytesMax: LOG_BYTES_MAX };
const tuning = { segmentRecords: 5 };

/** Two groups know the topic; whether `mail` is read is up to `groups`. */
function openBoth(directory: string, groups?: readonly string[]) {
  const dropped: string[] = [];
  const overrides: Partial<JournalOptions> = { retention, tuning };
  const journal = openTestJournal(directory, {
    ...overrides,
    ...(groups === undefined ? {} : { groups }),
    onUnreadDropped: (group) => void dropped.push(group),
  });
  return { journal, dropped };
}

/** Publishes one record and has `order` settle it; false: the log is full. */
function publishOne(journal: Journal): LogRecord | undefined {
  const frame = outgoing("orders", 1, "x".repeat(RECORD_BYTES));
  const [outcome] = journal.commit([unitOf({ outgoing: [frame] })]);
  if (outcome?.kind !== "committed") return undefined;
  const [record] = committed(outcome).appended;
  if (record !== undefined) commitOne(journal, unitOf({}, { acks: [refOf(record, "order")] }));
  return record;
}

function fill(journal: Journal, count: number): number {
  let taken = 0;
  for (let at = 0; at < count; at++) if (publishOne(journal) !== undefined) taken++;
  return taken;
}

const positionOf = (journal: Journal, group: string) =>
  journal.positions(group).find(({ partition }) => partition === 1)?.position;

function prepare(): string {
  const directory = makeDirectory();
  const { journal } = openBoth(directory);
  journal.registerGroup("order", ["orders"], "earliest");
  journal.registerGroup("mail", ["orders"], "earliest");
  expect(fill(journal, 10)).toBe(10);
  journal.close();
  return directory;
}

test("a group that nobody runs is named with what is kept for it, one that is read is not", () => {
  const directory = prepare();
  let { journal } = openBoth(directory, ["order"]);
  expect(journal.logHolders().unattended).toEqual([{ group: "mail", records: 10 }]);
  journal.registerGroup("mail", ["orders"], "earliest");
  expect(journal.logHolders().unattended).toEqual([]);
  journal.close();
  ({ journal } = openBoth(directory, ["order", "mail"]));
  expect(journal.logHolders().unattended).toEqual([]);
  journal.close();
  ({ journal } = openBoth(directory));
  expect(journal.logHolders().unattended).toEqual([]);
  journal.close();
});

test("while there is room nothing of it goes, however old it is", () => {
  const { journal, dropped } = openBoth(prepare(), ["order"]);
  expect(journal.prune(START_MS * 2, 1_000).logRecords).toBe(0);
  expect(positionOf(journal, "mail")).toBe(0);
  expect(dropped).toEqual([]);
  journal.close();
});

test("a log over its size drops what it has not read, oldest first, and says whose it was", () => {
  const directory = prepare();
  const { journal, dropped } = openBoth(directory, ["order"]);
  expect(fill(journal, 200)).toBe(200);
  expect(new Set(dropped)).toEqual(new Set(["mail"]));
  expect(journal.stats().logBytes).toBeLessThanOrEqual(LOG_BYTES_MAX);
  const [first] = journal.read("orders", 1, 0, 1, 1);
  // What is gone counts as settled, so that it goes on with what is kept when it is back.
  expect(first?.sequence).toBe((positionOf(journal, "mail") ?? 0) + 1);
  expect(positionOf(journal, "order")).toBe(210);
  journal.close();
  const again = openBoth(directory, ["order", "mail"]);
  expect(again.journal.damage).toEqual([]);
  const kept = again.journal.read("orders", 1, positionOf(again.journal, "mail") ?? 0, 999, 1e9);
  expect(kept.map(({ sequence }) => sequence).at(-1)).toBe(210);
  again.journal.close();
  expect(integrityOf(directory)).toBe("ok");
});

test("what it had put off is forgotten with the record", () => {
  const directory = prepare();
  const postponement = { attempt: 2, notBeforeMs: START_MS, error: "later" };
  const { journal } = openBoth(directory, ["order"]);
  const [record] = journal.read("orders", 1, 0, 1, 1);
  expect(record).toBeDefined();
  if (record === undefined) return;
  const postponements = [{ delivery: refOf(record, "mail"), postponement }];
  commitOne(journal, unitOf({}, { postponements }));
  fill(journal, 100);
  expect(journal.positions("mail").flatMap(({ postponed }) => postponed)).toEqual([]);
  journal.close();
  const again = openBoth(directory);
  expect(again.journal.positions("mail").flatMap(({ postponed }) => postponed)).toEqual([]);
  again.journal.close();
});

test("a group that is to be read stops the log, whether it has a member yet or not", () => {
  for (const groups of [undefined, ["order", "mail"]]) {
    const { journal, dropped } = openBoth(prepare(), groups);
    expect(fill(journal, 200)).toBeLessThan(60);
    expect(positionOf(journal, "mail")).toBe(0);
    expect(dropped).toEqual([]);
    journal.close();
  }
});

test("a group that joins after all loses nothing from then on", () => {
  const { journal, dropped } = openBoth(prepare(), ["order"]);
  fill(journal, 100);
  journal.registerGroup("mail", ["orders"], "earliest");
  dropped.length = 0;
  const before = positionOf(journal, "mail");
  expect(fill(journal, 200)).toBeLessThan(60);
  expect(positionOf(journal, "mail")).toBe(before);
  expect(dropped).toEqual([]);
  journal.close();
});

test("a view that is behind keeps what it has not released, whoever else is absent", () => {
  const { journal } = openBoth(prepare(), ["order"]);
  journal.keepFeeds([{ name: "audit", topics: ["orders"] }]);
  expect(fill(journal, 200)).toBeLessThan(60);
  expect(journal.feedStanding("audit").records).toBeGreaterThan(10);
  journal.close();
});

test("who holds most of the log is named with about how much that is", () => {
  const { journal } = openBoth(prepare(), ["order", "mail"]);
  expect(journal.logHolders().largest).toBeUndefined();
  fill(journal, 20);
  const { largest } = journal.logHolders();
  expect(largest).toMatchObject({ group: "mail", records: 30 });
  expect(largest?.share).toBeCloseTo(journal.stats().logBytes / LOG_BYTES_MAX);
  journal.close();
});
