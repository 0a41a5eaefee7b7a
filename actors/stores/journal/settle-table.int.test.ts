/** Positions, postponements and burials: what a group has done is never asked of it again. */

import { afterAll, expect, test } from "bun:test";

import type { Journal, PartitionPosition } from "./journal-types.ts";

import {
  commitOne,
  idOf,
  frameOf,
  makeDirectory,
  openTestJournal,
  outgoing,
  publish,
  refOf,
  removeDirectories,
  START_MS,
  unitOf,
} from "./journal.fixture.ts";

afterAll(removeDirectories);

const at = (sequence: number, group = "readers") =>
  refOf({ topic: "orders", partition: 1, sequence }, group);
const burial = { reason: "poison", attempts: 5, firstError: "first", lastError: "last" };

function positionOf(journal: Journal, group = "readers"): PartitionPosition {
  const found = journal
    .positions(group)
    .find(({ topic, partition }) => topic === "orders" && partition === 1);
  if (found === undefined) throw new Error(`no position of ${group}`);
  return found;
}

test("acks out of order survive a restart; what was settled is a repeat, before and after", () => {
  const directory = makeDirectory();
  let journal = openTestJournal(directory);
  journal.registerGroup("readers", ["orders"], "earliest");
  publish(journal, "orders", 1, 8);
  const acks = (...sequences: number[]) => ({ acks: sequences.map((one) => at(one)) });
  expect(commitOne(journal, unitOf({}, acks(2, 5, 3, 2))).acks).toEqual([
    "settled",
    "settled",
    "settled",
    "repeat",
  ]);
  expect(positionOf(journal)).toMatchObject({ position: 0, settledAbove: [2, 3, 5], last: 8 });
  journal.close();

  journal = openTestJournal(directory);
  expect(positionOf(journal)).toMatchObject({ position: 0, settledAbove: [2, 3, 5], last: 8 });
  expect(commitOne(journal, unitOf({}, acks(5, 1))).acks).toEqual(["repeat", "settled"]);
  expect(positionOf(journal)).toMatchObject({ position: 3, settledAbove: [5] });
  journal.close();
});

test("acks of a unit that conflicts are not applied", () => {
  const journal = openTestJournal(makeDirectory());
  journal.registerGroup("readers", ["orders"], "earliest");
  publish(journal, "orders", 1, 1);
  const row = { table: "stock" as const, key: "p", expectedVersion: 3, data: new Uint8Array(0) };
  journal.commit([unitOf({ rows: [row] }, { acks: [at(1)] })]);
  expect(positionOf(journal).position).toBe(0);
  journal.close();
});

test("groups are independent; earliest starts at the first record, latest after the last", () => {
  const directory = makeDirectory();
  let journal = openTestJournal(directory);
  publish(journal, "orders", 1, 3);
  journal.registerGroup("old", ["orders"], "earliest");
  journal.registerGroup("new", ["orders"], "latest");
  commitOne(journal, unitOf({}, { acks: [at(1, "old")] }));
  publish(journal, "orders", 1, 1);
  // A group that is known keeps its position, whatever it says now.
  journal.registerGroup("old", ["orders", "payments"], "latest");
  journal.close();

  journal = openTestJournal(directory);
  expect(positionOf(journal, "old")).toMatchObject({ position: 1, last: 4 });
  expect(positionOf(journal, "new")).toMatchObject({ position: 3, last: 4 });
  expect(journal.positions("old")).toHaveLength(8);
  expect(journal.positions("nobody")).toEqual([]);
  journal.close();
});

test("a group is refused a topic that is not declared, and none of its topics stays", () => {
  const journal = openTestJournal(makeDirectory());
  expect(() => journal.registerGroup("readers", ["orders", "nowhere"], "earliest")).toThrow(
    expect.objectContaining({ code: "UNKNOWN_TOPIC" }),
  );
  expect(journal.positions("readers")).toEqual([]);
  journal.close();
});

test("a forgotten group is gone, positions and postponements, also after a restart", () => {
  const directory = makeDirectory();
  let journal = openTestJournal(directory);
  journal.registerGroup("readers", ["orders"], "earliest");
  publish(journal, "orders", 1, 2);
  const postponement = { attempt: 2, notBeforeMs: 99, error: "e" };
  commitOne(
    journal,
    unitOf({}, { acks: [at(1)], postponements: [{ delivery: at(2), postponement }] }),
  );
  journal.forgetGroup("readers");
  journal.forgetGroup("readers");
  expect(journal.positions("readers")).toEqual([]);
  journal.close();
  journal = openTestJournal(directory);
  expect(journal.positions("readers")).toEqual([]);
  journal.registerGroup("readers", ["orders"], "earliest");
  expect(positionOf(journal)).toMatchObject({ position: 0, postponed: [] });
  journal.close();
});

test("a postponement keeps attempt, time and errors over a restart, until it is settled", () => {
  const directory = makeDirectory();
  let journal = openTestJournal(directory);
  journal.registerGroup("readers", ["orders"], "earliest");
  publish(journal, "orders", 1, 3);
  const postpone = (sequence: number, attempt: number, error: string) =>
    commitOne(
      journal,
      unitOf(
        {},
        {
          postponements: [
            { delivery: at(sequence), postponement: { attempt, notBeforeMs: attempt * 10, error } },
          ],
        },
      ),
    ).postponements;
  expect(postpone(3, 2, "other")).toEqual(["settled"]);
  expect(postpone(2, 2, "first")).toEqual(["settled"]);
  expect(postpone(2, 3, "second".padEnd(10_000, "!"))).toEqual(["settled"]);
  journal.close();

  journal = openTestJournal(directory);
  const [second, third] = positionOf(journal).postponed;
  expect(second).toMatchObject({ sequence: 2, attempt: 3, notBeforeMs: 30, firstError: "first" });
  expect(second?.lastError).toStartWith("second!");
  expect(second?.lastError.length).toBe(4_096);
  expect(third).toMatchObject({ sequence: 3, attempt: 2, firstError: "other" });
  commitOne(journal, unitOf({}, { acks: [at(2)] }));
  expect(postpone(2, 4, "late")).toEqual(["repeat"]);
  journal.close();

  journal = openTestJournal(directory);
  expect(positionOf(journal).postponed.map(({ sequence }) => sequence)).toEqual([3]);
  journal.close();
});

test("a burial settles the delivery and keeps the frame with everything known about it", () => {
  const directory = makeDirectory();
  let journal = openTestJournal(directory);
  journal.registerGroup("readers", ["orders"], "earliest");
  publish(journal, "orders", 1, 1, "poison");
  const bad = new Uint8Array(12).fill(9);
  bad.set([1, 0], 8);
  commitOne(journal, unitOf({ outgoing: [{ topic: "orders", frame: bad }] }));
  const burials = [1, 2, 1].map((sequence) => ({ delivery: at(sequence), burial }));
  expect(commitOne(journal, unitOf({}, { burials })).burials).toEqual([
    "settled",
    "settled",
    "repeat",
  ]);
  journal.close();

  journal = openTestJournal(directory);
  expect(positionOf(journal).position).toBe(2);
  const [first, second, ...more] = journal.deadLetters("orders", 0, 10);
  expect(first).toMatchObject({
    group: "readers",
    topic: "orders",
    partition: 1,
    sequence: 1,
    bytes: frameOf(1, "poison-0"),
    burial,
    buriedAtMs: START_MS,
    key: "key-1",
    headers: { origin: "test" },
    frameTimeMs: START_MS,
  });
  expect(second).toMatchObject({ sequence: 2, bytes: bad });
  expect(second).not.toHaveProperty("key");
  expect(more).toEqual([]);
  const after = journal.deadLetters("orders", first?.id ?? 0, 10);
  expect(after.map(({ id }) => id)).toEqual([second?.id ?? 0]);
  expect(journal.deadLetters("payments", 0, 10)).toEqual([]);
  journal.close();
});

test("a burial in a unit that fails leaves the delivery open and no dead letter", () => {
  const journal = openTestJournal(makeDirectory());
  journal.registerGroup("readers", ["orders"], "earliest");
  publish(journal, "orders", 1, 1);
  const row = { table: "stock" as const, key: "p", expectedVersion: 3, data: new Uint8Array(0) };
  journal.commit([unitOf({ rows: [row] }, { burials: [{ delivery: at(1), burial }] })]);
  expect(positionOf(journal).position).toBe(0);
  expect(journal.deadLetters("orders", 0, 10)).toEqual([]);
  journal.close();
});

test("a redrive removes the dead letter and publishes its frame in one transaction", () => {
  const journal = openTestJournal(makeDirectory());
  journal.registerGroup("readers", ["orders"], "earliest");
  publish(journal, "orders", 1, 1);
  commitOne(journal, unitOf({}, { burials: [{ delivery: at(1), burial }] }));
  const [letter] = journal.deadLetters("orders", 0, 1);
  const id = letter?.id ?? 0;
  const deadLettersRemoved = [id];
  journal.commit([unitOf({ outgoing: [outgoing("nowhere", 1)], deadLettersRemoved })]);
  expect(journal.stats().deadLetters).toBe(1);
  const frame = letter?.bytes ?? new Uint8Array(0);
  const redrive = unitOf({ outgoing: [{ topic: "orders", frame }], deadLettersRemoved });
  expect(commitOne(journal, redrive).appended).toMatchObject([{ sequence: 2 }]);
  expect(journal.stats().deadLetters).toBe(0);
  journal.close();
});

test("of units in one batch that take out the same letter only the first does anything", () => {
  const journal = openTestJournal(makeDirectory());
  journal.registerGroup("readers", ["orders"], "earliest");
  publish(journal, "orders", 1, 2);
  for (const sequence of [1, 2]) {
    commitOne(journal, unitOf({}, { burials: [{ delivery: at(sequence), burial }] }));
  }
  const [first, second] = journal.deadLetters("orders", 0, 2).map(({ id }) => id);
  const take = (number: number, ...deadLettersRemoved: number[]) =>
    unitOf({
      inbox: [{ group: "readers", messageId: idOf(number) }],
      outgoing: [outgoing("payments", 0)],
      deadLettersRemoved,
    });
  const units = [take(1, first ?? 0), take(2, second ?? 0, first ?? 0), take(2, second ?? 0)];
  // The mark of the second unit is undone with it: the third has the same, and is no duplicate.
  const gone = { kind: "conflict", table: "dead_letters", key: String(first), version: 0 } as const;
  expect(journal.commit(units)).toMatchObject([{ kind: "committed" }, gone, { kind: "committed" }]);
  expect(journal.stats()).toMatchObject({ deadLetters: 0, inboxMarks: 2, logRecords: 4 });
  journal.close();
});
