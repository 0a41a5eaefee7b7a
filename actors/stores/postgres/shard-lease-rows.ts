/**
 * The statements behind a shard's lease: who lives, who is fenced, who publishes for the dead.
 *
 * All times are the database's, so that no two clocks are compared. To fence is to update a row
 * that every commit holds FOR SHARE: when the update is done, no commit of that relay is under way
 * and none will ever succeed. Waiting for that is bounded.
 */

import type { Sql } from "postgres";

import { plainArray } from "./array-literals.ts";

/** How long one attempt to fence waits for a commit that does not end. */
const FENCE_WAIT_MS = 2_000;
const LOCK_NOT_AVAILABLE = "55P03";

export interface RelayName {
  readonly process: string;
  readonly shard: number;
}

export interface LeaseRows {
  /** The incarnations before, of the same process and shard: they are as good as dead. */
  register(relayId: string, name: RelayName): Promise<readonly string[]>;
  /** False: fenced, or not there any more. */
  beat(relayId: string): Promise<boolean>;
  /** Those that have not beaten for `silentMs` and are not fenced yet. */
  silent(relayId: string, silentMs: number): Promise<readonly string[]>;
  /**
   * Fences `relayId`, unless `silentMs` is given and it has beaten since. False: one of its
   * commits does not end; try again.
   */
  fence(relayId: string, silentMs?: number): Promise<boolean>;
  /** Makes `relayId` the publisher for those that are fenced and have none; answers which. */
  adopt(relayId: string): Promise<readonly string[]>;
  /** Removes those of `relayIds` of which no frame is left; answers which. */
  forget(relayIds: readonly string[]): Promise<readonly string[]>;
  /** Ends it in good order: its slots are free, its rows anybody's. */
  retire(relayId: string): Promise<void>;
}

export function createLeaseRows(sql: Sql): LeaseRows {
  return {
    async register(relayId, { process, shard }) {
      const former = await sql<{ id: string }[]>`
        WITH added AS (
          INSERT INTO relays (id, process, shard)
          VALUES (${relayId}::uuid, ${process}::text, ${shard}::int) RETURNING id
        ), beating AS (INSERT INTO relay_beats (relay) SELECT id FROM added)
        SELECT id::text AS id FROM relays
        WHERE process = ${process}::text AND shard = ${shard}::int AND NOT fenced`;
      return idsOf(former);
    },
    async beat(relayId) {
      const [row] = await sql<{ fenced: boolean }[]>`
        UPDATE relay_beats b SET seen_at = clock_timestamp() FROM relays r
        WHERE b.relay = ${relayId}::uuid AND r.id = b.relay RETURNING r.fenced`;
      return row !== undefined && !row.fenced;
    },
    async silent(relayId, silentMs) {
      const rows = await sql<{ id: string }[]>`
        SELECT r.id::text AS id FROM relays r JOIN relay_beats b ON b.relay = r.id
        WHERE NOT r.fenced AND r.id <> ${relayId}::uuid
          AND b.seen_at < clock_timestamp() - ${silentMs}::float8 * interval '1 millisecond'`;
      return idsOf(rows);
    },
    fence: (relayId, silentMs) => fence(sql, relayId, silentMs),
    async adopt(relayId) {
      const rows = await sql<{ id: string }[]>`
        WITH me AS (SELECT id FROM relays WHERE id = ${relayId}::uuid AND NOT fenced FOR SHARE)
        UPDATE relays r SET adopter = me.id FROM me
        WHERE r.fenced AND NOT EXISTS (
          SELECT 1 FROM relays a WHERE a.id = r.adopter AND NOT a.fenced)
        RETURNING r.id::text AS id`;
      return idsOf(rows);
    },
    async forget(relayIds) {
      const rows = await sql<{ id: string }[]>`
        DELETE FROM relays r
        WHERE r.id = ANY(${plainArray(relayIds)}::text::uuid[]) AND r.fenced
          AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.relay = r.id)
        RETURNING r.id::text AS id`;
      return idsOf(rows);
    },
    async retire(relayId) {
      await sql`
        WITH freed AS (UPDATE slot_owners SET relay = NULL WHERE relay = ${relayId}::uuid)
        UPDATE relays SET fenced = true, fenced_at = clock_timestamp()
        WHERE id = ${relayId}::uuid AND NOT fenced`;
      await sql`
        DELETE FROM relays r WHERE r.id = ${relayId}::uuid
          AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.relay = r.id)`;
    },
  };
}

async function fence(sql: Sql, relayId: string, silentMs: number | undefined): Promise<boolean> {
  try {
    await sql.begin(async (transaction) => {
      await transaction`SELECT set_config('lock_timeout', ${`${FENCE_WAIT_MS}ms`}, true)`;
      await transaction`
        UPDATE relays r SET fenced = true, fenced_at = clock_timestamp() FROM relay_beats b
        WHERE r.id = ${relayId}::uuid AND b.relay = r.id AND NOT r.fenced
          AND (${silentMs ?? -1}::float8 < 0 OR b.seen_at
            < clock_timestamp() - ${silentMs ?? -1}::float8 * interval '1 millisecond')`;
    });
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === LOCK_NOT_AVAILABLE) {
      return false;
    }
    throw error;
  }
}

function idsOf(rows: readonly { readonly id: string }[]): readonly string[] {
  return rows.map(({ id }) => id);
}
