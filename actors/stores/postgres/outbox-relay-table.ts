/**
 * What the relay reads from the outbox and removes from it: statements, no decisions.
 *
 * Reads always begin at the lowest id that is there: a position kept in memory would skip, for
 * ever, the row of a transaction that took a lower id and committed later. A read is bounded in
 * rows and in bytes, and has at least one row if there is any.
 */

import type { Sql } from "postgres";

import { plainArray, textArray } from "./array-literals.ts";

/** One frame that a committed unit left in the outbox. */
export interface OutboxFrame {
  readonly id: number;
  readonly topic: string;
  readonly slot: number;
  readonly frame: Uint8Array;
}

export interface OutboxPage {
  /** Lowest id first. */
  readonly frames: readonly OutboxFrame[];
  /** There was nothing else when it was read. */
  readonly isAll: boolean;
}

/** Whose rows, of which topics. */
export interface OutboxShare {
  readonly relays: readonly string[];
  readonly topics: readonly string[];
}

export interface OutboxBounds {
  readonly framesMax: number;
  readonly bytesMax: number;
}

export interface TopicCount {
  readonly topic: string;
  readonly frames: number;
}

export interface OutboxTable {
  read(share: OutboxShare, bounds: OutboxBounds): Promise<OutboxPage>;
  /** The oldest row of `relayId` of each of these lists of topics that has any. */
  oldest(
    relayId: string,
    shares: readonly (readonly string[])[],
  ): Promise<readonly Pick<OutboxFrame, "id" | "topic">[]>;
  count(share: OutboxShare): Promise<number>;
  /** Rows of these relays of other topics than these, by topic, in order of topics. */
  countOthers(share: OutboxShare): Promise<readonly TopicCount[]>;
  /** Those that are gone already are no error. */
  remove(ids: readonly number[]): Promise<void>;
  /** Resolves when no commit of `relayId` is under way that began before the call. */
  settled(relayId: string): Promise<void>;
}

interface PageRow extends OutboxFrame {
  readonly found: number;
}

export function createOutboxTable(sql: Sql): OutboxTable {
  return {
    async read({ relays, topics }, { framesMax, bytesMax }) {
      // Lengths come first, so that what is beyond the bytes is never fetched.
      const rows = await sql<PageRow[]>`
        WITH lengths AS MATERIALIZED (
          SELECT id, octet_length(frame) AS bytes FROM outbox
          WHERE relay = ANY(${plainArray(relays)}::text::uuid[])
            AND topic = ANY(${textArray(topics)}::text::text[])
          ORDER BY id LIMIT ${framesMax + 1}::int
        ), sums AS (
          SELECT id, bytes, sum(bytes) OVER (ORDER BY id) AS total,
            row_number() OVER (ORDER BY id) AS place, count(*) OVER ()::int AS found
          FROM lengths
        )
        SELECT o.id::float8 AS id, o.topic, o.slot, o.frame, s.found
        FROM sums s JOIN outbox o ON o.id = s.id
        WHERE s.place <= ${framesMax}::int AND (s.total <= ${bytesMax}::int OR s.place = 1)
        ORDER BY o.id`;
      const found = rows[0]?.found ?? 0;
      const frames = rows.map(({ id, topic, slot, frame }) => ({ id, topic, slot, frame }));
      return { frames, isAll: frames.length === found };
    },
    async oldest(relayId, shares) {
      return await sql<Pick<OutboxFrame, "id" | "topic">[]>`
        SELECT o.id::float8 AS id, o.topic
        FROM unnest(${textArray(shares.map(textArray))}::text::text[]) AS s (topics), LATERAL (
          SELECT id, topic FROM outbox
          WHERE relay = ${relayId}::uuid AND topic = ANY(s.topics::text[])
          ORDER BY id LIMIT 1
        ) o`;
    },
    async count({ relays, topics }) {
      const [row] = await sql<{ waiting: number }[]>`
        SELECT count(*)::int AS waiting FROM outbox
        WHERE relay = ANY(${plainArray(relays)}::text::uuid[])
          AND topic = ANY(${textArray(topics)}::text::text[])`;
      return row?.waiting ?? 0;
    },
    async countOthers({ relays, topics }) {
      const rows = await sql<TopicCount[]>`
        SELECT topic, count(*)::int AS frames FROM outbox
        WHERE relay = ANY(${plainArray(relays)}::text::uuid[])
          AND topic <> ALL(${textArray(topics)}::text::text[])
        GROUP BY topic ORDER BY topic`;
      return rows.map(({ topic, frames }) => ({ topic, frames }));
    },
    async remove(ids) {
      await sql`DELETE FROM outbox WHERE id = ANY(${plainArray(ids)}::text::bigint[])`;
    },
    async settled(relayId) {
      // Commits hold this row FOR SHARE until they end.
      await sql`SELECT 1 FROM relays WHERE id = ${relayId}::uuid FOR UPDATE`;
    },
  };
}
