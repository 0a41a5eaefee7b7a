/**
 * Claims that are lost while they are being taken on, on a real server: another client takes them
 * over in between, and the subscriber answers when the test has it answer.
 */

import { afterAll, describe, expect, test } from "bun:test";

import type { TestServer } from "../../../deploy/services/test-server.ts";
import type { RedisConnection } from "./redis-connection.ts";
import type { RedisScript } from "./redis-scripts.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { systemEnvironment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { openRedisConnection } from "./redis-connection.ts";
import { groupKeys, logKey } from "./redis-keys.ts";
import { REDIS_SETTINGS } from "./redis-options.ts";
import { text } from "./redis-reply.ts";
import { ATTACH, BEAT } from "./redis-scripts.ts";
import { RedisSubscription } from "./redis-subscription.ts";

const environment = systemEnvironment;
const PATIENCE_MS = 30_000;
const TOPIC = "t";
/** Of the server's clock: for as long as the test runs. */
const FOR_EVER_MS = 9_000_000_000_000;
const THIEF = "thief";
const missing = whyMissing("redis");

describe.skipIf(!requireOrSkip("redis", missing === undefined, missing ?? ""))("redis", () => {
  const opened: { subscription: RedisSubscription; connections: RedisConnection[] }[] = [];
  let starting: Promise<TestServer> | undefined;

  afterAll(async () => {
    await Promise.all(opened.map(({ subscription }) => subscription.close()));
    for (const { connections } of opened) for (const each of connections) each.close();
    await (await starting)?.dispose();
  }, PATIENCE_MS);

  async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const startMs = environment.monotonicMs();
    while (!(await holds())) {
      if (environment.monotonicMs() - startMs > PATIENCE_MS) throw new Error(`never: ${what}`);
      await Bun.sleep(5);
    }
  }

  /** A member that tells what it is told, and another client that does as other members do. */
  async function open(partitions: number) {
    const { url } = await (starting ??= startTestServer("redis"));
    const prefix = `w${opened.length}:`;
    const settings = { ...REDIS_SETTINGS, url, prefix, sessionMs: 20_000, heartbeatMs: 100 };
    const control = await openRedisConnection({ settings, environment, purpose: "control" });
    const operator = await openRedisConnection({ settings, environment, purpose: "operator" });
    const { link } = operator;
    const { owners, members, facts } = groupKeys(prefix, "g");
    const told: string[] = [];
    /** Each has one question answered. */
    const asks: (() => void)[] = [];
    const hooks: Hooks = { areAnswersHeld: true, before: () => Promise.resolve() };
    watch(control, hooks);
    const subscription = new RedisSubscription({
      settings,
      environment,
      control: control.link,
      link: await control.openLink("read", { isBlocking: true }),
      partitions,
      subscribe: {
        group: "g",
        topics: [TOPIC],
        from: "earliest",
        leaseMs: 60_000,
        creditFrames: 1_000,
        creditBytes: 16_000_000,
        onDeliveries: () => undefined,
        async onAssigned(_topic, asked) {
          told.push(`assigned ${asked.join()}`);
          const { promise, resolve } = Promise.withResolvers<void>();
          asks.push(resolve);
          if (hooks.areAnswersHeld) await promise;
        },
        onRevoking: async (_topic, lost) => told.push(`revoking ${lost.join()}`) > 0,
        onRevoked: (_topic, lost) => void told.push(`revoked ${lost.join()}`),
      },
      onTrouble: () => undefined,
      onEnd: () => undefined,
    });
    const own = (partition: number, fence: string) => link.call("HSET", owners, partition, fence);
    /** Another that lives and may own these. */
    async function arrive(id: string, ...mayOwn: number[]): Promise<void> {
      await link.call("HSET", facts, `may:${id}`, JSON.stringify({ partitions: mayOwn }));
      await link.call("ZADD", members, FOR_EVER_MS, id);
    }
    opened.push({ subscription, connections: [control, operator] });
    return {
      subscription,
      told,
      asks,
      hooks,
      ownerOf: async (partition: number) => {
        const owner = await link.call("HGET", owners, partition);
        return owner === null ? undefined : text(owner);
      },
      arrive,
      depart: (id: string) => link.call("ZREM", members, id),
      own,
      async steal(partition: number): Promise<void> {
        await arrive(THIEF, partition);
        await own(partition, `${THIEF}:9`);
      },
      logs: (...held: number[]) => held.map((partition) => logKey(prefix, TOPIC, partition)),
    };
  }

  test("what another took between the claim and the question is not asked for", async () => {
    const { subscription, told, hooks, steal, logs } = await open(2);
    hooks.areAnswersHeld = false;
    hooks.before = async (script) => void (script === ATTACH && (await steal(0)));
    await subscription.start();
    expect(told).toEqual(["assigned 1"]);
    expect(subscription.logs()).toEqual(logs(1));
  });

  test("nobody is asked when another took it all", async () => {
    const { subscription, told, hooks, steal } = await open(1);
    hooks.before = async (script) => void (script === ATTACH && (await steal(0)));
    await subscription.start();
    expect(told).toEqual([]);
    expect(subscription.logs()).toEqual([]);
  });

  test("what another takes while the subscriber is asked is taken from it, unread", async () => {
    const { subscription, told, asks, hooks, steal, logs } = await open(2);
    const starts = subscription.start();
    await eventually("it is asked", () => asks.length === 1);
    // The next sign of life would tell, but comes too late.
    const beats = Promise.withResolvers<void>();
    hooks.before = (script) => (script === BEAT ? beats.promise : Promise.resolve());
    await steal(0);
    asks[0]?.();
    await starts;
    beats.resolve();
    expect(told).toEqual(["assigned 0,1", "revoking 0", "revoked 0"]);
    expect(subscription.logs()).toEqual(logs(1));
  });

  test("what a sign of life showed to be lost stays lost, and is asked for anew", async () => {
    const { subscription, told, asks, hooks, steal, ownerOf, own, depart } = await open(2);
    const starts = subscription.start();
    await eventually("it is asked", () => asks.length === 1);
    const fence = (await ownerOf(0)) ?? "";
    await steal(0);
    let beats = 0;
    hooks.before = async (script) => void (script === BEAT && beats++);
    // The one before the second that begins was begun after the theft, and is over.
    await eventually("it is seen", () => beats >= 2);
    await own(0, fence);
    await depart(THIEF);
    hooks.areAnswersHeld = false;
    asks[0]?.();
    await starts;
    await eventually("it is asked for anew", () => told.length >= 4);
    expect(told).toEqual(["assigned 0,1", "revoking 0", "revoked 0", "assigned 0"]);
  });

  test("another process of the server while the subscriber is asked loses it, too", async () => {
    const { subscription, told, asks, hooks } = await open(2);
    const starts = subscription.start();
    await eventually("it is asked", () => asks.length === 1);
    subscription.forget();
    hooks.areAnswersHeld = false;
    asks[0]?.();
    await starts;
    await eventually("it is asked for anew", () => told.length >= 4);
    expect(told).toEqual(["assigned 0,1", "revoking 0,1", "revoked 0,1", "assigned 0,1"]);
  });

  test("a close while the subscriber is asked has nothing taken on", async () => {
    const { subscription, told, asks } = await open(2);
    const starts = subscription.start();
    await eventually("it is asked", () => asks.length === 1);
    await subscription.close();
    await starts;
    asks[0]?.();
    await eventually("it is taken from it", () => told.length >= 3);
    expect(told).toEqual(["assigned 0,1", "revoking 0,1", "revoked 0,1"]);
    expect(subscription.logs()).toEqual([]);
  });

  test("a hand-over does not wait for the answer about another partition", async () => {
    const { subscription, told, asks, hooks, arrive, own, depart, ownerOf, logs } = await open(3);
    await arrive(THIEF, 2);
    await own(2, `${THIEF}:9`);
    hooks.areAnswersHeld = false;
    await subscription.start();
    hooks.areAnswersHeld = true;
    await depart(THIEF);
    await eventually("it is asked", () => asks.length === 2);
    await arrive("other", 0);
    await eventually("it is given up", async () => (await ownerOf(0)) === undefined);
    expect(told).toEqual(["assigned 0,1", "assigned 2", "revoking 0", "revoked 0"]);
    expect(subscription.logs()).toEqual(logs(1));
    asks[1]?.();
    await eventually("it is taken on", () => subscription.logs().length === 2);
    expect(subscription.logs()).toEqual(logs(1, 2));
  });
});

interface Hooks {
  areAnswersHeld: boolean;
  /** Of every script that the member runs. */
  before: (script: RedisScript) => Promise<void>;
}

function watch({ link }: RedisConnection, hooks: Hooks): void {
  const run = link.run.bind(link);
  link.run = async (script, keys, ...parts) => {
    await hooks.before(script);
    return await run(script, keys, ...parts);
  };
}
