/**
 * Burials and fences on a real server: who lost a slot gives up on nothing of it any more.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";

import type { Broker, Delivery, Subscription } from "../../brokers/broker.ts";
import type { OutboxWorld } from "./outbox-relay.fixture.ts";
import type { PostgresShard } from "./outbox-relay-shard.ts";

import { whyMissing } from "../../../deploy/services/test-server.ts";
import { ShopError } from "../../../runtime/errors.ts";
import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { withLetterStore } from "../../brokers/letter-store.ts";
import { MemoryBroker } from "../../brokers/memory-broker.ts";
import { MemoryLog } from "../../brokers/memory-log.ts";
import {
  eventually,
  KeepingBroker,
  numbered,
  startOutboxWorld,
  WORLD_SLOTS as SLOTS,
} from "./outbox-relay.fixture.ts";

const missing = whyMissing("postgres");
const PATIENT = { beatMs: 600_000, silentMs: 3_600_000 };
const BURIAL = { reason: "poison", attempts: 3, firstError: "a", lastError: "b" };
const MiB = 1_048_576;

describe.skipIf(!requireOrSkip("postgres", missing === undefined, missing ?? ""))(
  "a burial by a shard that",
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

    async function openShard(process: string) {
      const told = { isFenced: false };
      const shard = await world.openShard(process, new KeepingBroker(), {
        lease: PATIENT,
        onFenced: () => (told.isFenced = true),
      });
      return { shard, told };
    }

    const letters = async (): Promise<number> => {
      const [row] = await world.sql<{ kept: number }[]>`
        SELECT count(*)::int AS kept FROM dead_letters`;
      return row?.kept ?? 0;
    };

    test("lost its slot is refused, and the new owner is given the frame", async () => {
      const zombie = await openShard("zombie");
      const heir = await openShard("heir");
      const broker = memoryBroker();
      const late = await join(broker, zombie.shard);
      await zombie.shard.fences.claim("order", [1]);
      await broker.publish([numbered(1, 1)]);
      await eventually("it has the frame", () => late.deliveries.length === 1);
      // What the zombie does not see: its slot is another's.
      await heir.shard.fences.claim("order", [1]);
      await expect(late.bury()).rejects.toMatchObject({ code: "FENCED", retry: "never" });
      expect(await letters()).toBe(0);
      await eventually("it was told at once", () => zombie.told.isFenced);
      await late.subscription.close(false);
      const next = await join(broker, heir.shard);
      await eventually("the heir has it", () => next.deliveries.length === 1);
      expect(await next.bury()).toBe("settled");
      expect(await letters()).toBe(1);
      await broker.close();
    });

    test("is being fenced ends first, and none comes after", async () => {
      const { shard } = await openShard("slow");
      const judge = await openShard("judge");
      const letter = {
        group: "order",
        topic: "orders",
        partition: 1,
        sequence: 7,
        bytes: numbered(1, 1).frame,
        burial: BURIAL,
        buriedAtMs: environment.nowMs(),
      };
      const holding = Promise.withResolvers<void>();
      const release = Promise.withResolvers<void>();
      // A second burial of the same delivery that has not ended: the shard's waits for it.
      const blocker = world.connect().begin(async (transaction) => {
        await transaction`
          INSERT INTO dead_letters (grp, topic, partition, sequence, identity, reason, attempts,
            first_error, last_error, buried_at, bytes)
          VALUES ('order', 'orders', 1, 7, 'at 1/7', 'x', 1, 'x', 'x', 1, '')`;
        holding.resolve();
        await release.promise;
        throw new ShopError("CLOSED", "the test takes it back", "never");
      });
      await holding.promise;
      await shard.fences.claim("order", [1]);
      const ended: string[] = [];
      const burying = shard.letters.bury(letter, true).then(() => ended.push("burial"));
      await eventually("the burial waits", async () => (await waiting()) === 1);
      // Which of two answers is here first says nothing: the server sends each when it gets to it.
      const claiming = judge.shard.fences.claim("order", [1]).then(letters);
      claiming.then(() => ended.push("fence")).catch(() => undefined); // it is awaited below
      await eventually("so does the fence", async () => (await waiting()) === 2);
      expect(ended).toEqual([]);
      release.resolve();
      await expect(blocker).rejects.toMatchObject({ code: "CLOSED" });
      expect(await claiming).toBe(1);
      await burying;
      expect(await letters()).toBe(1);
      const another = { ...letter, sequence: 8 };
      await expect(shard.letters.bury(another, true)).rejects.toMatchObject({ code: "FENCED" });
    });

    async function waiting(): Promise<number> {
      const [row] = await world.sql<{ locks: number }[]>`
        SELECT count(*)::int AS locks FROM pg_stat_activity WHERE wait_event_type = 'Lock'`;
      return row?.locks ?? 0;
    }
  },
);

function memoryBroker(): MemoryBroker {
  const log = new MemoryLog({
    topics: ["orders"],
    partitions: SLOTS,
    logBytesMax: MiB,
    deadLetterBytesMax: MiB,
  });
  return new MemoryBroker({ environment, log });
}

/** A member that holds what it is given, and buries the first of it. */
async function join(broker: Broker, { letters }: PostgresShard) {
  const nowMs = (): number => environment.nowMs();
  const deliveries: Delivery[] = [];
  const subscription: Subscription = await withLetterStore({ broker, letters, nowMs }).subscribe({
    group: "order",
    topics: ["orders"],
    from: "earliest",
    creditFrames: 10,
    creditBytes: MiB,
    leaseMs: 600_000,
    onDeliveries: (more) => void deliveries.push(...more),
  });
  const bury = async () => {
    const [first] = deliveries;
    if (first === undefined) throw new ShopError("BAD_MESSAGE", "nothing to bury", "never");
    return await subscription.bury(first, BURIAL);
  };
  return { subscription, deliveries, bury };
}
