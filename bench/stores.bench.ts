/**
 * Units of work through the stores: PostgreSQL against batched SQL written by hand, and the
 * embedded journal beside them.
 *
 * A unit is one inbox mark, one order row with its three indexes (half are new, half change the
 * status), one timeline entry and one frame for the outbox: four rows. Batches are of the same
 * size, every transaction is synced, and every run counts what the tables hold afterwards. The
 * peer does what an engineer would write for exactly this: the same conditional statements in one
 * pipelined transaction, with none of the port's answers for single units. The server runs on the
 * same cores; CPU is this process's alone. Needs a PostgreSQL to start.
 */

import postgres from "postgres";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { UnitOfWork } from "../actors/stores/unit-of-work.ts";
import type { BenchCase, Evidence } from "./harness.ts";

import { openJournal } from "../actors/stores/journal/journal.ts";
import { openPostgres } from "../actors/stores/postgres/postgres-connection.ts";
import { POSTGRES_DEFAULTS } from "../actors/stores/postgres/postgres-options.ts";
import { createPostgresStore } from "../actors/stores/postgres/postgres-store.ts";
import { EMPTY_UNIT } from "../actors/stores/unit-of-work.ts";
import { startTestServer } from "../deploy/services/test-server.ts";
import { encodeFrame, frameSlot } from "../runtime/frames/frame.ts";
import { systemEnvironment as environment } from "../runtime/system-environment.ts";
import { runBench } from "./harness.ts";

const SLOTS = 64;
const TABLES = ["orders", "timeline", "inbox", "outbox"];
const GROUP = "bench";
const UNITS = 8_000;
const BATCH = 256;
const CUSTOMERS = 5_000;
const RELAY = "01900000-0000-7000-8000-000000000000";
const YEAR_MS = 31_536_000_000;
/** Of the aim: the unit of work reaches four fifths of what is written by hand. */
const RATIO_AIM = 0.8;

/** Each unit has a frame, an entry and a mark, and makes one order a version newer. */
const WRITTEN: Evidence = { count: 3 * UNITS, checksum: UNITS };

const data = new Uint8Array(300).fill(9);
const payload = new Uint8Array(200).fill(7);

const directory = mkdtempSync(join(tmpdir(), "shopstream-bench-"));
const server = await startTestServer("postgres");
const settings = { ...POSTGRES_DEFAULTS, url: server.url };
const database = await openPostgres(settings, { environment, slots: SLOTS });
const hand = postgres(server.url, { max: 1, connection: { search_path: "hand" } });
const journal = openJournal({
  directory,
  slots: SLOTS,
  topics: ["orders"],
  environment,
  retention: {
    logAgeMs: YEAR_MS,
    logBytesMax: 10_000_000_000,
    inboxAgeMs: YEAR_MS,
    idempotencyAgeMs: YEAR_MS,
    fraudAgeMs: YEAR_MS,
    deadLettersMax: 1_000,
  },
});

/** The same units for everybody: the second half changes the orders of the first. */
function makeUnits(): readonly UnitOfWork[] {
  const half = UNITS / 2;
  const keys = Array.from({ length: half }, () => environment.newId());
  return Array.from({ length: UNITS }, (_, number) => {
    const key = keys[number % half] ?? "";
    const expectedVersion = number < half ? 0 : 1;
    const createdAtMs = environment.nowMs();
    const status = number < half ? "pending" : "paid";
    const columns = { customerId: `customer-${(number * 7_919) % CUSTOMERS}`, status, createdAtMs };
    const id = environment.newId();
    const slot = number % SLOTS;
    const frame = encodeFrame({ type: 1, slot, key, payload, id, timeMs: createdAtMs });
    const type = `order.${status}`;
    return {
      ...EMPTY_UNIT,
      inbox: [{ group: GROUP, messageId: id }],
      rows: [{ table: "orders", key, expectedVersion, data, columns }],
      timeline: [{ orderId: key, version: expectedVersion + 1, type, atMs: createdAtMs, data }],
      outgoing: [{ topic: "orders", frame }],
    };
  });
}

/** Rows of the outbox, of the timeline and of the inbox, and versions of all orders together. */
async function evidence(sql: postgres.Sql, schema: string): Promise<Evidence> {
  const [row] = await sql<{ count: number; checksum: number }[]>`
    SELECT (SELECT count(*)::int FROM ${sql(`${schema}.outbox`)})
        + (SELECT count(*)::int FROM ${sql(`${schema}.timeline`)})
        + (SELECT count(*)::int FROM ${sql(`${schema}.inbox`)}) AS count,
      (SELECT coalesce(sum(version), 0)::int FROM ${sql(`${schema}.orders`)}) AS checksum`;
  for (const table of TABLES) await sql`TRUNCATE ${sql(`${schema}.${table}`)}`;
  return row ?? { count: 0, checksum: 0 };
}

function storeCase(): BenchCase {
  const store = createPostgresStore({ postgres: database, topics: ["orders"], slots: SLOTS });
  return {
    name: `PostgreSQL: units of work, batches of ${BATCH}`,
    operations: UNITS,
    expected: WRITTEN,
    async run() {
      const units = makeUnits();
      let next = 0;
      // Two batches' worth at a time: one is written while the next gathers.
      async function lane(): Promise<void> {
        for (let unit = units[next++]; unit !== undefined; unit = units[next++]) {
          const { kind } = await store.commit(unit, []);
          if (kind !== "committed") throw new RangeError(`a unit was a ${kind}`);
        }
      }
      await Promise.all(Array.from({ length: 2 * BATCH }, lane));
      return evidence(hand, "shopstream");
    },
  };
}

function handCase(): BenchCase {
  return {
    name: `peer: batched SQL by hand, batches of ${BATCH}`,
    operations: UNITS,
    expected: WRITTEN,
    async run() {
      const units = makeUnits();
      for (let from = 0; from < UNITS; from += BATCH) {
        await writeByHand(units.slice(from, from + BATCH));
      }
      return evidence(hand, "hand");
    },
  };
}

function blobOf(row: { readonly data: Uint8Array }): Buffer {
  return Buffer.from(row.data);
}

async function writeByHand(units: readonly UnitOfWork[]): Promise<void> {
  const rows = units.flatMap((unit) => unit.rows);
  const created = rows.filter(({ expectedVersion }) => expectedVersion === 0);
  const changed = rows.filter(({ expectedVersion }) => expectedVersion > 0);
  const entries = units.flatMap((unit) => unit.timeline);
  const ids = units.flatMap((unit) => unit.inbox.map(({ messageId }) => messageId));
  const frames = units.flatMap((unit) => unit.outgoing.map(({ frame }) => frame));
  const slots = frames.map((frame) => frameSlot(frame));
  const blobs = hand.array(frames.map((bytes) => Buffer.from(bytes)));
  await hand.begin(async (tx) => {
    const [, inserted, updated] = await Promise.all([
      tx`INSERT INTO inbox SELECT ${GROUP}, id::uuid, ${environment.nowMs()}
        FROM unnest(${ids}::text[]) AS u (id)`,
      created.length === 0
        ? undefined
        : tx`INSERT INTO orders SELECT * FROM unnest(${created.map(({ key }) => key)}::text[],
            ${created.map(() => 1)}::bigint[], ${hand.array(created.map(blobOf))}::bytea[],
            ${created.map(({ columns }) => columns?.customerId ?? "")}::text[],
            ${created.map(({ columns }) => columns?.status ?? "")}::text[],
            ${created.map(({ columns }) => columns?.createdAtMs ?? 0)}::bigint[])`,
      changed.length === 0
        ? undefined
        : tx`UPDATE orders AS o SET version = u.v + 1, data = u.d, customer_id = u.c,
            status = u.s, created_at = u.t
          FROM unnest(${changed.map(({ key }) => key)}::text[],
            ${changed.map((row) => row.expectedVersion)}::bigint[],
            ${hand.array(changed.map(blobOf))}::bytea[],
            ${changed.map(({ columns }) => columns?.customerId ?? "")}::text[],
            ${changed.map(({ columns }) => columns?.status ?? "")}::text[],
            ${changed.map(({ columns }) => columns?.createdAtMs ?? 0)}::bigint[])
            AS u (k, v, d, c, s, t) WHERE o.key = u.k AND o.version = u.v`,
      tx`INSERT INTO timeline SELECT * FROM unnest(${entries.map((one) => one.orderId)}::text[],
        ${entries.map(({ version }) => version)}::bigint[],
        ${entries.map(({ type }) => type)}::text[], ${entries.map(({ atMs }) => atMs)}::bigint[],
        ${hand.array(entries.map(blobOf))}::bytea[])`,
      tx`INSERT INTO outbox (relay, slot, topic, frame) SELECT ${RELAY}::uuid, s, 'orders', f
        FROM unnest(${slots}::int[], ${blobs}::bytea[])
        AS u (s, f) RETURNING id`,
    ]);
    const written = (inserted?.count ?? 0) + (updated?.count ?? 0);
    if (written !== rows.length) throw new RangeError(`${written} of ${rows.length} rows`);
  });
}

function embeddedCase(): BenchCase {
  return {
    name: `embedded: units of work, batches of ${BATCH}`,
    operations: UNITS,
    expected: { count: UNITS, checksum: UNITS },
    run() {
      const units = makeUnits();
      const before = journal.stats().logRecords;
      let checksum = 0;
      for (let from = 0; from < UNITS; from += BATCH) {
        const batch = units.slice(from, from + BATCH).map((unit) => ({ unit, acks: [] }));
        for (const { kind } of journal.commit(batch)) checksum += kind === "committed" ? 1 : 0;
        journal.maintain();
      }
      return { count: journal.stats().logRecords - before, checksum };
    },
  };
}

try {
  await hand`CREATE SCHEMA hand`;
  for (const table of TABLES) {
    await hand.unsafe(`CREATE TABLE ${table} (LIKE shopstream.${table} INCLUDING ALL)`);
  }
  const [own, peer] = await runBench([storeCase(), handCase(), embeddedCase()], {
    title: "Stores",
    unit: "unit",
    notes: ["a unit is four rows and three index entries; its making is inside the timing"],
  });
  const ratio = (own?.medianPerSecond ?? 0) / (peer?.medianPerSecond ?? 1);
  console.log(`ratio to SQL by hand: ${ratio.toFixed(2)} (aim: ${RATIO_AIM} or more)`);
  process.exitCode = ratio >= RATIO_AIM ? 0 : 1;
} finally {
  journal.close();
  await database.close();
  await hand.end({ timeout: 1 });
  await server.dispose();
  rmSync(directory, { recursive: true, force: true });
}
