/**
 * A journal in a directory of its own, frames and units to fill it with.
 *
 * Only for tests. Directories are under the system's temporary directory and are removed by
 * `removeDirectories`, which a test file calls in `afterAll`.
 */

import type { DeliveryRef, Outgoing } from "../../brokers/broker.ts";
import type { RowWrite, UnitOfWork } from "../unit-of-work.ts";
import type {
  Journal,
  JournalCommitted,
  JournalOptions,
  JournalOutcome,
  JournalUnit,
  LogRecord,
  Retention,
} from "./journal-types.ts";

import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { assert } from "../../../runtime/errors.ts";
import { encodeFrame } from "../../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { EMPTY_UNIT } from "../unit-of-work.ts";
import { journalPath, openJournal } from "./journal.ts";

export const SLOTS = 4;
export const TOPICS = ["orders", "payments"];
export const START_MS = 1_700_000_000_000;
export const RETENTION: Retention = {
  logAgeMs: 60_000,
  logBytesMax: 10_000_000,
  inboxAgeMs: 60_000,
  idempotencyAgeMs: 60_000,
  fraudAgeMs: 60_000,
  deadLettersMax: 100,
};

const directories: string[] = [];

export function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "shopstream-journal-"));
  directories.push(directory);
  return directory;
}

export function removeDirectories(): void {
  for (const directory of directories.splice(0)) {
    rmSync(directory, { recursive: true, force: true });
  }
}

export function openTestJournal(
  directory: string,
  overrides: Partial<JournalOptions> = {},
): Journal {
  return openJournal({
    directory,
    slots: SLOTS,
    topics: TOPICS,
    environment: createVirtualEnvironment(),
    retention: RETENTION,
    ...overrides,
  });
}

/** UUID text with `number` in its last group. */
export function idOf(number: number): string {
  return `01900000-0000-7000-8000-${number.toString(16).padStart(12, "0")}`;
}

export function frameOf(slot: number, text = "payload", number = 0): Uint8Array {
  return encodeFrame({
    type: 1,
    slot,
    key: `key-${slot}`,
    payload: new TextEncoder().encode(text),
    id: idOf(number),
    timeMs: START_MS,
    headers: { origin: "test" },
  });
}

export function outgoing(topic: string, slot: number, text?: string): Outgoing {
  return { topic, frame: frameOf(slot, text) };
}

export function unitOf(
  parts: Partial<UnitOfWork>,
  rest: Partial<Omit<JournalUnit, "unit">> = {},
): JournalUnit {
  return { unit: { ...EMPTY_UNIT, ...parts }, acks: [], ...rest };
}

export function refOf(
  { topic, partition, sequence }: Omit<LogRecord, "bytes">,
  group = "readers",
): DeliveryRef {
  return { group, topic, partition, sequence, epoch: 1 };
}

export function stockRow(key: string, expectedVersion: number, text = "data"): RowWrite {
  return { table: "stock", key, expectedVersion, data: new TextEncoder().encode(text) };
}

export function orderRow(
  key: string,
  expectedVersion: number,
  columns: Partial<RowWrite["columns"]> = {},
): RowWrite {
  return {
    table: "orders",
    key,
    expectedVersion,
    data: new TextEncoder().encode(`order ${key} at ${expectedVersion + 1}`),
    columns: { customerId: "customer", status: "pending", createdAtMs: START_MS, ...columns },
  };
}

/** Commits one unit that must be committed. */
export function commitOne(journal: Journal, unit: JournalUnit): JournalCommitted {
  return committed(journal.commit([unit])[0]);
}

export function committed(outcome: JournalOutcome | undefined): JournalCommitted {
  assert(outcome?.kind === "committed", `not committed: ${JSON.stringify(outcome)}`);
  return outcome;
}

/** Publishes `count` frames to one partition. */
export function publish(
  journal: Journal,
  topic: string,
  slot: number,
  count: number,
  text = "payload",
): readonly LogRecord[] {
  const frames = Array.from({ length: count }, (_, index) =>
    outgoing(topic, slot, `${text}-${index}`),
  );
  return commitOne(journal, unitOf({ outgoing: frames })).appended;
}

/** Runs `statements` on the database of a closed journal: what a bad disk might do. */
export function tamper(directory: string, ...statements: readonly string[]): void {
  const handle = new Database(journalPath(directory));
  for (const statement of statements) handle.run(statement);
  handle.close(true);
}

/** SQLite's own opinion of a closed journal's file. */
export function integrityOf(directory: string): string {
  const handle = new Database(journalPath(directory), { readonly: true });
  const row = handle.prepare<{ integrity_check: string }, []>("PRAGMA integrity_check").get();
  handle.close(true);
  return row?.integrity_check ?? "no answer";
}

/** An error as SQLite throws it. */
export function sqliteError(code: string): Error {
  return Object.assign(new Error(`injected ${code}`), { code });
}
