/**
 * Leases and slots on a real server: who is fenced, what that means for a commit, who publishes.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";

import type { LeaseSettings, ShardLease } from "./shard-lease.ts";
import type { OutboxWorld } from "./outbox-relay.fixture.ts";

import { whyMissing } from "../../../deploy/services/test-server.ts";
import { systemEnvironment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { commitFrames, eventually, numbered, startOutboxWorld } from "./outbox-relay.fixture.ts";
import { openShardLease } from "./shard-lease.ts";
import { createLeaseRows } from "./shard-lease-rows.ts";

const missing = whyMissing("postgres");
/** Nobody is silent unless the case makes him. */
const PATIENT: LeaseSettings = { beatMs: 50, silentMs: 3_600_000 };
/** Beats when the case has it beat: a beat of its own might adopt what another is to adopt. */
const STILL: LeaseSettings = { ...PATIENT, beatMs: 600_000 };

describe.skipIf(!requireOrSkip("postgres", missing === undefined, missing ?? ""))(
  "a shard's lease",
  () => {
    let world: OutboxWorld;
    const leases: ShardLease[] = [];
    beforeAll(async () => {
      world = await startOutboxWorld();
    });
    afterAll(async () => {
      await Promise.all(leases.map((lease) => lease.close()));
      await world.dispose();
    });
    beforeEach(async () => {
      await Promise.all(leases.splice(0).map((lease) => lease.close()));
      await world.sql`TRUNCATE relays, relay_beats, slot_owners, outbox`;
    });

    async function open(process: string, settings = PATIENT, shard = 0) {
      const seen = { isFenced: false, adopted: new Array<string>() };
      const lease = await openShardLease({
        environment: systemEnvironment,
        process,
        shard,
        settings,
        rows: createLeaseRows(world.sql),
        onFenced: () => (seen.isFenced = true),
        onAdopted: (ids) => void seen.adopted.splice(0, Infinity, ...ids),
      });
      leases.push(lease);
      return { lease, seen };
    }

    const isFenced = async (relayId: string): Promise<boolean | undefined> => {
      const [row] = await world.sql<{ fenced: boolean }[]>`
        SELECT fenced FROM relays WHERE id = ${relayId}`;
      return row?.fenced;
    };

    test("a shard that starts anew fences its predecessor and publishes for it", async () => {
      const before = await open("a");
      const other = await open("b", STILL);
      await commitFrames(world.sql, before.lease.relayId, [numbered(1)]);
      const after = await open("a");
      await eventually("the predecessor knows", () => before.seen.isFenced);
      expect(after.seen.adopted).toEqual([before.lease.relayId]);
      expect(await isFenced(other.lease.relayId)).toBe(false);
      await other.lease.beat();
      expect(other.seen.adopted).toEqual([]);
    });

    test("to fence waits for the commit that is under way, and none comes after", async () => {
      const { lease } = await open("a");
      const judge = await open("b");
      const holding = Promise.withResolvers<void>();
      const release = Promise.withResolvers<void>();
      const client = world.connect();
      const commit = client.begin(async (transaction) => {
        await transaction`
          SELECT 1 FROM relays WHERE id = ${lease.relayId} AND NOT fenced FOR SHARE`;
        await commitFrames(transaction, lease.relayId, [numbered(7)]);
        holding.resolve();
        await release.promise;
      });
      await holding.promise;
      let isDone = false;
      const fencing = judge.lease.fence([lease.relayId], "a test").then(() => (isDone = true));
      await eventually("the fence waits for a lock", async () => {
        const waiting = await world.sql`
          SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'`;
        return waiting.length > 0;
      });
      expect(isDone).toBe(false);
      release.resolve();
      await Promise.all([commit, fencing]);
      await judge.lease.beat();
      expect(judge.seen.adopted).toEqual([lease.relayId]);
      const alive = await client`
        SELECT 1 FROM relays WHERE id = ${lease.relayId} AND NOT fenced FOR SHARE`;
      expect(alive).toHaveLength(0);
    });

    test("one that is silent is fenced by who beats, not by who was silent too", async () => {
      const dead = await open("dead", STILL);
      const deadId = dead.lease.relayId;
      await world.sql`
        UPDATE relay_beats SET seen_at = clock_timestamp() - interval '1 hour'
        WHERE relay = ${deadId}`;
      const fresh = await open("fresh", { beatMs: 600_000, silentMs: 400 });
      await fresh.lease.beat();
      expect(await isFenced(deadId)).toBe(false);
      const regular = await open("regular", { beatMs: 20, silentMs: 400 });
      await eventually("it is fenced", async () => (await isFenced(deadId)) !== false);
      expect(await isFenced(regular.lease.relayId)).toBe(false);
    });

    test("a dead one without frames is forgotten, one with frames is not", async () => {
      const empty = await open("empty", STILL);
      const full = await open("full", STILL);
      await commitFrames(world.sql, full.lease.relayId, [numbered(1)]);
      const judge = await open("judge");
      await judge.lease.fence([empty.lease.relayId, full.lease.relayId], "a test");
      await eventually("one is forgotten", async () => {
        await judge.lease.beat();
        return (await isFenced(empty.lease.relayId)) === undefined;
      });
      expect(judge.seen.adopted).toEqual([full.lease.relayId]);
      await world.sql`DELETE FROM outbox`;
      await eventually("the other is forgotten", async () => {
        await judge.lease.beat();
        return judge.seen.adopted.length === 0;
      });
    });

    test("frames of the dead pass on when their publisher dies too", async () => {
      const first = await open("first");
      await commitFrames(world.sql, first.lease.relayId, [numbered(1)]);
      const second = await open("second");
      await second.lease.fence([first.lease.relayId], "a test");
      await second.lease.beat();
      expect(second.seen.adopted).toEqual([first.lease.relayId]);
      await commitFrames(world.sql, second.lease.relayId, [numbered(2)]);
      const third = await open("third");
      await third.lease.fence([second.lease.relayId], "a test");
      await third.lease.beat();
      expect(third.seen.adopted.toSorted()).toEqual(
        [first.lease.relayId, second.lease.relayId].toSorted(),
      );
    });
  },
);
