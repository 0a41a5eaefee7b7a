/**
 * Due timers on a real server: each fires once whoever looks, on time, and never by one fenced.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";

import type { DueTimersOptions } from "./due-timers.ts";
import type { OutboxWorld } from "./outbox-relay.fixture.ts";
import type { OutboxFrame } from "./outbox-relay-table.ts";

import { whyMissing } from "../../../deploy/services/test-server.ts";
import { systemEnvironment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { createTimerRows, DueTimers } from "./due-timers.ts";
import { eventually, numbered, numberOf, startOutboxWorld } from "./outbox-relay.fixture.ts";
import { createLeaseRows } from "./shard-lease-rows.ts";

const missing = whyMissing("postgres");
const environment = systemEnvironment;

describe.skipIf(!requireOrSkip("postgres", missing === undefined, missing ?? ""))(
  "due timers",
  () => {
    let world: OutboxWorld;
    const sweepers: DueTimers[] = [];
    beforeAll(async () => {
      world = await startOutboxWorld();
    });
    afterAll(async () => {
      await Promise.all(sweepers.map((sweeper) => sweeper.close()));
      await world.dispose();
    });
    beforeEach(async () => {
      await Promise.all(sweepers.splice(0).map((sweeper) => sweeper.close()));
      await world.sql`TRUNCATE relays, relay_beats, outbox, timers`;
    });

    async function register(): Promise<string> {
      const relayId = environment.newId();
      await createLeaseRows(world.sql).register(relayId, { process: relayId, shard: 0 });
      return relayId;
    }

    /** `counted`: looks that found out when the next is due, and looks that failed. */
    function sweep(
      relayId: string,
      fired: OutboxFrame[],
      counted = { looks: 0, failures: 0 },
    ): DueTimers {
      const rows = createTimerRows(world.sql);
      const options: DueTimersOptions = {
        environment,
        relayId,
        rows: {
          fire: rows.fire,
          async nextInMs() {
            const inMs = await rows.nextInMs();
            counted.looks++;
            return inMs;
          },
        },
        onFired: (frames) => void fired.push(...frames),
        onUncertain: () => void counted.failures++,
        onFailure: (error) => {
          throw error;
        },
      };
      const sweeper = new DueTimers(options);
      sweepers.push(sweeper);
      return sweeper;
    }

    async function startTimer(number: number, dueAtMs: number): Promise<void> {
      await startTimers([[number, dueAtMs]]);
    }

    /** Number and when it is due, of each; all in one transaction. */
    async function startTimers(timers: readonly (readonly [number, number])[]): Promise<void> {
      const rows = timers.map(([number, due_at]) => {
        const { topic, frame } = numbered(number, number % 8);
        return { id: `t${number}`, due_at, slot: number % 8, topic, frame: Buffer.from(frame) };
      });
      await world.sql`INSERT INTO timers ${world.sql(rows)}`;
    }

    test("each fires exactly once though four processes look, and is in the outbox", async () => {
      const count = 2_500;
      const dueAtMs = environment.nowMs() - 1_000;
      const { topic, frame } = numbered(1, 3);
      await world.sql`
        INSERT INTO timers (id, due_at, slot, topic, frame)
        SELECT 't' || n, ${dueAtMs}, 3, ${topic}, ${Buffer.from(frame)}
        FROM generate_series(1, ${count}::int) AS n`;
      const fired: OutboxFrame[] = [];
      for (let process = 0; process < 4; process++) sweep(await register(), fired);
      await eventually("all have fired", () => fired.length >= count);
      expect(fired).toHaveLength(count);
      expect(new Set(fired.map(({ id }) => id)).size).toBe(count);
      const [left] = await world.sql<{ timers: number; outbox: number }[]>`
        SELECT (SELECT count(*)::int FROM timers) AS timers,
          (SELECT count(*)::int FROM outbox) AS outbox`;
      expect(left).toEqual({ timers: 0, outbox: count });
      expect(fired[0]).toMatchObject({ topic: "orders", slot: 3 });
    });

    test("fires no timer before it is due, in order of when they are", async () => {
      const fired: OutboxFrame[] = [];
      const sweeper = sweep(await register(), fired);
      const startMs = environment.nowMs();
      const timers = [3, 1, 2].map((number) => [number, startMs + 100 * number] as const);
      // One that came after a later one had fired could not be in order.
      await startTimers(timers);
      for (const [, dueAtMs] of timers) sweeper.started(dueAtMs);
      const latenessMs: number[] = [];
      for (let count = 1; count <= 3; count++) {
        await eventually("one more has fired", () => fired.length >= count);
        latenessMs.push(environment.nowMs() - startMs - 100 * count);
      }
      expect(fired.map(({ frame }) => numberOf(frame))).toEqual([1, 2, 3]);
      expect(Math.min(...latenessMs)).toBeGreaterThanOrEqual(-1);
      console.log(`timers were late by ${latenessMs.map(Math.round).join(", ")} ms`);
    });

    test("finds the timer that another process started and did not live to fire", async () => {
      const fired: OutboxFrame[] = [];
      const counted = { looks: 0, failures: 0 };
      sweep(await register(), fired, counted);
      await eventually("it has found nothing and sleeps", () => counted.looks > 0);
      await startTimer(5, environment.nowMs() + 50);
      await eventually("it has fired", () => fired.length === 1);
    });

    test("a fenced shard fires nothing", async () => {
      const fenced = await register();
      await createLeaseRows(world.sql).fence(fenced);
      await startTimer(1, environment.nowMs() - 10);
      expect(await createTimerRows(world.sql).fire(fenced, 10)).toEqual([]);
      const alive = await register();
      expect(await createTimerRows(world.sql).fire(alive, 10)).toHaveLength(1);
    });

    test("a server that is away is asked again until it answers", async () => {
      const fired: OutboxFrame[] = [];
      const relayId = await register();
      await startTimer(9, environment.nowMs());
      await world.server.kill();
      const counted = { looks: 0, failures: 0 };
      sweep(relayId, fired, counted);
      await eventually("it has asked in vain", () => counted.failures > 0);
      await world.server.start();
      await eventually("it has fired", () => fired.length === 1);
    });
  },
);
