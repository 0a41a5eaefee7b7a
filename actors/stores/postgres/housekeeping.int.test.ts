/**
 * Housekeeping and hints between processes on a real server: one at a time, and nothing relied on.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { OutboxWorld } from "./outbox-relay.fixture.ts";
import type { RetentionStep } from "./postgres-retention.ts";

import { whyMissing } from "../../../deploy/services/test-server.ts";
import { ShopError } from "../../../runtime/errors.ts";
import { systemEnvironment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { HOUSEKEEPING_SETTINGS, startHousekeeping } from "./housekeeping.ts";
import { eventually, startOutboxWorld } from "./outbox-relay.fixture.ts";
import { retentionSteps } from "./postgres-retention.ts";
import { createReplyHints } from "./reply-hints.ts";

const missing = whyMissing("postgres");
const environment = systemEnvironment;

describe.skipIf(!requireOrSkip("postgres", missing === undefined, missing ?? ""))(
  "housekeeping on PostgreSQL",
  () => {
    let world: OutboxWorld;
    beforeAll(async () => {
      world = await startOutboxWorld();
    });
    afterAll(async () => {
      await world.dispose();
    });

    function start(steps: readonly RetentionStep[], everyMs = HOUSEKEEPING_SETTINGS.everyMs) {
      const settings = { ...HOUSEKEEPING_SETTINGS, everyMs };
      return startHousekeeping({ environment, sql: world.connect(), steps, settings });
    }

    test("one process works at a time, the others go away", async () => {
      const release = Promise.withResolvers<void>();
      const began = Promise.withResolvers<void>();
      const busy = start([
        async () => {
          began.resolve();
          await release.promise;
          return 0;
        },
      ]);
      const other = start([async () => 0]);
      const turn = busy.turn();
      await began.promise;
      expect(await other.turn()).toBeUndefined();
      release.resolve();
      expect(await turn).toBe(0);
      expect(await other.turn()).toBe(0);
      await Promise.all([busy.close(), other.close()]);
    });

    test("a step goes on until nothing is left; a failed one gives the lock back", async () => {
      const left = [3, 2, 0];
      let fails = true;
      const keeper = start([
        async () => left.shift() ?? 0,
        async () => {
          if (fails) throw new ShopError("STORAGE_FAULT", "not now", "later");
          return 0;
        },
      ]);
      await expect(keeper.turn()).rejects.toMatchObject({ code: "STORAGE_FAULT" });
      expect(left).toEqual([]);
      fails = false;
      const other = start([async () => 0]);
      expect(await other.turn()).toBe(0);
      await Promise.all([keeper.close(), other.close()]);
    });

    test("removes what is old enough, by itself, and keeps the rest", async () => {
      const nowMs = environment.nowMs();
      const add = (ageMs: number): Promise<unknown> => world.sql`
        INSERT INTO inbox (grp, message_id, at) SELECT 'g', gen_random_uuid(), ${nowMs - ageMs}
        FROM generate_series(1, 7000)`;
      await add(10_000_000);
      await add(1_000);
      const ages = { inboxAgeMs: 5_000_000, idempotencyAgeMs: 1, fraudAgeMs: 1 };
      const keeper = start(retentionSteps({ ...ages, deadLettersMax: 10 }, environment), 100);
      const rows = async (): Promise<number> => {
        const [row] = await world.sql<{ rows: number }[]>`SELECT count(*)::int AS rows FROM inbox`;
        return row?.rows ?? 0;
      };
      await eventually("the old ones are gone", async () => (await rows()) === 7_000);
      await keeper.close();
    });

    test("a hint reaches every process that listens, and none that has stopped", async () => {
      const heard: string[] = [];
      const listener = createReplyHints({ environment, sql: world.connect() });
      const teller = createReplyHints({ environment, sql: world.connect() });
      const stop = await listener.listen((id) => void heard.push(id));
      await teller.tell("one");
      await eventually("it is heard", () => heard.length === 1);
      await stop();
      await teller.tell("two");
      const again = await listener.listen((id) => void heard.push(id));
      await teller.tell("three");
      await eventually("the next is heard", () => heard.includes("three"));
      expect(heard).toEqual(["one", "three"]);
      await again();
    });

    test("to tell never fails, and who listens hears again after an outage", async () => {
      const heard: string[] = [];
      const hints = createReplyHints({
        environment,
        sql: world.postgres.client(1),
        signEveryMs: 100,
      });
      const stop = await hints.listen((id) => void heard.push(id));
      await world.server.kill();
      await hints.tell("lost");
      await world.server.start();
      await eventually("it hears again", async () => {
        await hints.tell("found");
        return heard.includes("found");
      });
      await stop();
    });
  },
);
