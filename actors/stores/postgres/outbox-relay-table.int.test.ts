/**
 * What the relay asks of its table, on a real server.
 *
 * Reads for the look and for frames of unknown topics; pages are tested by who reads them, in
 * `outbox-relay.int.test.ts`.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";

import type { OutboxWorld } from "./outbox-relay.fixture.ts";

import { whyMissing } from "../../../deploy/services/test-server.ts";
import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { commitFrames, numbered, startOutboxWorld } from "./outbox-relay.fixture.ts";
import { createOutboxTable } from "./outbox-relay-table.ts";

const missing = whyMissing("postgres");

describe.skipIf(!requireOrSkip("postgres", missing === undefined, missing ?? ""))(
  "the outbox of a relay",
  () => {
    let world: OutboxWorld;
    beforeAll(async () => {
      world = await startOutboxWorld();
    });
    afterAll(async () => {
      await world.dispose();
    });
    beforeEach(async () => {
      await world.clear();
    });

    test("rows of topics that no lane has are counted, its own and those it adopts", async () => {
      const table = createOutboxTable(world.sql);
      const [me, dead, other] = [environment.newId(), environment.newId(), environment.newId()];
      for (const relay of [me, dead, other]) {
        await commitFrames(world.sql, relay, [
          numbered(1),
          numbered(2, 1, "outbox.redis"),
          numbered(3, 2, "vip"),
        ]);
      }
      const topics = ["orders", "payments"];
      expect(await table.countOthers({ relays: [me], topics })).toEqual([
        { topic: "outbox.redis", frames: 1 },
        { topic: "vip", frames: 1 },
      ]);
      expect(await table.countOthers({ relays: [me, dead], topics: ["vip"] })).toEqual([
        { topic: "orders", frames: 2 },
        { topic: "outbox.redis", frames: 2 },
      ]);
      expect(await table.countOthers({ relays: [other], topics: [...topics, "vip"] })).toEqual([
        { topic: "outbox.redis", frames: 1 },
      ]);
    });

    test("the oldest row of each share is found, its own and no other's", async () => {
      const table = createOutboxTable(world.sql);
      const [me, other] = [environment.newId(), environment.newId()];
      const topics = ["orders", "payments", 'of "{a,b}"\\'] as const;
      const frames = [...topics, ...topics].map((topic) => numbered(1, 0, topic));
      await commitFrames(world.sql, other, frames);
      const [orders, payments, odd] = await commitFrames(world.sql, me, frames);
      const oldest = async (...shares: (readonly string[])[]): Promise<readonly unknown[]> => {
        const rows = await table.oldest(me, shares);
        return rows.toSorted((left, right) => left.id - right.id);
      };
      const known = [orders, payments, odd].map((row) => ({ id: row?.id, topic: row?.topic }));
      expect(await oldest(["payments", "orders"], ["nobody's"], [topics[2]], [])).toEqual([
        known[0],
        known[2],
      ]);
      expect(await oldest(["payments"])).toEqual([known[1]]);
      expect(await oldest(["nobody's"])).toEqual([]);
      expect(await oldest()).toEqual([]);
    });
  },
);
