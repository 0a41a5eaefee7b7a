/**
 * A data directory as version 1 of the schema wrote it, to be opened by this program.
 *
 * Only for tests. The tables are those of version 1, to the letter; what is in them is moved over
 * from a journal of today, which stores it the same way. Never edited: it is what is out there.
 */

import { Database } from "bun:sqlite";

import { journalPath } from "./journal.ts";

const V1 = `
CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE topic (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE state (
  id INTEGER PRIMARY KEY CHECK (id = 1), batches INTEGER NOT NULL, last_id INTEGER NOT NULL,
  inbox_marks INTEGER NOT NULL, dead_dropped INTEGER NOT NULL, crc INTEGER NOT NULL);

CREATE TABLE log (
  id INTEGER PRIMARY KEY, part INTEGER NOT NULL, sequence INTEGER NOT NULL, at INTEGER NOT NULL,
  crc INTEGER NOT NULL, bytes BLOB NOT NULL);
CREATE TABLE log_segment (
  first_id INTEGER PRIMARY KEY, last_at INTEGER NOT NULL, bytes INTEGER NOT NULL,
  crc INTEGER NOT NULL, parts BLOB NOT NULL);
CREATE TABLE log_base (
  id INTEGER PRIMARY KEY CHECK (id = 1), bytes INTEGER NOT NULL, crc INTEGER NOT NULL,
  data BLOB NOT NULL);

CREATE TABLE position (
  consumer TEXT NOT NULL, topic TEXT NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (consumer, topic)) WITHOUT ROWID;
CREATE TABLE postponed (
  consumer TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
  sequence INTEGER NOT NULL, attempt INTEGER NOT NULL, not_before INTEGER NOT NULL,
  first_error TEXT NOT NULL, last_error TEXT NOT NULL,
  PRIMARY KEY (consumer, topic, partition, sequence)) WITHOUT ROWID;

CREATE TABLE inbox_group (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE inbox (
  consumer INTEGER NOT NULL, message BLOB NOT NULL,
  PRIMARY KEY (consumer, message)) WITHOUT ROWID;
CREATE TABLE inbox_batch (
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, marks BLOB NOT NULL);

CREATE TABLE orders (
  key TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, crc INTEGER NOT NULL,
  data BLOB NOT NULL,
  customer_id TEXT NOT NULL, status TEXT NOT NULL, created_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE payments (
  key TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, crc INTEGER NOT NULL,
  data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE stock (
  key TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, crc INTEGER NOT NULL,
  data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE reservations (
  key TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, crc INTEGER NOT NULL,
  data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE shipments (
  key TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, crc INTEGER NOT NULL,
  data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE idempotency (
  key TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, crc INTEGER NOT NULL,
  data BLOB NOT NULL, written_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX orders_created ON orders (created_at, key);
CREATE INDEX orders_customer ON orders (customer_id, created_at, key);
CREATE INDEX orders_status ON orders (status, created_at, key);
CREATE INDEX idempotency_written ON idempotency (written_at);
CREATE TABLE timeline (
  order_id TEXT NOT NULL, version INTEGER NOT NULL, type TEXT NOT NULL, at INTEGER NOT NULL,
  crc INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (order_id, version)) WITHOUT ROWID;

CREATE TABLE timer (
  id TEXT PRIMARY KEY NOT NULL, due_at INTEGER NOT NULL, part INTEGER NOT NULL,
  crc INTEGER NOT NULL, bytes BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX timer_due ON timer (due_at);

CREATE TABLE dead_letter (
  id INTEGER PRIMARY KEY AUTOINCREMENT, consumer TEXT NOT NULL, topic TEXT NOT NULL,
  partition INTEGER NOT NULL, sequence INTEGER NOT NULL, reason TEXT NOT NULL,
  attempts INTEGER NOT NULL, first_error TEXT NOT NULL, last_error TEXT NOT NULL,
  buried_at INTEGER NOT NULL, crc INTEGER NOT NULL, bytes BLOB NOT NULL);
CREATE INDEX dead_letter_topic ON dead_letter (topic, id);
`;

/** Makes the closed journal of `source` a version 1 file in the empty directory `target`. */
export function writeVersion1(source: string, target: string): void {
  const handle = new Database(journalPath(target), { create: true, readwrite: true });
  handle.run("PRAGMA journal_mode = WAL");
  handle.run(V1);
  handle.run("ATTACH ? AS today", [journalPath(source)]);
  const tables = handle
    .prepare<{ name: string }, []>(
      "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    )
    .all();
  handle.transaction(() => {
    for (const { name } of tables) handle.run(`INSERT INTO ${name} SELECT * FROM today.${name}`);
    handle.run("UPDATE meta SET value = '1' WHERE name = 'schema_version'");
  })();
  handle.close(true);
}
