/**
 * The relay on a real server and across real processes: killed, stopped, fenced, cut off.
 *
 * Brokers are kept by the test, in its own process, so that it sees every frame that was ever
 * published and in which order.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";

import type { Subprocess } from "bun";
import type { Outgoing } from "../../brokers/broker.ts";
import type { OutboxWorld } from "./outbox-relay.fixture.ts";
import type { PostgresShard, PostgresShardOptions } from "./outbox-relay-shard.ts";
import type { ShardProcessOptions, ShardProcessSays } from "./outbox-relay-process.fixture.ts";

import { join } from "node:path";

import { whyMissing } from "../../../deploy/services/test-server.ts";
import { assert, isShopError, ShopError } from "../../../runtime/errors.ts";
import { frameId, frameSlot, peekFrame } from "../../../runtime/frames/frame.ts";
import { systemEnvironment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { EMPTY_UNIT } from "../unit-of-work.ts";
import {
  commitFrames,
  eventually,
  KeepingBroker,
  numbered,
  numberOf,
  startOutboxWorld,
  WORLD_SLOTS as SLOTS,
} from "./outbox-relay.fixture.ts";
import { createOutboxTable } from "./outbox-relay-table.ts";
import { createOutboxRelay } from "./outbox-relay.ts";

const missing = whyMissing("postgres");
const environment = systemEnvironment;
const PATIENT = { beatMs: 100, silentMs: 3_600_000 };
const DOWN = new ShopError("STORAGE_FAULT", "the broker is away", "later");

describe.skipIf(!requireOrSkip("postgres", missing === undefined, missing ?? ""))(
  "the outbox relay on PostgreSQL",
  () => {
    let world: OutboxWorld;
    const processes: Subprocess[] = [];
    beforeAll(async () => {
      world = await startOutboxWorld();
    });
    afterAll(async () => {
      await endProcesses();
      await world.dispose();
    });
    beforeEach(async () => {
      await endProcesses();
      await world.clear();
    });

    async function endProcesses(): Promise<void> {
      for (const child of processes.splice(0)) {
        child.kill("SIGKILL");
        await child.exited;
      }
    }

    const openShard = (
      process: string,
      broker: KeepingBroker,
      options: Partial<PostgresShardOptions> = {},
    ): Promise<PostgresShard> => world.openShard(process, broker, { lease: PATIENT, ...options });

    const commit = (shard: PostgresShard, outgoing: readonly Outgoing[]): Promise<unknown> =>
      shard.store.commit({ ...EMPTY_UNIT, outgoing }, []);

    const outboxRows = async (): Promise<number> => {
      const [row] = await world.sql<{ rows: number }[]>`SELECT count(*)::int AS rows FROM outbox`;
      return row?.rows ?? 0;
    };

    function startProcess(options: Omit<ShardProcessOptions, "url">) {
      const path = join(import.meta.dir, "outbox-relay-process.fixture.ts");
      const argument = JSON.stringify({ ...options, url: world.server.url });
      const child = Bun.spawn(["bun", path, argument], { stdout: "pipe", stderr: "inherit" });
      processes.push(child);
      const said: ShardProcessSays[] = [];
      void listen(child.stdout, said);
      return { child, said };
    }

    test("publishes what units leave in the order of their commits, and removes it", async () => {
      const broker = new KeepingBroker();
      const shard = await openShard("a", broker);
      const count = 3_000;
      const commits = Array.from({ length: count }, (_, index) =>
        commit(shard, [numbered(index, index % SLOTS)]),
      );
      await Promise.all(commits);
      await eventually("all is published", () => broker.published.length >= count);
      expect(broker.numbers()).toEqual(Array.from({ length: count }, (_, index) => index));
      await eventually("the table is empty", async () => (await outboxRows()) === 0);
      await eventually("nothing waits", () => shard.depth() === 0);
    });

    test("B34: a lower id that commits after a higher was published is not skipped", async () => {
      const broker = new KeepingBroker();
      const relayId = environment.newId();
      const relay = createOutboxRelay({
        environment,
        relayId,
        table: createOutboxTable(world.sql),
        lanes: [{ name: "test", topics: ["orders"], broker }],
        onRefused: async () => undefined,
      });
      const began = Promise.withResolvers<void>();
      const release = Promise.withResolvers<void>();
      const slow = world.connect().begin(async (transaction) => {
        const rows = await commitFrames(transaction, relayId, [numbered(1, 3), numbered(2, 3)]);
        began.resolve();
        await release.promise;
        return rows;
      });
      await began.promise;
      const quick = await commitFrames(world.sql, relayId, [numbered(3, 5), numbered(4, 5)]);
      // It polls: nobody has told it anything.
      relay.uncertain();
      await eventually("B is published", () => broker.published.length === 2);
      release.resolve();
      const late = await slow;
      expect(late[0]?.id).toBeLessThan(quick[0]?.id ?? 0);
      // One half of those who tell of it did not live to do so.
      await relay.check();
      await relay.check();
      await eventually("A is published", () => broker.published.length === 4);
      expect(broker.numbers()).toEqual([3, 4, 1, 2]);
      await eventually("the table is empty", async () => (await outboxRows()) === 0);
      await relay.close();
    });

    test("a relay that comes anew publishes what the one before has left, first", async () => {
      const broken = new KeepingBroker();
      broken.fails = DOWN;
      const first = await openShard("a", broken);
      const count = 2_000;
      await Promise.all(
        Array.from({ length: count }, (_, index) =>
          commit(first, [numbered(index, index % SLOTS)]),
        ),
      );
      const broker = new KeepingBroker();
      const second = await openShard("a", broker);
      await commit(second, [numbered(count, 0)]);
      await eventually("all is published", () => broker.published.length > count);
      expect(broker.numbers()).toEqual(Array.from({ length: count + 1 }, (_, index) => index));
      expect(broken.published).toEqual([]);
      await expect(commit(first, [numbered(9_999, 0)])).rejects.toMatchObject({ code: "FENCED" });
      await eventually("the table is empty", async () => (await outboxRows()) === 0);
    });

    test("a slot is taken on only once what its owner has committed is published", async () => {
      const stuck = new KeepingBroker();
      stuck.fails = DOWN;
      let isFenced = false;
      const former = await openShard("a", stuck, { onFenced: () => (isFenced = true) });
      await former.fences.claim("order", [1, 2, 3]);
      await commit(former, [numbered(1, 2), numbered(2, 2)]);
      const broker = new KeepingBroker();
      const next = await openShard("b", broker);
      await next.fences.claim("order", [2]);
      // Had it not waited, this would come first: its broker is well.
      await commit(next, [numbered(3, 2)]);
      await eventually("all is published", () => broker.published.length === 3);
      expect(broker.numbers()).toEqual([1, 2, 3]);
      await eventually("the former owner knows", () => isFenced);
    });

    test("a slot that was released is taken on once its owner's frames are out", async () => {
      const slow = new KeepingBroker();
      slow.fails = DOWN;
      const former = await openShard("a", slow);
      const next = await openShard("b", new KeepingBroker());
      await former.fences.claim("order", [2]);
      await commit(former, [numbered(1, 2), numbered(2, 2)]);
      await former.fences.release("order", [2]);
      let isClaimed = false;
      const claiming = next.fences.claim("order", [2]).then(() => (isClaimed = true));
      expect(await next.fences.published([2], 200)).toBe(false);
      expect(isClaimed).toBe(false);
      slow.fails = undefined;
      await claiming;
      expect(slow.numbers()).toEqual([1, 2]);
    });

    test("a slot that was released is taken on without fencing anybody", async () => {
      const broker = new KeepingBroker();
      const former = await openShard("a", broker);
      const next = await openShard("b", broker);
      await former.fences.claim("order", [1, 2, 3]);
      await commit(former, [numbered(1, 2)]);
      await former.fences.release("order", [2]);
      await next.fences.claim("order", [2]);
      await commit(former, [numbered(2, 1)]);
      await commit(next, [numbered(3, 2)]);
      await eventually("all is published", () => broker.published.length === 3);
      expect(await former.fences.published([2], 5_000)).toBe(true);
    });

    test("a claim does not wait for ever, and says what is left", async () => {
      const stuck = new KeepingBroker();
      stuck.fails = DOWN;
      const told: string[] = [];
      const former = await openShard("a", stuck);
      await commit(former, [numbered(1, 2)]);
      const next = await openShard("b", stuck, {
        fences: { publishedWaitMs: 200, takeWaitMs: 20_000 },
        onLog: (level, text) => void told.push(`${level} ${text}`),
      });
      await next.fences.claim("order", [2]);
      expect(told.join()).toContain("frames of slots 2 are still unpublished");
    });

    test("a server killed while units are committed loses and reorders nothing", async () => {
      const broker = new KeepingBroker();
      const shard = await openShard("a", broker);
      const committed: number[] = [];
      let isOver = false;
      const writing = (async () => {
        for (let number = 1; !isOver; number++) {
          const frame = numbered(number, 0);
          for (;;) {
            try {
              const mark = { group: "g", messageId: frameId(frame.frame) };
              const unit = { ...EMPTY_UNIT, inbox: [mark], outgoing: [frame] };
              await shard.store.commit(unit, []);
              break;
            } catch (error) {
              if (!isShopError(error) || error.retry === "never") throw error;
            }
          }
          committed.push(number);
        }
      })();
      for (let kills = 0; kills < 3; kills++) {
        const before = committed.length;
        await eventually("some more are committed", () => committed.length > before + 100);
        await world.server.kill();
        await world.server.start();
      }
      isOver = true;
      await writing;
      await eventually(
        "all is published",
        () => new Set(broker.numbers()).size === committed.length,
      );
      expect(firsts(broker.numbers())).toEqual(committed);
      await eventually("the table is empty", async () => (await outboxRows()) === 0);
    });

    test("30,000 rows, process and broker bounced: every effect once, in order", async () => {
      const count = 30_000;
      const dead = environment.newId();
      await world.sql`
        INSERT INTO relays (id, process, shard, fenced) VALUES (${dead}, 'dead', 0, true)`;
      const all = Array.from({ length: count }, (_, index) => numbered(index, index % SLOTS));
      for (let at = 0; at < count; at += 2_000) {
        const share = all.slice(at, at + 2_000).map(({ topic, frame }) => {
          return { relay: dead, slot: frameSlot(frame), topic, frame: Buffer.from(frame) };
        });
        await world.sql`INSERT INTO outbox ${world.sql(share)}`;
      }
      const target = new PublishTarget();
      try {
        for (let bounces = 0; bounces < 6; bounces++) {
          const goal = ((bounces + 1) * count) / 8;
          const options = { process: "copier", publishTo: target.url, commits: false };
          const { child } = startProcess(options);
          await eventually("some more has come", () => target.frames.length > goal);
          // Every other time the broker goes first, and comes back to another process.
          if (bounces % 2 === 0) target.isDown = true;
          child.kill("SIGKILL");
          await child.exited;
          target.isDown = false;
        }
        startProcess({ process: "copier", publishTo: target.url, commits: false });
        await eventually("the table is empty", async () => (await outboxRows()) === 0);
      } finally {
        await target.close();
      }
      const effects = new Set<string>();
      const order = target.frames.filter((frame) => {
        const isNew = !effects.has(frameId(frame));
        return isNew && effects.add(frameId(frame));
      });
      expect(effects.size).toBe(count);
      expect(order).toHaveLength(count);
      for (let slot = 0; slot < SLOTS; slot++) {
        const numbers = order.filter((frame) => frameSlot(frame) === slot).map(numberOf);
        expect(numbers).toEqual(numbers.toSorted((left, right) => left - right));
      }
      console.log(`${target.frames.length - count} of ${count} frames came more than once`);
    });

    test("a process stopped beyond its silence wakes to find its commit refused", async () => {
      const target = new PublishTarget();
      try {
        const options = { process: "zombie", publishTo: target.url, commits: true };
        const { child, said } = startProcess(options);
        await eventually("it commits", () => said.filter(isCommitted).length > 20);
        child.kill("SIGSTOP");
        const [ready] = said;
        assert(ready?.kind === "ready", "it says its id first");
        const broker = new KeepingBroker();
        await openShard("judge", broker, { lease: { beatMs: 50, silentMs: 1_500 } });
        await eventually("it is fenced or forgotten", async () => {
          const [row] = await world.sql<{ fenced: boolean }[]>`
            SELECT fenced FROM relays WHERE id = ${ready.relayId}`;
          return row?.fenced !== false;
        });
        const marks = await marksOf("zombie");
        child.kill("SIGCONT");
        expect(await child.exited).toBe(3);
        await eventually("all it said has come", () => said.some(({ kind }) => kind === "refused"));
        const refusals = said.filter(({ kind }) => kind === "refused");
        expect(refusals).toEqual([{ kind: "refused", code: "FENCED" }]);
        expect(await marksOf("zombie")).toBe(marks);
        // What it had committed is published, by itself or by the one that fenced it.
        await eventually("nothing is left", async () => (await outboxRows()) === 0);
        const numbers = new Set([...target.frames.map(numberOf), ...broker.numbers()]);
        expect(numbers.size).toBe(marks);
        expect(said.filter(isCommitted).length).toBeLessThanOrEqual(marks);
      } finally {
        await target.close();
      }
    });

    async function marksOf(group: string): Promise<number> {
      const [row] = await world.sql<{ marks: number }[]>`
        SELECT count(*)::int AS marks FROM inbox WHERE grp = ${group}`;
      return row?.marks ?? 0;
    }
  },
);

/** A broker that other processes publish to over HTTP. */
class PublishTarget {
  readonly frames: Uint8Array[] = [];
  isDown = false;
  readonly #server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const bytes = new Uint8Array(await request.arrayBuffer());
      if (this.isDown) return new Response("down", { status: 503 });
      for (let at = 0; at < bytes.length;) {
        const length = peekFrame(bytes, at);
        assert(typeof length === "number", "only whole frames are posted");
        this.frames.push(bytes.slice(at, at + length));
        at += length;
      }
      return new Response("ok");
    },
  });

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}/`;
  }

  async close(): Promise<void> {
    await this.#server.stop(true);
  }
}

function isCommitted({ kind }: ShardProcessSays): boolean {
  return kind === "committed";
}

/** Without what came again. */
function firsts(numbers: readonly number[]): readonly number[] {
  return [...new Set(numbers)];
}

async function listen(output: ReadableStream<Uint8Array>, said: ShardProcessSays[]): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of output) {
    const lines = `${rest}${decoder.decode(bytes, { stream: true })}`.split("\n");
    rest = lines.pop() ?? "";
    // One JSON value a line, as the process of this build says them.
    said.push(...lines.map((line) => JSON.parse(line) as ShardProcessSays));
  }
}
