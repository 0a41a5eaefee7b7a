/**
 * Reads, under locks, what a batch of units looks at.
 *
 * Only inside a transaction: the locks hold until it ends, so what was read is still so when the
 * plan is written. What does not exist cannot be locked; that somebody else makes it first is
 * noticed when it is inserted. Locks are taken in the order in which `commit_units` writes.
 */

import type { Sql, TransactionSql } from "postgres";

import type { InboxMark, Table } from "../unit-of-work.ts";
import type { BatchReach, KnownState } from "./batch-plan.ts";

import { TABLES } from "../unit-of-work.ts";
import { plainArray, textArray } from "./array-literals.ts";
import { markName, rowName } from "./batch-plan.ts";

const SELECT_MARKS = `SELECT i.grp AS "group", i.message_id AS "messageId"
  FROM unnest($1::text[], $2::uuid[]) AS u (g, m)
  JOIN inbox AS i ON i.grp = u.g AND i.message_id = u.m`;
const SELECT_LETTERS = `SELECT id FROM dead_letters WHERE id = ANY($1::bigint[])
  ORDER BY id FOR UPDATE`;
const SELECT_TIMELINES = `SELECT u.o AS key, n.version FROM unnest($1::text[]) AS u (o)
  CROSS JOIN LATERAL (SELECT version FROM timeline WHERE order_id = u.o
    ORDER BY version DESC LIMIT 1) AS n`;
const SELECT_VERSIONS = new Map(
  TABLES.map((table) => [
    table,
    `SELECT t.key, t.version FROM unnest($1::text[]) WITH ORDINALITY AS u (k, n)
     JOIN ${table} AS t ON t.key = u.k ORDER BY u.n FOR NO KEY UPDATE OF t`,
  ]),
);

interface VersionRow {
  readonly key: string;
  readonly version: string;
}

/** All statements are sent at once; the server carries them out in this order. */
export async function readKnownState(tx: TransactionSql, reach: BatchReach): Promise<KnownState> {
  const [letters, versions, timelines, marks] = await Promise.all([
    lockLetters(tx, reach),
    Promise.all(TABLES.map((table) => lockVersions(tx, table, reach.keys.get(table) ?? []))),
    selectTimelines(tx, reach),
    // Last: whoever wrote what was read has left its mark by then, so a repetition is seen as one.
    selectMarks(tx, reach),
  ]);
  return {
    marks: new Set(marks),
    letters: new Set(letters),
    versions: new Map(versions.flat()),
    timelines: new Map(timelines),
  };
}

async function selectMarks(tx: TransactionSql, { marks }: BatchReach): Promise<readonly string[]> {
  if (marks.length === 0) return [];
  const rows = await run<InboxMark>(tx, SELECT_MARKS, [
    textArray(marks.map(({ group }) => group)),
    plainArray(marks.map(({ messageId }) => messageId)),
  ]);
  return rows.map(markName);
}

async function lockLetters(
  tx: TransactionSql,
  { letters }: BatchReach,
): Promise<readonly number[]> {
  if (letters.length === 0) return [];
  const rows = await run<{ id: string }>(tx, SELECT_LETTERS, [plainArray(letters)]);
  return rows.map(({ id }) => Number(id));
}

async function lockVersions(
  tx: TransactionSql,
  table: Table,
  keys: readonly string[],
): Promise<readonly (readonly [string, number])[]> {
  if (keys.length === 0) return [];
  const rows = await run<VersionRow>(tx, SELECT_VERSIONS.get(table) ?? "", [textArray(keys)]);
  return rows.map(({ key, version }) => [rowName(table, key), Number(version)] as const);
}

async function selectTimelines(
  tx: TransactionSql,
  { orderIds }: BatchReach,
): Promise<readonly (readonly [string, number])[]> {
  if (orderIds.length === 0) return [];
  const rows = await run<VersionRow>(tx, SELECT_TIMELINES, [textArray(orderIds)]);
  return rows.map(({ key, version }) => [key, Number(version)] as const);
}

/** Prepared once for each connection. `Row` is what the text selects. */
export async function run<Row extends object>(
  sql: Sql | TransactionSql,
  text: string,
  parameters: (string | null)[],
): Promise<readonly Row[]> {
  return await sql.unsafe<Row[]>(text, parameters, { prepare: true });
}
