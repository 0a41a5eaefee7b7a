/**
 * What the database of a cluster says beside the API: whose the slots are, and what is left over.
 *
 * Reads alone. It speaks the tables' own names on purpose: a table that says something else than
 * the API is a finding.
 */

import type { Sql } from "postgres";
import type { PostgresSettings } from "../actors/stores/postgres/postgres-options.ts";

import { openPostgres } from "../actors/stores/postgres/postgres-connection.ts";
import { POSTGRES_DEFAULTS } from "../actors/stores/postgres/postgres-options.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";

/** Of one group: process by slot. A slot that nobody owns is absent. */
export type SlotOwners = ReadonlyMap<number, string>;

export interface DeadLetter {
  readonly group: string;
  readonly topic: string;
  readonly reason: string;
  readonly error: string;
}

/** What is there once nothing happens any more. */
export interface Leftovers {
  /** Frames that were committed and not published. */
  readonly outboxFrames: number;
  readonly timers: number;
  readonly deadLetters: readonly DeadLetter[];
  /** Customers with more than one order, of those whose name begins as the run's do. */
  readonly doubledCustomers: readonly string[];
  /** Incarnations of shards that may commit, by process. */
  readonly living: readonly string[];
}

export interface ClusterDatabase {
  owners(group: string): Promise<SlotOwners>;
  /** Incarnations of shards of a process that may commit now. */
  incarnations(process: string): Promise<readonly string[]>;
  /** Transactions that nobody has gone on with for `sinceMs`. */
  openTransactions(sinceMs: number): Promise<number>;
  leftovers(customerPrefix: string): Promise<Leftovers>;
  close(): Promise<void>;
}

const LETTERS_MAX = 100;

/** `settings`: of which the shop uses others than by default, the address among them. */
export async function openClusterDatabase(
  settings: Pick<PostgresSettings, "url"> & Partial<PostgresSettings>,
  slots: number,
): Promise<ClusterDatabase> {
  const environment = systemEnvironment;
  const postgres = await openPostgres(
    { ...POSTGRES_DEFAULTS, ...settings },
    { environment, slots },
  );
  const sql = postgres.client(1);
  return {
    async owners(group) {
      const rows = await sql<{ slot: number; process: string }[]>`
        SELECT s.slot, r.process FROM slot_owners s JOIN relays r ON r.id = s.relay
        WHERE s.grp = ${group} AND NOT r.fenced`;
      return new Map(rows.map(({ slot, process }) => [slot, process]));
    },
    async incarnations(process) {
      const rows = await sql<{ id: string }[]>`
        SELECT id::text FROM relays WHERE process = ${process} AND NOT fenced`;
      return rows.map(({ id }) => id);
    },
    async openTransactions(sinceMs) {
      const [row] = await sql<{ count: number }[]>`
        SELECT count(*)::int AS count FROM pg_stat_activity WHERE state = 'idle in transaction'
          AND state_change < clock_timestamp() - ${sinceMs}::float8 * interval '1 millisecond'`;
      return row?.count ?? 0;
    },
    leftovers: (customerPrefix) => leftoversOf(sql, customerPrefix),
    async close() {
      await sql.end({ timeout: 1 });
      await postgres.close();
    },
  };
}

async function leftoversOf(sql: Sql, customerPrefix: string): Promise<Leftovers> {
  const [counts] = await sql<{ frames: number; timers: number }[]>`
    SELECT (SELECT count(*)::int FROM outbox) AS frames,
      (SELECT count(*)::int FROM timers) AS timers`;
  const deadLetters = await sql<DeadLetter[]>`
    SELECT grp AS "group", topic, reason, last_error AS error
    FROM dead_letters ORDER BY id LIMIT ${LETTERS_MAX}`;
  const doubled = await sql<{ customer: string }[]>`
    SELECT customer_id AS customer FROM orders
    WHERE starts_with(customer_id, ${customerPrefix}) GROUP BY 1 HAVING count(*) > 1`;
  const living = await sql<{ process: string }[]>`
    SELECT process FROM relays WHERE NOT fenced ORDER BY 1`;
  return {
    outboxFrames: counts?.frames ?? 0,
    timers: counts?.timers ?? 0,
    deadLetters: [...deadLetters],
    doubledCustomers: doubled.map(({ customer }) => customer),
    living: living.map(({ process }) => process),
  };
}
