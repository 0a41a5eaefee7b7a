/** Durable timers: each fires once, not early, and not at all when it was cancelled. */

import { afterAll, expect, test } from "bun:test";

import {
  commitOne,
  frameOf,
  makeDirectory,
  openTestJournal,
  outgoing,
  removeDirectories,
  RETENTION,
  stockRow,
  unitOf,
} from "./journal.fixture.ts";

afterAll(removeDirectories);

const timer = (id: string, dueAtMs: number, text = id) => ({
  id,
  dueAtMs,
  outgoing: outgoing("payments", 2, text),
});

test("a timer fires when it is due, exactly once, and its frame is in the log", () => {
  const directory = makeDirectory();
  let journal = openTestJournal(directory);
  expect(journal.nextTimerDueMs()).toBeUndefined();
  commitOne(journal, unitOf({ timersStarted: [timer("late", 500), timer("soon", 100)] }));
  journal.close();

  journal = openTestJournal(directory);
  expect(journal.nextTimerDueMs()).toBe(100);
  expect(journal.fireTimers(99, 10)).toEqual([]);
  const expected = {
    topic: "payments",
    partition: 2,
    sequence: 1,
    bytes: frameOf(2, "soon"),
  };
  expect(journal.fireTimers(100, 10)).toEqual([expected]);
  expect(journal.fireTimers(100, 10)).toEqual([]);
  expect(journal.nextTimerDueMs()).toBe(500);
  journal.close();

  journal = openTestJournal(directory);
  expect(journal.read("payments", 2, 0, 10, 1e6)).toEqual([expected]);
  expect(journal.nextTimerDueMs()).toBe(500);
  expect(journal.fireTimers(600, 10)).toMatchObject([{ sequence: 2 }]);
  expect(journal.nextTimerDueMs()).toBeUndefined();
  journal.close();
});

test("the same id replaces, sooner and later, and only the last frame fires", () => {
  const journal = openTestJournal(makeDirectory());
  commitOne(journal, unitOf({ timersStarted: [timer("t", 500, "first")] }));
  expect(journal.nextTimerDueMs()).toBe(500);
  commitOne(journal, unitOf({ timersStarted: [timer("t", 100, "second")] }));
  expect(journal.nextTimerDueMs()).toBe(100);
  commitOne(journal, unitOf({ timersStarted: [timer("t", 300, "third")] }));
  expect(journal.fireTimers(299, 10)).toEqual([]);
  expect(journal.nextTimerDueMs()).toBe(300);
  expect(journal.fireTimers(900, 10)).toMatchObject([{ bytes: frameOf(2, "third") }]);
  journal.close();
});

test("a cancelled timer never fires; cancelling before starting in one unit starts it", () => {
  const journal = openTestJournal(makeDirectory());
  commitOne(journal, unitOf({ timersStarted: [timer("a", 100), timer("b", 200)] }));
  commitOne(journal, unitOf({ timersCancelled: ["a", "never-started"] }));
  expect(journal.fireTimers(150, 10)).toEqual([]);
  expect(journal.nextTimerDueMs()).toBe(200);
  commitOne(journal, unitOf({ timersCancelled: ["b"], timersStarted: [timer("b", 300)] }));
  expect(journal.fireTimers(900, 10)).toMatchObject([{ bytes: frameOf(2, "b") }]);
  journal.close();
});

test("timers of a unit that fails are neither started nor cancelled", () => {
  const journal = openTestJournal(makeDirectory());
  commitOne(journal, unitOf({ timersStarted: [timer("a", 100)] }));
  journal.commit([
    unitOf({
      rows: [stockRow("p", 9)],
      timersStarted: [timer("b", 50)],
      timersCancelled: ["a"],
    }),
  ]);
  expect(journal.nextTimerDueMs()).toBe(100);
  expect(journal.fireTimers(900, 10)).toMatchObject([{ bytes: frameOf(2, "a") }]);
  journal.close();
});

test("many due timers fire in order of time, at most as many as asked for at once", () => {
  const journal = openTestJournal(makeDirectory());
  const timersStarted = Array.from({ length: 25 }, (_, index) => timer(`t${index}`, 1_000 - index));
  commitOne(journal, unitOf({ timersStarted }));
  const fired: string[] = [];
  for (let records = journal.fireTimers(1_000, 10); records.length > 0;) {
    expect(records.length).toBeLessThanOrEqual(10);
    fired.push(...records.map(({ bytes }) => new TextDecoder().decode(bytes.subarray(-4))));
    records = journal.fireTimers(1_000, 10);
  }
  const expected = timersStarted
    .toReversed()
    .map(({ outgoing: { frame } }) => new TextDecoder().decode(frame.subarray(-4)));
  expect(fired).toEqual(expected);
  journal.close();
});

test("when the log has no room left timers wait, and fire when it has", () => {
  const directory = makeDirectory();
  const small = { retention: { ...RETENTION, logBytesMax: 40 } };
  let journal = openTestJournal(directory, small);
  commitOne(journal, unitOf({ timersStarted: [timer("t", 100)] }));
  expect(() => journal.fireTimers(100, 10)).toThrow(
    expect.objectContaining({ code: "STORAGE_FULL", retry: "later" }),
  );
  expect(journal.read("payments", 2, 0, 10, 1e6)).toEqual([]);
  expect(journal.nextTimerDueMs()).toBe(100);
  journal.close();
  journal = openTestJournal(directory);
  expect(journal.fireTimers(100, 10)).toMatchObject([{ sequence: 1 }]);
  journal.close();
});
