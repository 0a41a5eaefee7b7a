/** Units of work: all of one or none of it, whatever its neighbours in the transaction do. */

import { afterAll, expect, test } from "bun:test";

import type { JournalUnit } from "./journal-types.ts";

import { EMPTY_UNIT } from "../unit-of-work.ts";
import {
  commitOne,
  committed,
  frameOf,
  idOf,
  makeDirectory,
  openTestJournal,
  orderRow,
  outgoing,
  publish,
  refOf,
  removeDirectories,
  stockRow,
  tamper,
  unitOf,
} from "./journal.fixture.ts";

afterAll(removeDirectories);

const mark = (number: number, group = "payment") => ({ group, messageId: idOf(number) });
const entry = (orderId: string, version: number) => ({
  orderId,
  version,
  type: "order.created",
  atMs: 5,
  data: Uint8Array.of(version),
});

test("a unit's rows, frames, marks and timeline are there after a restart", () => {
  const directory = makeDirectory();
  const first = openTestJournal(directory);
  const result = commitOne(
    first,
    unitOf({
      inbox: [mark(1)],
      rows: [orderRow("o1", 0)],
      timeline: [entry("o1", 1)],
      outgoing: [outgoing("orders", 2, "hello")],
    }),
  );
  expect(result.appended).toMatchObject([{ topic: "orders", partition: 2, sequence: 1 }]);
  first.close();

  const second = openTestJournal(directory);
  expect(second.load("orders", ["o1"])).toEqual([
    { key: "o1", version: 1, data: orderRow("o1", 0).data },
  ]);
  expect(second.read("orders", 2, 0, 10, 1e6)).toEqual([...result.appended]);
  const repeated = second.commit([unitOf({ inbox: [mark(1)], rows: [orderRow("o1", 1)] })]);
  expect(repeated).toEqual([{ kind: "duplicate", messageIds: [idOf(1)] }]);
  second.close();
});

test("a row is written only at the version it expects, and a conflict names the stored one", () => {
  const journal = openTestJournal(makeDirectory());
  for (const version of [0, 1, 2]) commitOne(journal, unitOf({ rows: [stockRow("p", version)] }));
  expect(journal.commit([unitOf({ rows: [stockRow("p", 0)] })])).toEqual([
    { kind: "conflict", table: "stock", key: "p", version: 3 },
  ]);
  expect(journal.commit([unitOf({ rows: [stockRow("p", 2)] })])).toMatchObject([{ version: 3 }]);
  expect(journal.commit([unitOf({ rows: [stockRow("q", 1)] })])).toMatchObject([{ version: 0 }]);
  expect(journal.load("stock", ["p", "q"])).toMatchObject([{ version: 3 }, undefined]);
  journal.close();
});

test.each([
  ["one row", [stockRow("fresh", 7)]],
  ["the second of two rows", [stockRow("fresh", 0), stockRow("old", 0)]],
])("a conflict in %s leaves no trace and does not disturb the neighbours", (_, rows) => {
  const journal = openTestJournal(makeDirectory());
  commitOne(journal, unitOf({ rows: [stockRow("old", 0)] }));
  const delivered = publish(journal, "payments", 0, 1)[0]!; // `!`: one was published
  journal.registerGroup("readers", ["payments"], "earliest");
  const failing: JournalUnit = unitOf(
    {
      inbox: [mark(1)],
      rows,
      timeline: [entry("fresh", 1)],
      outgoing: [outgoing("orders", 0, "lost")],
      timersStarted: [{ id: "t", dueAtMs: 1, outgoing: outgoing("orders", 0) }],
    },
    { acks: [refOf(delivered)] },
  );
  const neighbour = (number: number) =>
    unitOf({
      inbox: [mark(number)],
      rows: [stockRow(`n${number}`, 0)],
      outgoing: [outgoing("orders", 0, `kept-${number}`)],
    });
  const outcomes = journal.commit([neighbour(10), failing, neighbour(11)]);
  expect(outcomes.map(({ kind }) => kind)).toEqual(["committed", "conflict", "committed"]);
  expect(journal.read("orders", 0, 0, 9, 1e6).map(({ bytes }) => bytes)).toEqual([
    frameOf(0, "kept-10"),
    frameOf(0, "kept-11"),
  ]);
  expect(journal.load("stock", ["fresh", "n10", "n11"])).toMatchObject([undefined, {}, {}]);
  expect(journal.positions("readers")[0]).toMatchObject({ position: 0 });
  expect(journal.nextTimerDueMs()).toBeUndefined();
  // Neither the mark nor the timeline entry of the failed unit stayed.
  const again = unitOf({ inbox: [mark(1)], timeline: [entry("fresh", 1)] });
  expect(journal.commit([again])).toMatchObject([{ kind: "committed" }]);
  journal.close();
});

test("of many marks exactly those are named that were there, and the others are not made", () => {
  const journal = openTestJournal(makeDirectory());
  commitOne(journal, unitOf({ inbox: [mark(1), mark(3), mark(5, "inventory")] }));
  const unit = unitOf({ inbox: [mark(1), mark(2), mark(3), mark(5)], rows: [stockRow("p", 0)] });
  expect(journal.commit([unit])).toEqual([{ kind: "duplicate", messageIds: [idOf(1), idOf(3)] }]);
  expect(journal.load("stock", ["p"])).toEqual([undefined]);
  commitOne(journal, unitOf({ inbox: [mark(2), mark(5)] }));
  expect(journal.stats().inboxMarks).toBe(5);
  journal.close();
});

test("later units of a batch see the rows and marks of earlier ones", () => {
  const journal = openTestJournal(makeDirectory());
  const outcomes = journal.commit([
    unitOf({ inbox: [mark(1)], rows: [stockRow("p", 0)] }),
    unitOf({ inbox: [mark(1)], rows: [stockRow("p", 1)] }),
    unitOf({ inbox: [mark(2)], rows: [stockRow("p", 1)] }),
    unitOf({ inbox: [mark(3)], rows: [stockRow("p", 1)] }),
  ]);
  expect(outcomes.map(({ kind }) => kind)).toEqual([
    "committed",
    "duplicate",
    "committed",
    "conflict",
  ]);
  expect(journal.load("stock", ["p"])).toMatchObject([{ version: 2 }]);
  journal.close();
});

test("one unit may write a row twice, one version after the other", () => {
  const journal = openTestJournal(makeDirectory());
  commitOne(journal, unitOf({ rows: [stockRow("p", 0, "a"), stockRow("p", 1, "b")] }));
  expect(journal.load("stock", ["p"])).toMatchObject([{ version: 2 }]);
  journal.close();
});

test("a timeline entry that is there already is a conflict of its order", () => {
  const journal = openTestJournal(makeDirectory());
  commitOne(journal, unitOf({ timeline: [entry("o", 1), entry("o", 2)] }));
  const outcomes = journal.commit([
    unitOf({ rows: [orderRow("o", 0)], timeline: [entry("o", 2)] }),
  ]);
  expect(outcomes).toEqual([{ kind: "conflict", table: "orders", key: "o", version: 2 }]);
  expect(journal.load("orders", ["o"])).toEqual([undefined]);
  journal.close();
});

test("an order's columns follow each write, whichever of them change", () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  commitOne(journal, unitOf({ rows: [orderRow("o", 0)] }));
  commitOne(journal, unitOf({ rows: [orderRow("o", 1)] }));
  commitOne(journal, unitOf({ rows: [orderRow("o", 2, { status: "shipped" })] }));
  commitOne(journal, unitOf({ rows: [orderRow("o", 3, { customerId: "b", createdAtMs: 9 })] }));
  expect(journal.load("orders", ["o"])).toMatchObject([{ version: 4 }]);
  journal.close();
  // The last statement throws unless exactly one row has the last columns.
  tamper(
    directory,
    "CREATE TABLE found AS SELECT * FROM orders WHERE customer_id = 'b' AND created_at = 9",
    "CREATE TABLE one (id INTEGER PRIMARY KEY CHECK (id = 1))",
    "INSERT INTO one SELECT count(*) FROM found",
  );
});

test.each([
  ["an unknown topic", { outgoing: [outgoing("nowhere", 0)] }, "UNKNOWN_TOPIC"],
  ["a slot out of range", { outgoing: [outgoing("orders", 4)] }, "BAD_FRAME"],
  [
    "bytes without a slot",
    { outgoing: [{ topic: "orders", frame: new Uint8Array(9) }] },
    "BAD_FRAME",
  ],
  [
    "a timer to nowhere",
    { timersStarted: [{ id: "t", dueAtMs: 1, outgoing: outgoing("nowhere", 0) }] },
    "UNKNOWN_TOPIC",
  ],
  [
    "a timer due at no time",
    { timersStarted: [{ id: "t", dueAtMs: Number.NaN, outgoing: outgoing("orders", 0) }] },
    "BAD_MESSAGE",
  ],
  ["a message id that is no UUID", { inbox: [{ group: "g", messageId: "p1-7" }] }, "BAD_MESSAGE"],
  ["a key that SQLite would change", { rows: [stockRow("\ud800", 0)] }, "BAD_MESSAGE"],
  ["an empty key", { rows: [stockRow("", 0)] }, "BAD_MESSAGE"],
  ["a negative version", { rows: [stockRow("p", -1)] }, "BAD_MESSAGE"],
  [
    "columns where there are none",
    { rows: [{ ...orderRow("p", 0), table: "stock" as const }] },
    "BAD_MESSAGE",
  ],
  [
    "an order without its columns",
    { rows: [{ ...stockRow("p", 0), table: "orders" as const }] },
    "BAD_MESSAGE",
  ],
  ["a timeline from version 0", { timeline: [entry("o", 0)] }, "BAD_MESSAGE"],
  ["a dead letter taken twice", { deadLettersRemoved: [7, 7] }, "BAD_MESSAGE"],
  ["a dead letter without a number", { deadLettersRemoved: [0] }, "BAD_MESSAGE"],
])("%s makes the unit refused and nothing else", (_, parts, code) => {
  const journal = openTestJournal(makeDirectory());
  const bad = unitOf({ rows: [stockRow("bad", 0)], ...parts });
  const outcomes = journal.commit([unitOf({ rows: [stockRow("good", 0)] }), bad]);
  expect(outcomes).toMatchObject([{ kind: "committed" }, { kind: "refused", error: { code } }]);
  expect(journal.load("stock", ["good", "bad", "p"])).toMatchObject([{}, undefined, undefined]);
  expect(journal.stats().logRecords).toBe(0);
  journal.close();
});

test("deliveries that the journal cannot know are stale, and their unit is refused", () => {
  const journal = openTestJournal(makeDirectory());
  const [record] = publish(journal, "orders", 0, 1);
  journal.registerGroup("readers", ["orders"], "earliest");
  const ref = refOf(record!); // `!`: one was published
  const postponement = { attempt: 2, notBeforeMs: 9, error: "e" };
  const burial = { reason: "poison", attempts: 1, firstError: "e", lastError: "e" };
  const wrong = [
    { ...ref, group: "strangers" },
    { ...ref, topic: "payments" },
    { ...ref, partition: 4 },
    { ...ref, partition: -1 },
    { ...ref, sequence: 2 },
    { ...ref, sequence: 0 },
  ];
  for (const delivery of wrong) {
    const units = [
      unitOf({ rows: [stockRow("p", 0)] }, { acks: [delivery] }),
      unitOf({}, { postponements: [{ delivery, postponement }] }),
      unitOf({}, { burials: [{ delivery, burial }] }),
    ];
    for (const outcome of journal.commit(units)) {
      expect(outcome).toMatchObject({ kind: "refused", error: { code: "STALE" } });
    }
  }
  expect(journal.load("stock", ["p"])).toEqual([undefined]);
  journal.close();
});

test("bytes that are no frame are stored as they are if their slot can be read", () => {
  const journal = openTestJournal(makeDirectory());
  const frame = new Uint8Array(10).fill(255);
  frame.set([3, 0], 8);
  commitOne(journal, unitOf({ outgoing: [{ topic: "payments", frame }] }));
  expect(journal.read("payments", 3, 0, 1, 1)[0]?.bytes).toEqual(frame);
  journal.close();
});

test("frames in shared memory are stored by value", () => {
  const journal = openTestJournal(makeDirectory());
  const frame = frameOf(0, "shared");
  const shared = new Uint8Array(new SharedArrayBuffer(frame.length));
  shared.set(frame);
  commitOne(journal, unitOf({ outgoing: [{ topic: "orders", frame: shared }] }));
  shared.fill(0);
  expect(journal.read("orders", 0, 0, 1, 1)[0]?.bytes).toEqual(frame);
  journal.close();
});

test("a batch of nothing but refusals, or of nothing, writes no transaction", () => {
  const journal = openTestJournal(makeDirectory());
  const { batches } = journal.stats();
  expect(journal.commit([])).toEqual([]);
  journal.commit([unitOf({ outgoing: [outgoing("nowhere", 0)] })]);
  expect(journal.stats().batches).toBe(batches);
  commitOne(journal, { unit: EMPTY_UNIT, acks: [] });
  expect(journal.stats().batches).toBe(batches + 1);
  journal.close();
});

test("many units share one transaction", () => {
  const journal = openTestJournal(makeDirectory());
  const { batches } = journal.stats();
  const units = Array.from({ length: 1_500 }, (_, index) =>
    unitOf({
      inbox: [mark(index)],
      rows: [orderRow(`o${index}`, 0)],
      timeline: [entry(`o${index}`, 1)],
      outgoing: [outgoing("orders", index % 4)],
    }),
  );
  for (const outcome of journal.commit(units)) committed(outcome);
  expect(journal.stats()).toMatchObject({ batches: batches + 1, logRecords: 1_500 });
  journal.close();
});

test("after close every call is refused as closed, and close itself may be repeated", () => {
  const journal = openTestJournal(makeDirectory());
  journal.close();
  journal.close();
  expect(() => journal.commit([unitOf({})])).toThrow(expect.objectContaining({ code: "CLOSED" }));
  expect(() => journal.stats()).toThrow(expect.objectContaining({ code: "CLOSED" }));
});
