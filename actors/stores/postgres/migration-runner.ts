/**
 * Brings a database's schema forward to what this program needs, or back.
 *
 * One process at a time, by an advisory lock; each migration with its row in `schema_migrations`
 * in one transaction, so that a database is never between two. The table is dbmate's, with a name
 * and a digest beside the version. Refuses a database that is newer, or of another history.
 */

import type { ReservedSql, Sql } from "postgres";

import type { AppliedMigration, Migration } from "./migration-files.ts";

import { missingMigrations, readMigrations } from "./migration-files.ts";

/** "ShopMigr" as a number. */
const LOCK = "6010206830470623090";
const LOCK_WAIT = "60s";

const TABLE = `CREATE TABLE IF NOT EXISTS schema_migrations (version varchar(128) PRIMARY KEY);
  ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS name text;
  ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS digest text`;

/** Applies what is missing; the versions that were applied now. */
export async function migrateUp(
  sql: Sql,
  known: readonly Migration[] = readMigrations(),
): Promise<readonly string[]> {
  return await locked(sql, async (connection) => {
    await connection.unsafe(TABLE);
    const missing = missingMigrations(known, await appliedMigrations(connection));
    for (const { version, name, digest, up } of missing) {
      await inTransaction(connection, up, async () => {
        await connection`INSERT INTO schema_migrations (version, name, digest)
          VALUES (${version}, ${name}, ${digest})`;
      });
    }
    return missing.map(({ version }) => version);
  });
}

/** Takes the last `steps` back; their versions, last first. The data of their tables is gone. */
export async function migrateDown(
  sql: Sql,
  steps: number,
  known: readonly Migration[] = readMigrations(),
): Promise<readonly string[]> {
  return await locked(sql, async (connection) => {
    const applied = await appliedMigrations(connection);
    missingMigrations(known, applied);
    const last = known.slice(Math.max(0, applied.length - steps), applied.length).toReversed();
    for (const { version, down } of last) {
      await inTransaction(connection, down, async () => {
        await connection`DELETE FROM schema_migrations WHERE version = ${version}`;
      });
    }
    return last.map(({ version }) => version);
  });
}

/** Versions that are missing. Throws as `missingMigrations` does; changes nothing. */
export async function pendingMigrations(
  sql: Sql,
  known: readonly Migration[] = readMigrations(),
): Promise<readonly string[]> {
  const [found] = await sql<{ isThere: boolean }[]>`
    SELECT to_regclass('schema_migrations') IS NOT NULL AS "isThere"`;
  const applied = found?.isThere === true ? await appliedMigrations(sql) : [];
  return missingMigrations(known, applied).map(({ version }) => version);
}

async function appliedMigrations(sql: Sql | ReservedSql): Promise<readonly AppliedMigration[]> {
  return await sql.unsafe<AppliedMigration[]>(
    "SELECT version, to_jsonb(m) ->> 'name' AS name, to_jsonb(m) ->> 'digest' AS digest" +
      " FROM schema_migrations AS m",
  );
}

/** The lock is the connection's: it is gone with it, however the process ends. */
async function locked<Result>(
  sql: Sql,
  work: (connection: ReservedSql) => Promise<Result>,
): Promise<Result> {
  const connection = await sql.reserve();
  try {
    await connection.unsafe(`SET lock_timeout = '${LOCK_WAIT}'; SET statement_timeout = 0`);
    await connection.unsafe(`SELECT pg_advisory_lock(${LOCK})`);
    try {
      return await work(connection);
    } finally {
      await connection.unsafe(`SELECT pg_advisory_unlock(${LOCK})`);
      await connection.unsafe("RESET lock_timeout; RESET statement_timeout");
    }
  } finally {
    connection.release();
  }
}

async function inTransaction(
  connection: ReservedSql,
  text: string,
  record: () => Promise<void>,
): Promise<void> {
  await connection.unsafe("BEGIN");
  try {
    await connection.unsafe(text);
    await record();
    await connection.unsafe("COMMIT");
  } catch (error) {
    await connection.unsafe("ROLLBACK");
    throw error;
  }
}
