/**
 * What shares a transaction: units that wait for company under load, and timers that are due.
 *
 * A real database behind the server, and a virtual clock; nothing here depends on the real one.
 */

import { afterEach, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { RowWrite, UnitOfWork } from "./unit-of-work.ts";

import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { COMMIT, encodeRequest } from "./journal-protocol.ts";
import { JournalServer } from "./journal-server.ts";
import { journalPath, openJournal } from "./journal/journal.ts";
import { EMPTY_UNIT } from "./unit-of-work.ts";
import { unitToWire } from "./unit-wire.ts";

const HOUR_MS = 3_600_000;
const CLIENT = 2;
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0).toReversed()) close();
});

function rowAt(key: string): RowWrite {
  return { table: "payments", key, expectedVersion: 0, data: new Uint8Array(1) };
}

function createRig() {
  const directory = mkdtempSync(join(tmpdir(), "shopstream-gathering-"));
  closers.push(() => rmSync(directory, { recursive: true, force: true }));
  const environment = createVirtualEnvironment();
  const retention = {
    logAgeMs: HOUR_MS,
    logBytesMax: 64 * 1024 * 1024,
    inboxAgeMs: HOUR_MS,
    idempotencyAgeMs: HOUR_MS,
    fraudAgeMs: HOUR_MS,
    deadLettersMax: 100,
  };
  const journal = openJournal({ directory, slots: 2, topics: ["orders"], environment, retention });
  let answers = 0;
  const server = new JournalServer({
    journal,
    environment,
    slots: 2,
    send() {
      answers++;
      return true;
    },
  });
  closers.push(() => server.close());
  let requests = 0;
  let rows = 0;
  const ask = (unit: UnitOfWork): void =>
    server.onRecord(CLIENT, COMMIT, encodeRequest(++requests, unitToWire(unit, [])));
  return {
    environment,
    journal,
    server,
    directory,
    ask,
    answers: () => answers,
    askMany(count: number): void {
      for (let one = 0; one < count; one++) {
        const key = `row-${++rows}`;
        ask({ ...EMPTY_UNIT, rows: [rowAt(key)] });
      }
    },
    timer(id: string, dueAtMs: number) {
      const payload = new Uint8Array(3);
      const base = { type: 1, slot: 0, key: id, payload, timeMs: environment.nowMs() };
      const frame = encodeFrame({ ...base, id: environment.newId() });
      return { id, dueAtMs, outgoing: { topic: "orders", frame } };
    },
    logged: () => journal.read("orders", 0, 0, 100, 1e6).length,
  };
}

test("a unit that comes alone is committed at the end of its turn, however soon", () => {
  const { askMany, server, answers } = createRig();
  for (let turn = 1; turn <= 5; turn++) {
    askMany(1);
    server.onTurn();
    expect(answers()).toBe(turn);
  }
});

test("behind a large transaction units wait for company, 8 ms at most", async () => {
  const { askMany, server, answers, journal, environment } = createRig();
  askMany(50);
  server.onTurn();
  expect(answers()).toBe(50);
  const { batches } = journal.stats();
  askMany(1);
  server.onTurn();
  askMany(1);
  server.onTurn();
  expect(answers()).toBe(50);
  await environment.advance(8);
  expect(answers()).toBe(52);
  expect(journal.stats().batches).toBe(batches + 1);
});

test("company of 128 is enough, and closing waits for nobody", () => {
  const { askMany, server, answers } = createRig();
  askMany(50);
  server.onTurn();
  askMany(128);
  server.onTurn();
  expect(answers()).toBe(178);
  askMany(1);
  server.onTurn();
  server.close();
  expect(answers()).toBe(179);
  closers.pop();
});

test("timers that are due share a transaction, after the units that may cancel them", async () => {
  const { ask, askMany, timer, server, journal, environment, logged } = createRig();
  const dueAtMs = environment.nowMs() + 100;
  const timersStarted = [timer("a", dueAtMs), timer("b", dueAtMs), timer("c", dueAtMs)];
  ask({ ...EMPTY_UNIT, timersStarted });
  server.onTurn();
  await environment.advance(99);
  askMany(1);
  server.onTurn();
  await environment.advance(2);
  expect(logged()).toBe(0);
  const { batches } = journal.stats();
  ask({ ...EMPTY_UNIT, timersCancelled: ["b"] });
  server.onTurn();
  expect(logged()).toBe(2);
  expect(journal.stats().batches).toBe(batches + 1);
  expect(journal.nextTimerDueMs()).toBeUndefined();
});

test("timers that are due find a transaction of their own when no other is made", async () => {
  const { ask, askMany, timer, server, environment, logged } = createRig();
  ask({ ...EMPTY_UNIT, timersStarted: [timer("a", environment.nowMs() + 100)] });
  server.onTurn();
  await environment.advance(99);
  askMany(1);
  server.onTurn();
  await environment.advance(21);
  expect(logged()).toBe(1);
});

test("a damaged timer is refused and spoils none of the units beside it", () => {
  const rig = createRig();
  const { ask, askMany, timer, journal, environment, directory, answers, server } = rig;
  const timersStarted = [timer("a", environment.nowMs()), timer("b", environment.nowMs())];
  ask({ ...EMPTY_UNIT, timersStarted: [timer("later", environment.nowMs() + HOUR_MS)] });
  server.onTurn();
  journal.commit([{ unit: { ...EMPTY_UNIT, timersStarted }, acks: [] }]);
  const other = new Database(journalPath(directory));
  other.run("UPDATE timer SET crc = crc + 1 WHERE id = 'b'");
  other.close();
  const outcomes = journal.commit([
    { unit: { ...EMPTY_UNIT, rows: [rowAt("k")] }, acks: [] },
    { unit: EMPTY_UNIT, acks: [], timersFiredMax: 10 },
  ]);
  expect(outcomes).toMatchObject([
    { kind: "committed" },
    { kind: "refused", error: { code: "DATA_DAMAGED" } },
  ]);
  expect(journal.read("orders", 0, 0, 10, 1e6)).toEqual([]);
  expect(journal.load("payments", ["k"])).toMatchObject([{ key: "k" }]);
  askMany(1);
  server.onTurn();
  expect(answers()).toBe(2);
});
