/**
 * What the Redis adapter promises beyond the port, on a real server: nothing is passed over when
 * somebody else reads along, only what is settled is removed, and a server that lost its end, or
 * everything, is read anew.
 */

import { afterAll, describe, expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join as joinPath } from "node:path";

import type { TestServer } from "../../../deploy/services/test-server.ts";
import type { Delivery, SubscribeOptions, Subscription } from "../broker.ts";
import type { RedisBroker } from "./redis-broker.ts";
import type { RedisSettings } from "./redis-options.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { ShopError } from "../../../runtime/errors.ts";
import { encodeFrame, framePayload } from "../../../runtime/frames/frame.ts";
import { systemEnvironment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { openRedisBroker } from "./redis-broker.ts";
import { openRedisConnection } from "./redis-connection.ts";
import { groupKeys, logKey } from "./redis-keys.ts";
import { REDIS_SETTINGS } from "./redis-options.ts";
import { list, text } from "./redis-reply.ts";

const environment = systemEnvironment;
const PATIENCE_MS = 30_000;
/** A member that is merely slow keeps what it has; cases that wait for its end set their own. */
const SESSION_MS = 10_000;
const TOPIC = "t";
const missing = whyMissing("redis");

interface Opened {
  readonly broker: RedisBroker;
  readonly settings: RedisSettings;
  readonly log: string;
}

interface Member {
  readonly subscription: Subscription;
  readonly deliveries: Delivery[];
  ids(): string[];
}

/** Stores a frame and has somebody else read it, in one step. */
const STOLEN = `
redis.call('XADD', KEYS[1], '0-*', 'f', ARGV[1])
redis.call('XREADGROUP', 'GROUP', 'g', 'thief', 'STREAMS', KEYS[1], '>')
return 1`;

describe.skipIf(!requireOrSkip("redis", missing === undefined, missing ?? ""))("redis", () => {
  const brokers: RedisBroker[] = [];
  let starting: Promise<TestServer> | undefined;
  let worlds = 0;

  afterAll(async () => {
    await Promise.all(brokers.map((broker) => broker.close()));
    await (await starting)?.dispose();
  }, PATIENCE_MS);

  const server = (): Promise<TestServer> => (starting ??= startTestServer("redis"));

  async function open(
    changes: Partial<RedisSettings> = {},
    on?: TestServer,
    onLog?: (level: string, text: string) => void,
  ): Promise<Opened> {
    const { url } = on ?? (await server());
    const prefix = `w${++worlds}:`;
    const settings = {
      ...REDIS_SETTINGS,
      url,
      prefix,
      sessionMs: SESSION_MS,
      heartbeatMs: 100,
      commandTimeoutMs: 1_500,
      ...changes,
    };
    const broker = await openRedisBroker({
      settings,
      environment,
      topics: [TOPIC],
      partitions: 2,
      ...(onLog === undefined ? {} : { onLog }),
    });
    brokers.push(broker);
    return { broker, settings, log: logKey(settings.prefix, TOPIC, 0) };
  }

  async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const startMs = environment.monotonicMs();
    while (!(await holds())) {
      if (environment.monotonicMs() - startMs > PATIENCE_MS) throw new Error(`never: ${what}`);
      await Bun.sleep(5);
    }
  }

  function frame(id: string, slot = 0) {
    const payload = new TextEncoder().encode(id);
    const fields = { type: 900, slot, key: "k", id: environment.newId() };
    return {
      topic: TOPIC,
      frame: encodeFrame({ ...fields, timeMs: environment.nowMs(), payload }),
    };
  }

  async function join(broker: RedisBroker, more: Partial<SubscribeOptions> = {}): Promise<Member> {
    const deliveries: Delivery[] = [];
    const subscription = await broker.subscribe({
      group: "g",
      topics: [TOPIC],
      from: "earliest",
      leaseMs: 60_000,
      creditFrames: 1_000,
      creditBytes: 16_000_000,
      onDeliveries: (batch) => void deliveries.push(...batch),
      ...more,
    });
    const ids = () => deliveries.map(({ bytes }) => Buffer.from(framePayload(bytes)).toString());
    return { subscription, deliveries, ids };
  }

  /** Another client, as an operator has one. */
  async function client(settings: RedisSettings) {
    return await openRedisConnection({ settings, environment, purpose: "operator" });
  }

  test("what somebody else reads along is taken over, in its place and in order", async () => {
    const { broker, settings, log } = await open();
    const member = await join(broker);
    const { link } = await client(settings);
    await broker.publish([frame("1")]);
    await eventually("the first is here", () => member.deliveries.length === 1);
    // The member cannot be quicker than one step of the server.
    await link.call("EVAL", STOLEN, 1, log, frame("2").frame);
    await broker.publish([frame("3")]);
    await eventually("all are here", () => member.deliveries.length === 3);
    expect(member.ids()).toEqual(["1", "2", "3"]);
    link.close();
  });

  test("an entry that nobody here wrote ends the subscription, and says so", async () => {
    const { broker, settings, log } = await open();
    const failures: unknown[] = [];
    await join(broker, { onFailure: (error) => void failures.push(error) });
    const { link } = await client(settings);
    await link.call("XADD", log, "1700000000000-0", "f", "x");
    await eventually("it is said", () => failures.length === 1);
    expect(String(failures[0])).toContain("1700000000000-0 is no entry that this adapter wrote");
    link.close();
  });

  test("even when nothing comes after it", async () => {
    // It looks for it once in a session.
    const { broker, settings, log } = await open({ sessionMs: 2_000 });
    const member = await join(broker);
    const { link } = await client(settings);
    await link.call("EVAL", STOLEN, 1, log, frame("1").frame);
    await eventually("it is here", () => member.deliveries.length === 1);
    expect(await member.subscription.ack(member.deliveries)).toEqual(["settled"]);
    link.close();
  });

  test("nothing is settled for who is not the owner any more, whatever it believes", async () => {
    const { broker, settings, log } = await open({ heartbeatMs: 600 });
    const member = await join(broker);
    const { link } = await client(settings);
    await broker.publish(["1", "2", "3"].map((id) => frame(id)));
    await eventually("they are here", () => member.deliveries.length === 3);
    const [one, two, three] = member.deliveries;
    if (one === undefined || two === undefined || three === undefined) throw new Error("none");
    const { owners } = groupKeys(settings.prefix, "g");
    const steal = () => link.call("HSET", owners, "0", "thief:9");
    const letters = () => broker.deadLetters(TOPIC, 0, 10);
    const pending = async () => text(list(await link.call("XPENDING", log, "g"))[1]);
    await steal();
    expect(await member.subscription.ack([one])).toEqual(["stale"]);
    expect(await pending()).toBe("0-1");
    expect(await member.subscription.ack([two])).toEqual(["stale"]);
    const burial = { reason: "test", attempts: 1, firstError: "", lastError: "" };
    expect(await member.subscription.bury(three, burial)).toBe("stale");
    expect(await letters()).toEqual([]);
    link.close();
  });

  test("an acknowledgement that the server never took is not told as settled", async () => {
    const own = await startTestServer("redis");
    try {
      const { broker } = await open({ sessionMs: 2_000 }, own);
      const member = await join(broker);
      await broker.publish([frame("1")]);
      await eventually("it is here", () => member.deliveries.length === 1);
      own.pause();
      const acking = member.subscription.ack(member.deliveries);
      await own.kill();
      expect(await acking).toEqual(["stale"]);
      await broker.close();
    } finally {
      await own.dispose();
    }
  });

  test("what every group has settled is removed, and nothing that one has not", async () => {
    const { broker, settings, log } = await open({ trimIntervalMs: 50, retainFrames: 0 });
    const quick = await join(broker, { group: "quick" });
    const slow = await join(broker, { group: "slow" });
    const { link } = await client(settings);
    const length = async () => Number(await link.call("XLEN", log));
    const frames = Array.from({ length: 500 }, (_, at) => frame(String(at)));
    await broker.publish(frames);
    await eventually("both have all", () =>
      [quick, slow].every(({ deliveries }) => deliveries.length === 500),
    );
    await quick.subscription.ack(quick.deliveries);
    await slow.subscription.ack(slow.deliveries.slice(0, 300));
    await eventually("the beginning is gone", async () => (await length()) < 500);
    const left = await length();
    expect(left).toBeGreaterThanOrEqual(200);
    await slow.subscription.close(false);
    const heir = await join(broker, { group: "slow" });
    await eventually("the heir has the rest", () => heir.deliveries.length >= 200);
    expect(heir.ids()).toEqual(slow.ids().slice(300));
    await heir.subscription.ack(heir.deliveries);
    await eventually("the rest is gone", async () => (await length()) < 100);
    link.close();
  });

  test("what is over the most that may be kept goes unsettled, and it is said", async () => {
    const said: string[] = [];
    const limits = { trimIntervalMs: 50, retainFrames: 10, partitionFramesMax: 300 };
    const { broker } = await open(limits, undefined, (_level, line) => void said.push(line));
    await join(broker, { creditFrames: 1 });
    await broker.publish(Array.from({ length: 900 }, (_, at) => frame(String(at))));
    await eventually("it is said", () => said.some((line) => line.includes("partitionFramesMax")));
  });

  test("what was read ahead and handed to nobody is a first attempt for the next", async () => {
    const { broker } = await open();
    const first = await join(broker, { creditFrames: 2 });
    await broker.publish(["1", "2", "3", "4"].map((id) => frame(id)));
    await eventually("two are here", () => first.deliveries.length === 2);
    await broker.publish([frame("5")]);
    await first.subscription.close(false);
    const next = await join(broker);
    await eventually("all are here", () => next.deliveries.length === 5);
    expect(next.deliveries.map(({ attempt }) => attempt)).toEqual([2, 2, 1, 1, 1]);
  });

  test("an acknowledgement that nobody waits for is not lost by an orderly end", async () => {
    const { broker } = await open({ ackDelayMs: 1_000 });
    const first = await join(broker, { acks: "soon" });
    await broker.publish(["1", "2"].map((id) => frame(id)));
    await eventually("they are here", () => first.deliveries.length === 2);
    const running = await server();
    running.pause();
    const [one, two] = first.deliveries;
    // The server says nothing now.
    if (one !== undefined) expect(await first.subscription.ack([one])).toEqual(["settled"]);
    running.resume();
    if (two !== undefined) await first.subscription.ack([two]);
    await first.subscription.close(false);
    const next = await join(broker);
    await broker.publish([frame("3")]);
    await eventually("the next is here", () => next.deliveries.length > 0);
    expect(next.ids()).toEqual(["3"]);
  });

  test("a partition whose owner refuses it is given back, and offered again", async () => {
    const { broker } = await open();
    let offers = 0;
    await broker.publish([frame("1")]);
    const member = await join(broker, {
      onAssigned: () =>
        ++offers === 1
          ? Promise.reject(new ShopError("STORAGE_FAULT", "not now", "later"))
          : Promise.resolve(),
    });
    await eventually("it is here", () => member.deliveries.length === 1);
    expect(offers).toBeGreaterThan(1);
    expect(member.deliveries[0]?.attempt).toBe(1);
  });

  test("what is in hand of a partition that is to go can be settled until it is gone", async () => {
    const { broker } = await open();
    const gate = Promise.withResolvers<void>();
    const going: number[] = [];
    const first = await join(broker, {
      onRevoking: async (_topic, partitions) => {
        going.push(...partitions);
        await gate.promise;
        return true;
      },
    });
    await broker.publish([frame("0", 0), frame("1", 1)]);
    await eventually("they are here", () => first.deliveries.length === 2);
    const joining = join(broker, { group: "g" });
    await eventually("one is to go", () => going.length === 1);
    await broker.publish([frame("2")]);
    const results = await first.subscription.ack(first.deliveries);
    expect(new Set(results)).toEqual(new Set(["settled"]));
    gate.resolve();
    const second = await joining;
    const both = () => [...first.ids(), ...second.ids()].toSorted();
    await eventually("the last is with one of them", () => both().length >= 3);
    expect(both()).toEqual(["0", "1", "2"]);
  });

  test("a server that comes back with nothing is read anew, by its own numbers", async () => {
    const own = await startTestServer("redis");
    try {
      const { broker } = await open({}, own);
      const member = await join(broker);
      await broker.publish(["1", "2", "3"].map((id) => frame(id)));
      await eventually("they are here", () => member.deliveries.length === 3);
      await own.kill();
      await rm(logOf(own.directory), { recursive: true, force: true });
      await own.start();
      await eventually("it takes frames again", () =>
        broker.publish([frame("new")]).then(
          () => true,
          () => false,
        ),
      );
      await eventually("the new one is here", () => member.ids().includes("new"));
      const last = member.deliveries.at(-1);
      expect(last?.sequence).toBeLessThanOrEqual(3);
      if (last !== undefined) expect(await member.subscription.ack([last])).toEqual(["settled"]);
      await broker.close();
    } finally {
      await own.dispose();
    }
  });

  test("more bytes than may wait for their confirmation are refused, for a while", async () => {
    const frames = Array.from({ length: 60 }, (_, at) => frame(String(at)));
    const bytes = frames.reduce((sum, each) => sum + each.frame.byteLength, 0);
    const { broker } = await open({ publishBytesMax: 1.5 * bytes });
    const running = await server();
    running.pause();
    const first = broker.publish(frames);
    const refused = await broker.publish(frames).catch((error: unknown) => error);
    running.resume();
    expect(refused).toMatchObject({ code: "SATURATED", retry: "later" });
    await first;
    await broker.publish([frame("after")]);
  });
});

/** Where the server keeps what it has. */
function logOf(directory: string): string {
  return joinPath(directory, "appendonlydir");
}
