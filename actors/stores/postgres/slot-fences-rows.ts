/**
 * The statements behind the fences of slots: whose a slot is, and what is still to be published.
 *
 * A claim takes what is free, and what is left of an owner that is fenced; of those that live it
 * takes nothing and says who they are, so that a claim that is made again finds them again. It
 * refuses, with `FENCED`, a claim by a shard that is fenced itself.
 */

import type { Sql } from "postgres";

import { ShopError } from "../../../runtime/errors.ts";
import { plainArray, textArray } from "./array-literals.ts";

export interface SlotRows {
  /** Relays that own some of `slots` still, not fenced; `relayId` is not among them. */
  claim(relayId: string, group: string, slots: readonly number[]): Promise<readonly string[]>;
  /** Those that `relayId` owns are nobody's any more. */
  release(relayId: string, group: string, slots: readonly number[]): Promise<void>;
  /** The largest id in the outbox, 0 when it is empty. */
  lastOutgoing(): Promise<number>;
  /** Whether frames of others than `relayId` wait, for these slots and topics, up to an id. */
  hasOutgoing(
    relayId: string,
    slots: readonly number[],
    topics: readonly string[],
    throughId: number,
  ): Promise<boolean>;
}

export function createSlotRows(sql: Sql): SlotRows {
  return {
    async claim(relayId, group, slots) {
      return await sql.begin(async (transaction) => {
        const alive = await transaction`
          SELECT 1 FROM relays WHERE id = ${relayId}::uuid AND NOT fenced FOR SHARE`;
        if (alive.length === 0) {
          throw new ShopError("FENCED", `shard incarnation ${relayId} is fenced`, "never");
        }
        // In order of slots, as everybody does.
        await transaction`
          INSERT INTO slot_owners (grp, slot)
          SELECT ${group}::text, s FROM unnest(${plainArray(slots)}::text::int[]) AS u (s)
          ORDER BY s ON CONFLICT DO NOTHING`;
        const former = await transaction<{ relay: string }[]>`
          WITH held AS MATERIALIZED (
            SELECT slot, relay FROM slot_owners
            WHERE grp = ${group}::text AND slot = ANY(${plainArray(slots)}::text::int[])
            ORDER BY slot FOR UPDATE
          ), living AS MATERIALIZED (
            SELECT h.slot, h.relay FROM held h JOIN relays r ON r.id = h.relay
            WHERE NOT r.fenced AND h.relay <> ${relayId}::uuid
          ), taken AS (
            UPDATE slot_owners o SET relay = ${relayId}::uuid FROM held h
            WHERE o.grp = ${group}::text AND o.slot = h.slot
              AND NOT EXISTS (SELECT 1 FROM living l WHERE l.slot = h.slot)
          )
          SELECT DISTINCT relay::text AS relay FROM living`;
        return former.map(({ relay }) => relay);
      });
    },
    async release(relayId, group, slots) {
      await sql`
        UPDATE slot_owners SET relay = NULL
        WHERE grp = ${group}::text AND slot = ANY(${plainArray(slots)}::text::int[])
          AND relay = ${relayId}::uuid`;
    },
    async lastOutgoing() {
      const [row] = await sql<{ last: number | null }[]>`
        SELECT max(id)::float8 AS last FROM outbox`;
      return row?.last ?? 0;
    },
    async hasOutgoing(relayId, slots, topics, throughId) {
      const [row] = await sql<{ waits: boolean }[]>`
        SELECT EXISTS (
          SELECT 1 FROM outbox
          WHERE relay <> ${relayId}::uuid AND id <= ${throughId}::float8::bigint
            AND slot = ANY(${plainArray(slots)}::text::int[])
            AND topic = ANY(${textArray(topics)}::text::text[])
        ) AS waits`;
      return row?.waits ?? false;
    },
  };
}
