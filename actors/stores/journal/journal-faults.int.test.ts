/** Input and output errors and full disks: what is refused, what is known, what heals. */

import { afterAll, describe, expect, test } from "bun:test";

import type { FaultPoint, Journal } from "./journal-types.ts";

import { assert } from "../../../runtime/errors.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import {
  commitOne,
  idOf,
  makeDirectory,
  openTestJournal,
  orderRow,
  outgoing,
  publish,
  refOf,
  removeDirectories,
  sqliteError,
  stockRow,
  unitOf,
} from "./journal.fixture.ts";

afterAll(removeDirectories);

/** Throws `code` at the next visits of `point`, `times` of them. */
function createFaults() {
  let armed: { point: FaultPoint; code: string; left: number } | undefined;
  return {
    arm(point: FaultPoint, code: string, times = 1): void {
      armed = { point, code, left: times };
    },
    faults(point: FaultPoint): void {
      if (armed === undefined || armed.point !== point || armed.left === 0) return;
      armed.left--;
      throw sqliteError(armed.code);
    },
  };
}

const twoUnits = [
  unitOf({ rows: [stockRow("a", 0)], outgoing: [outgoing("orders", 0, "a")] }),
  unitOf({ rows: [stockRow("b", 0)], outgoing: [outgoing("orders", 0, "b")] }),
];

function isStored(journal: Journal): readonly boolean[] {
  return journal.load("stock", ["a", "b"]).map((row) => row !== undefined);
}

test.each(["begin", "unit", "commit"] as const)(
  "an I/O error at %s refuses the whole batch, and the journal goes on after reopening",
  (point) => {
    const { arm, faults } = createFaults();
    const journal = openTestJournal(makeDirectory(), { faults });
    journal.registerGroup("readers", ["orders"], "earliest");
    publish(journal, "orders", 0, 1);
    arm(point, "SQLITE_IOERR_FSYNC");
    const error = { code: "STORAGE_FAULT", retry: "later" };
    expect(journal.commit(twoUnits)).toMatchObject([
      { kind: "refused", error },
      { kind: "refused", error },
    ]);
    expect(journal.stats().reopens).toBe(1);
    expect(isStored(journal)).toEqual([false, false]);
    const outcomes = journal.commit(twoUnits);
    expect(outcomes).toMatchObject([
      { kind: "committed", appended: [{ sequence: 2 }] },
      { kind: "committed", appended: [{ sequence: 3 }] },
    ]);
    expect(journal.positions("readers")[0]).toMatchObject({ position: 0, last: 3 });
    journal.close();
  },
);

test("an I/O error after the commit was written is answered with what the disk says", () => {
  const { arm, faults } = createFaults();
  const directory = makeDirectory();
  const journal = openTestJournal(directory, { faults });
  arm("committed", "SQLITE_IOERR_FSYNC");
  expect(journal.commit(twoUnits)).toMatchObject([
    { kind: "committed", appended: [{ sequence: 1 }] },
    { kind: "committed", appended: [{ sequence: 2 }] },
  ]);
  expect(journal.stats().reopens).toBe(1);
  expect(isStored(journal)).toEqual([true, true]);
  expect(publish(journal, "orders", 0, 1)).toMatchObject([{ sequence: 3 }]);
  journal.close();
});

test("timers that were moved although the commit failed are handed out once all the same", () => {
  const { arm, faults } = createFaults();
  const journal = openTestJournal(makeDirectory(), { faults });
  const timer = { id: "t", dueAtMs: 1, outgoing: outgoing("orders", 0) };
  commitOne(journal, unitOf({ timersStarted: [timer] }));
  arm("commit", "SQLITE_IOERR_WRITE");
  expect(() => journal.fireTimers(5, 9)).toThrow(
    expect.objectContaining({ code: "STORAGE_FAULT", retry: "later" }),
  );
  arm("committed", "SQLITE_IOERR_FSYNC");
  expect(journal.fireTimers(5, 9)).toMatchObject([{ sequence: 1 }]);
  expect(journal.fireTimers(5, 9)).toEqual([]);
  journal.close();
});

test("when reopening fails the units are refused until it succeeds", () => {
  const { arm, faults } = createFaults();
  let broken = false;
  const journal = openTestJournal(makeDirectory(), {
    faults(point) {
      if (broken && point === "open") throw sqliteError("SQLITE_CANTOPEN");
      faults(point);
    },
  });
  broken = true;
  arm("unit", "SQLITE_IOERR_READ");
  const refused = { kind: "refused", error: { code: "STORAGE_FAULT", retry: "later" } };
  expect(journal.commit(twoUnits)).toMatchObject([refused, refused]);
  expect(journal.commit(twoUnits)).toMatchObject([refused, refused]);
  expect(journal.nextTimerDueMs.bind(journal)).toThrow(
    expect.objectContaining({ code: "STORAGE_FAULT", retry: "never" }),
  );
  broken = false;
  expect(journal.commit(twoUnits)).toMatchObject([{ kind: "committed" }, { kind: "committed" }]);
  journal.close();
});

test("when it cannot be known whether a batch was committed, the journal gives up", () => {
  const { arm, faults } = createFaults();
  let broken = false;
  const directory = makeDirectory();
  const journal = openTestJournal(directory, {
    faults(point) {
      if (broken && point === "open") throw sqliteError("SQLITE_CANTOPEN");
      faults(point);
    },
  });
  broken = true;
  arm("committed", "SQLITE_IOERR_FSYNC");
  expect(() => journal.commit(twoUnits)).toThrow(
    expect.objectContaining({ code: "STORAGE_FAULT", retry: "never" }),
  );
  journal.close();
  const reopened = openTestJournal(directory);
  expect(isStored(reopened)).toEqual([true, true]);
  reopened.close();
});

test("nothing is acknowledged after a reopen before what it recovered is synced again", () => {
  const { arm, faults } = createFaults();
  const journal = openTestJournal(makeDirectory(), {
    faults(point) {
      // The first fault's reopen meets a second one in its checkpoint.
      if (point === "open") arm("checkpoint", "SQLITE_IOERR_FSYNC");
      faults(point);
    },
  });
  arm("unit", "SQLITE_IOERR_READ");
  expect(journal.commit(twoUnits)).toMatchObject([{ kind: "refused" }, { kind: "refused" }]);
  expect(journal.commit(twoUnits)).toMatchObject([{ kind: "refused" }, { kind: "refused" }]);
  journal.close();
});

test("a checkpoint that fails loses nothing and does not throw", () => {
  const { arm, faults } = createFaults();
  const tuning = { walFramesSoft: 1 };
  const journal = openTestJournal(makeDirectory(), { faults, tuning });
  commitOne(journal, twoUnits[0]!); // `!`: there are two
  for (const code of ["SQLITE_FULL", "SQLITE_BUSY", "SQLITE_IOERR_FSYNC"]) {
    arm("checkpoint", code);
    journal.maintain();
    expect(isStored(journal)).toEqual([true, false]);
  }
  expect(journal.stats()).toMatchObject({ reopens: 1, checkpoints: 0 });
  arm("checkpoint", "SQLITE_FULL", 0);
  commitOne(journal, twoUnits[1]!); // `!`: there are two
  journal.maintain();
  expect(journal.stats().checkpoints).toBe(1);
  journal.close();
});

test("a database that turns out to be corrupt ends the journal", () => {
  const { arm, faults } = createFaults();
  const journal = openTestJournal(makeDirectory(), { faults });
  arm("unit", "SQLITE_CORRUPT");
  expect(() => journal.commit(twoUnits)).toThrow(
    expect.objectContaining({ code: "DATA_DAMAGED", retry: "never" }),
  );
  journal.close();
});

test("another process that holds the database for too long costs a refusal, not the handle", () => {
  const { arm, faults } = createFaults();
  const journal = openTestJournal(makeDirectory(), { faults });
  arm("begin", "SQLITE_BUSY");
  expect(journal.commit(twoUnits)).toMatchObject([
    { kind: "refused", error: { code: "STORAGE_FAULT" } },
    { kind: "refused" },
  ]);
  expect(journal.stats().reopens).toBe(0);
  journal.close();
});

test("a full disk refuses what needs room and still takes acknowledgements", () => {
  const { arm, faults } = createFaults();
  const journal = openTestJournal(makeDirectory(), { faults });
  journal.registerGroup("readers", ["orders"], "earliest");
  const [record] = publish(journal, "orders", 0, 1);
  const ack = unitOf({}, { acks: [refOf(record!)] }); // `!`: one was published
  // Both attempts at the whole batch fail, the one of acknowledgements alone does not.
  arm("commit", "SQLITE_FULL", 2);
  const outcomes = journal.commit([twoUnits[0]!, ack, twoUnits[1]!]); // `!`: there are two
  expect(outcomes).toMatchObject([
    { kind: "refused", error: { code: "STORAGE_FULL", retry: "later" } },
    { kind: "committed", acks: ["settled"] },
    { kind: "refused", error: { code: "STORAGE_FULL" } },
  ]);
  expect(isStored(journal)).toEqual([false, false]);
  expect(journal.commit(twoUnits)).toMatchObject([{ kind: "committed" }, { kind: "committed" }]);
  expect(journal.stats().reopens).toBe(0);
  journal.close();
});

/** Everything the journal answers from memory, and some of what it reads. */
function snapshot(journal: Journal) {
  const { walFrames: _, databaseBytes: __, ...stats } = journal.stats();
  return {
    stats,
    positions: journal.positions("readers"),
    dueMs: journal.nextTimerDueMs(),
    letters: journal.deadLetters("orders", 0, 100),
    orders: journal.read("orders", 0, 0, 100, 1e9),
    rows: journal.load("stock", ["a", "b", "c"]),
  };
}

test("what a full disk rolled back is rolled back in memory too, and can be done later", () => {
  const { arm, faults } = createFaults();
  const directory = makeDirectory();
  const tuning = { segmentRecords: 3 };
  const journal = openTestJournal(directory, { faults, tuning });
  journal.registerGroup("readers", ["orders"], "earliest");
  const refs = publish(journal, "orders", 0, 7).map((record) => refOf(record));
  const [first, second, third, fourth] = refs;
  assert(first && second && third && fourth, "seven were published");
  const postpone = (attempt: number) => ({
    delivery: second,
    postponement: { attempt, notBeforeMs: 50, error: `error ${attempt}` },
  });
  const burial = { reason: "poison", attempts: 1, firstError: "e", lastError: "e" };
  commitOne(journal, unitOf({}, { postponements: [postpone(2)] }));
  const timersStarted = [{ id: "t", dueAtMs: 9, outgoing: outgoing("orders", 1) }];
  const everything = [
    unitOf(
      { inbox: [{ group: "new", messageId: idOf(1) }], rows: [stockRow("a", 0)], timersStarted },
      { acks: [first], postponements: [postpone(3)] },
    ),
    unitOf({ outgoing: Array.from({ length: 4 }, () => outgoing("orders", 0)) }),
    unitOf({}, { acks: [second], burials: [{ delivery: fourth, burial }] }),
  ];
  const before = snapshot(journal);
  arm("commit", "SQLITE_FULL", 3);
  for (const { kind } of journal.commit(everything)) expect(kind).toBe("refused");
  expect(snapshot(journal)).toEqual({ ...before, stats: { ...before.stats, checkpoints: 1 } });
  for (const { kind } of journal.commit(everything)) expect(kind).toBe("committed");

  const after = snapshot(journal);
  const laterMs = journal.deadLetters("orders", 0, 1)[0]?.buriedAtMs ?? 0;
  for (const step of [
    () => journal.prune(laterMs + 1e9, 100),
    () => journal.fireTimers(10, 9),
    () => journal.registerGroup("more", ["orders"], "latest"),
    () => journal.forgetGroup("readers"),
  ]) {
    arm("commit", "SQLITE_FULL");
    expect(step).toThrow(expect.objectContaining({ code: "STORAGE_FULL", retry: "later" }));
    expect(snapshot(journal)).toEqual(after);
    expect(journal.positions("more")).toEqual([]);
  }
  expect(journal.prune(laterMs + 1e9, 100)).toMatchObject({ logRecords: 2, inboxMarks: 1 });
  expect(journal.fireTimers(10, 9)).toHaveLength(1);
  const last = snapshot(journal);
  journal.close();

  const reopened = openTestJournal(directory, { tuning });
  const { stats } = snapshot(reopened);
  expect(snapshot(reopened)).toEqual({ ...last, stats });
  expect(stats).toMatchObject({ logRecords: last.stats.logRecords, batches: last.stats.batches });
  expect(reopened.scrub(1_000)).toEqual([]);
  reopened.close();
});

function mountSmall(directory: string, options: string): boolean {
  const mount = Bun.which("mount");
  if (mount === null || process.platform !== "linux") return false;
  const command = [mount, "-t", "tmpfs", "-o", options, "tmpfs", directory];
  return Bun.spawnSync(command).exitCode === 0;
}

const probe = makeDirectory();
const canMount = requireOrSkip(
  "small-disk",
  mountSmall(probe, "size=1m"),
  "a really full disk needs the right to mount a tmpfs",
);
if (canMount) Bun.spawnSync(["umount", "-l", probe]);

describe.skipIf(!canMount)("on a disk of two megabytes", () => {
  test("the journal fills it, refuses, settles, and heals without a reopen when it grows", () => {
    const directory = makeDirectory();
    expect(mountSmall(directory, "size=2m")).toBe(true);
    const journal = openTestJournal(directory);
    try {
      const stored = fillAndHeal(directory, journal);
      journal.close();
      const again = openTestJournal(directory);
      expect(again.positions("readers")[0]).toMatchObject({ position: 50, last: stored });
      again.close();
    } finally {
      // What is still open would keep the disk mounted.
      journal.close();
      Bun.spawnSync(["umount", "-l", directory]);
    }
  });
});

/** How many records the log has in the end. */
function fillAndHeal(directory: string, journal: Journal): number {
  journal.registerGroup("readers", ["orders"], "earliest");
  const batch = (from: number) =>
    Array.from({ length: 20 }, (_, index) =>
      unitOf({
        rows: [orderRow(`o${from + index}`, 0)],
        outgoing: [outgoing("orders", 0, "x".repeat(1_000))],
      }),
    );
  let stored = 0;
  let outcomes = journal.commit(batch(stored));
  while (outcomes[0]?.kind === "committed") {
    stored += 20;
    expect(stored).toBeLessThan(3_000);
    outcomes = journal.commit(batch(stored));
  }
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ kind: "refused", error: { code: "STORAGE_FULL" } });
  }
  expect(stored).toBeGreaterThan(100);
  expect(journal.load("orders", [`o${stored}`])).toEqual([undefined]);
  // Consumers drain: what is stored can be read and settled.
  const records = journal.read("orders", 0, 0, 10_000, 1e9);
  expect(records).toHaveLength(stored);
  const acks = records.slice(0, 50).map((record) => refOf(record));
  expect(journal.commit([...batch(stored), unitOf({}, { acks })]).at(-1)).toMatchObject({
    kind: "committed",
  });
  expect(Bun.spawnSync(["mount", "-o", "remount,size=8m", directory]).exitCode).toBe(0);
  for (const outcome of journal.commit(batch(stored))) expect(outcome.kind).toBe("committed");
  expect(journal.stats()).toMatchObject({ reopens: 0, logRecords: stored + 20 });
  return stored + 20;
}

test("a full disk keeps nobody out of a group that is known", () => {
  const { arm, faults } = createFaults();
  const journal = openTestJournal(makeDirectory(), { faults });
  journal.registerGroup("readers", ["orders"], "earliest");
  arm("begin", "SQLITE_FULL", 100);
  journal.registerGroup("readers", ["orders"], "earliest");
  expect(() => journal.registerGroup("newcomers", ["orders"], "earliest")).toThrow();
});
