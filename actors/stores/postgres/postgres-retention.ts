/**
 * Removes from PostgreSQL what has been kept long enough, a bounded number of rows at a time.
 *
 * The same ages as of the embedded store: processed message ids, idempotency rows and the fraud
 * check's rows by age, dead letters by number. Orders and their timelines stay, and so does the
 * outbox, which is empty when all is published. Who runs it and how often is for the caller.
 */

import type { ReservedSql, Sql } from "postgres";

import type { Environment } from "../../../runtime/environment.ts";

import { WRITTEN_GRAIN_MS } from "../journal/journal-limits.ts";

export interface PostgresRetention {
  readonly inboxAgeMs: number;
  readonly idempotencyAgeMs: number;
  readonly fraudAgeMs: number;
  readonly deadLettersMax: number;
}

/** One bounded step; how many rows it removed, 0 when there is nothing left to do. */
export type RetentionStep = (sql: Sql | ReservedSql) => Promise<number>;

/** Rows of one step: short enough that nobody waits for its locks. */
const STEP_ROWS = 5_000;
/** A writer that has not written for so long is gone. */
const WRITER_AGE_MS = 7 * 86_400_000;

/** By the clock of `environment`, whose other processes' clocks are near enough. */
export function retentionSteps(
  retention: PostgresRetention,
  environment: Pick<Environment, "nowMs">,
): readonly RetentionStep[] {
  const { inboxAgeMs, idempotencyAgeMs, fraudAgeMs, deadLettersMax } = retention;
  const older =
    (table: string, column: string, ageMs: number): RetentionStep =>
    async (sql) => {
      const { count } = await sql.unsafe(
        `DELETE FROM ${table} WHERE ctid = ANY(ARRAY(
           SELECT ctid FROM ${table} WHERE ${column} < $1::bigint LIMIT ${STEP_ROWS}))`,
        [`${environment.nowMs() - ageMs}`],
      );
      return count;
    };
  return [
    older("inbox", "at", inboxAgeMs),
    older("idempotency", "written_at", idempotencyAgeMs),
    // The time of a row is the beginning of its day.
    older("fraud", "written_at", fraudAgeMs + WRITTEN_GRAIN_MS),
    older("writers", "at", WRITER_AGE_MS),
    async (sql) => {
      const { count } = await sql.unsafe(
        `DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters ORDER BY id
           LIMIT least(${STEP_ROWS}, greatest(0,
             (SELECT count(*) FROM dead_letters) - ${deadLettersMax})))`,
      );
      return count;
    },
  ];
}
