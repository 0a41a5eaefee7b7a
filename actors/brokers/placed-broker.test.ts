/**
 * A broker made of two in memory: the conformance suite, and what only several can get wrong.
 *
 * The suite's topics go to the two in turn. What a store of letters before them promises is shown
 * here as well; a burial there is two steps, which the suite's cases about one step do not fit.
 */

import { describe, expect, test } from "bun:test";

import type { BrokerHooks, Setup } from "./broker-bench.suite.ts";
import type { Broker, DeadLetter, Delivery, SubscribeOptions, Subscription } from "./broker.ts";
import type { LetterFilter, LetterRange } from "../dead-letters/letter-port.ts";
import type { LetterStore } from "./letter-store.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { testBroker } from "./broker.suite.ts";
import { withLetterStore } from "./letter-store.ts";
import { MEMORY_CAPABILITIES, MemoryBroker } from "./memory-broker.ts";
import { MemoryLog } from "./memory-log.ts";
import { PlacedBroker, weakest } from "./placed-broker.ts";

const LOG_BYTES_MAX = 256 * 1024 * 1024;
const NAMES = ["left", "right"] as const;

function memoryLetters(): LetterStore & { readonly kept: DeadLetter[]; fails: boolean } {
  const kept: DeadLetter[] = [];
  const letters = {
    kept,
    fails: false,
    async bury(letter: Parameters<LetterStore["bury"]>[0]) {
      if (letters.fails) throw new ShopError("STORAGE_FAULT", "no letters today", "later");
      const { group, topic, partition, sequence } = letter;
      const isSame = (other: DeadLetter): boolean =>
        other.group === group &&
        other.topic === topic &&
        other.partition === partition &&
        other.sequence === sequence;
      if (!kept.some(isSame)) kept.push({ ...letter, id: kept.length + 1 });
    },
    async page({ topic }: LetterFilter, { afterId, limit }: LetterRange) {
      const after = kept.filter((letter) => letter.topic === topic && letter.id > afterId);
      return { letters: after.slice(0, limit), isLast: after.length <= limit };
    },
  };
  return letters;
}

function rig(
  topics: readonly string[],
  partitions: number,
  environment = createVirtualEnvironment(),
) {
  const faults = { diskFull: false, ioFault: false, confirmsLost: false, burialsRefused: false };
  const logs = NAMES.map((_, side) => {
    const mine = topics.filter((__, index) => index % NAMES.length === side);
    const limits = { logBytesMax: LOG_BYTES_MAX, deadLetterBytesMax: LOG_BYTES_MAX };
    return new MemoryLog({ topics: mine, partitions, ...limits });
  });
  const letters = memoryLetters();
  let brokers: readonly MemoryBroker[] = [];
  const open = (): Broker => {
    brokers = logs.map((log) => new MemoryBroker({ environment, log, faults }));
    const placed = new PlacedBroker({
      brokers: new Map(NAMES.map((name, side) => [name, brokers[side]!])), // `!`: one for each name
      places: new Map(topics.map((topic, index) => [topic, NAMES[index % NAMES.length] ?? "left"])),
    });
    return placed;
  };
  const openWithLetters = (): Broker =>
    withLetterStore({ broker: open(), letters, nowMs: () => environment.nowMs() });
  return { openWithLetters, environment, faults, letters, open, logs, brokers: () => brokers };
}

function placedHooks(): BrokerHooks {
  const environment = createVirtualEnvironment();
  let made: ReturnType<typeof rig> | undefined;
  let broker: Broker | undefined;
  const at = (): ReturnType<typeof rig> => {
    assert(made !== undefined, "start comes first");
    return made;
  };
  return {
    environment,
    pass: (durationMs) => environment.advance(durationMs),
    start: async ({ topics, partitions }: Setup) => {
      made = rig(topics, partitions, environment);
      return (broker = made.open());
    },
    stop: async () => broker?.close(),
    restart: async (kind) => {
      if (kind === "kill") for (const each of at().brokers()) each.kill();
      else await broker?.close();
      return (broker = at().open());
    },
    diskFull: (on) => void (at().faults.diskFull = on),
    ioFault: (on) => void (at().faults.ioFault = on),
    loseConfirms: (on) => void (at().faults.confirmsLost = on),
    jumpWallClock: (byMs) => environment.jumpWallClock(byMs),
  };
}

testBroker(
  "placed",
  { ...MEMORY_CAPABILITIES, persistent: true, confirmIsDurable: true, durablePostpone: true },
  placedHooks,
);

describe("a placed broker", () => {
  const TOPICS = ["a", "b", "c"];

  function frame(topic: string, slot = 0, bytes = 4) {
    const { newId, nowMs } = createVirtualEnvironment(bytes + slot + topic.charCodeAt(0));
    const payload = new Uint8Array(bytes);
    return {
      topic,
      frame: encodeFrame({ id: newId(), timeMs: nowMs(), type: 1, key: "k", slot, payload }),
    };
  }

  async function join(
    broker: Broker,
    options: Partial<SubscribeOptions> = {},
  ): Promise<{ deliveries: Delivery[]; subscription: Subscription }> {
    const deliveries: Delivery[] = [];
    const subscription = await broker.subscribe({
      group: "g",
      topics: TOPICS,
      from: "earliest",
      leaseMs: 60_000,
      creditFrames: 300,
      creditBytes: 300_000,
      onDeliveries: (batch) => void deliveries.push(...batch),
      ...options,
    });
    return { deliveries, subscription };
  }

  test("sends each frame to its topic's broker, and one member hears them all", async () => {
    const { environment, open, logs } = rig(TOPICS, 2);
    const broker = open();
    const { deliveries, subscription } = await join(broker);
    await broker.publish([frame("a"), frame("b"), frame("c", 1), frame("b", 1)]);
    await environment.settle();
    expect(deliveries.map(({ topic }) => topic).toSorted()).toEqual(["a", "b", "b", "c"]);
    expect(logs.map(({ topics }) => topics)).toEqual([["a", "c"], ["b"]]);
    expect(await subscription.ack(deliveries)).toEqual(deliveries.map(() => "settled"));
    expect(await subscription.ack(deliveries)).toEqual(deliveries.map(() => "repeat"));
  });

  test("answers settlements in their order, whichever broker says what", async () => {
    const { environment, open } = rig(TOPICS, 1);
    const broker = open();
    const { deliveries, subscription } = await join(broker);
    await broker.publish([frame("a"), frame("b"), frame("c")]);
    await environment.settle();
    const [a, b, c] = ["a", "b", "c"].map((topic) => deliveries.find((it) => it.topic === topic));
    assert(a !== undefined && b !== undefined && c !== undefined, "three were published");
    await subscription.ack([b]);
    const stale = { ...a, epoch: a.epoch + 1 };
    expect(await subscription.ack([b, c, stale])).toEqual(["repeat", "settled", "stale"]);
  });

  test("refuses a topic that is nowhere, with nothing stored", async () => {
    const { environment, open } = rig(TOPICS, 1);
    const broker = open();
    const { deliveries } = await join(broker);
    const publish = (): Promise<void> => broker.publish([frame("a"), frame("x")]);
    expect(publish).toThrow("no topic x; there are a, b, c");
    await environment.settle();
    expect(deliveries).toEqual([]);
    await expect(join(broker, { topics: ["a", "x"] })).rejects.toMatchObject({
      code: "UNKNOWN_TOPIC",
    });
  });

  test("refuses what is too large for its broker before the other stores anything", async () => {
    const { environment, open } = rig(TOPICS, 1);
    const broker = open();
    const { deliveries } = await join(broker);
    const large = { topic: "b", frame: new Uint8Array(MEMORY_CAPABILITIES.frameBytesMax + 1) };
    expect(() => broker.publish([frame("a"), large])).toThrow("exceeds");
    await environment.settle();
    expect(deliveries).toEqual([]);
  });

  test("says that it cannot tell when one has stored its share and another has not", async () => {
    const { environment, open, brokers } = rig(TOPICS, 1);
    const broker = open();
    const { deliveries } = await join(broker, { topics: ["a"] });
    brokers()[1]?.kill();
    const publishing = broker.publish([frame("a"), frame("b")]);
    await expect(publishing).rejects.toMatchObject({ code: "INDETERMINATE", retry: "later" });
    await expect(broker.publish([frame("b")])).rejects.toMatchObject({ code: "CLOSED" });
    await environment.settle();
    expect(deliveries).toHaveLength(1);
  });

  test("says why when none has stored anything", async () => {
    const { open, faults } = rig(TOPICS, 1);
    const broker = open();
    faults.diskFull = true;
    const publishing = broker.publish([frame("a"), frame("b")]);
    await expect(publishing).rejects.toMatchObject({ code: "STORAGE_FULL" });
  });

  test("its members together hold no more than one would", async () => {
    const { environment, open } = rig(TOPICS, 1);
    const broker = open();
    const { deliveries, subscription } = await join(broker, { creditFrames: 30 });
    await broker.publish(
      ["a", "b", "c"].flatMap((topic) => Array.from({ length: 50 }, () => frame(topic))),
    );
    await environment.settle();
    expect(deliveries).toHaveLength(30);
    expect(deliveries.filter(({ topic }) => topic === "b")).toHaveLength(10);
    subscription.pause();
    await subscription.ack(deliveries);
    await environment.settle();
    expect(deliveries).toHaveLength(30);
    subscription.resume();
    await environment.settle();
    expect(deliveries).toHaveLength(60);
  });

  test("closes all of a member when a part of it is beyond repair, and says so once", async () => {
    const failing: ((error: unknown) => void)[] = [];
    const closed: string[] = [];
    const part = (name: string): Broker => {
      const { open } = rig(TOPICS, 1);
      const inner = open();
      return {
        capabilities: inner.capabilities,
        publish: (frames) => inner.publish(frames),
        deadLetters: async () => [],
        close: async () => undefined,
        async subscribe(options) {
          failing.push((error) => options.onFailure?.(error));
          const subscription = await inner.subscribe(options);
          return { ...subscription, close: async () => void closed.push(name) };
        },
      };
    };
    const broker = new PlacedBroker({
      brokers: new Map([
        ["left", part("left")],
        ["right", part("right")],
      ]),
      places: new Map([
        ["a", "left"],
        ["b", "right"],
      ]),
    });
    const told: unknown[] = [];
    await join(broker, { topics: ["a", "b"], onFailure: (error) => void told.push(error) });
    failing[1]?.("broken");
    failing[0]?.("broken too");
    await createVirtualEnvironment().settle();
    expect(told).toEqual(["broken"]);
    expect(closed.toSorted()).toEqual(["left", "right"]);
  });

  test("leaves no half of a member behind when the other half is refused", async () => {
    const { open, brokers, environment } = rig(TOPICS, 1);
    const broker = open();
    brokers()[1]?.kill();
    await expect(join(broker)).rejects.toMatchObject({ code: "CLOSED" });
    await broker.publish([frame("a")]);
    const { deliveries } = await join(broker, { topics: ["a"] });
    await environment.settle();
    expect(deliveries).toHaveLength(1);
  });

  test("can do what the weakest of its brokers can", () => {
    const strong = { ...MEMORY_CAPABILITIES, persistent: true, frameBytesMax: 100 };
    const weak = { ...MEMORY_CAPABILITIES, persistent: false, replay: false, frameBytesMax: 50 };
    expect(weakest([strong, weak])).toEqual({ ...weak, frameBytesMax: 50 });
  });
});

describe("a store of letters before a broker", () => {
  async function one() {
    const made = rig(["a", "b"], 1);
    const broker = made.openWithLetters();
    const deliveries: Delivery[] = [];
    const subscription = await broker.subscribe({
      group: "g",
      topics: ["a"],
      from: "earliest",
      leaseMs: 60_000,
      creditFrames: 10,
      creditBytes: 10_000,
      onDeliveries: (batch) => void deliveries.push(...batch),
    });
    const { newId, nowMs } = made.environment;
    const payload = new Uint8Array(3);
    const fields = { id: newId(), timeMs: nowMs(), type: 1, key: "k", slot: 0, payload };
    await broker.publish([{ topic: "a", frame: encodeFrame(fields) }]);
    await made.environment.settle();
    const [delivery] = deliveries;
    assert(delivery !== undefined, "one was published");
    return { ...made, broker, subscription, delivery, deliveries };
  }
  const burial = { reason: "poison", attempts: 3, firstError: "x", lastError: "y" };

  test("keeps the letter as it was, then acknowledges", async () => {
    const { broker, subscription, delivery, letters } = await one();
    expect(await subscription.bury(delivery, burial)).toBe("settled");
    expect(await subscription.bury(delivery, burial)).toBe("repeat");
    const [letter] = await broker.deadLetters("a", 0, 10);
    expect(letter).toMatchObject({ group: "g", topic: "a", partition: 0, sequence: 1, burial });
    expect(letter?.bytes).toEqual(delivery.bytes);
    expect(letters.kept).toHaveLength(1);
  });

  test("leaves the delivery in hand when the store does not take the letter", async () => {
    const { subscription, delivery, letters } = await one();
    letters.fails = true;
    await expect(subscription.bury(delivery, burial)).rejects.toMatchObject({
      code: "STORAGE_FAULT",
    });
    letters.fails = false;
    expect(await subscription.bury(delivery, burial)).toBe("settled");
  });

  test("a letter whose acknowledgement failed is buried again as the same one", async () => {
    const { subscription, delivery, letters, faults } = await one();
    faults.ioFault = true;
    await expect(subscription.bury(delivery, burial)).rejects.toMatchObject({
      code: "STORAGE_FAULT",
    });
    faults.ioFault = false;
    expect(await subscription.bury(delivery, burial)).toBe("settled");
    expect(letters.kept).toHaveLength(1);
  });

  test("does not bury what is not in hand any more", async () => {
    const { subscription, delivery, letters } = await one();
    expect(await subscription.bury({ ...delivery, epoch: 0 }, burial)).toBe("stale");
    expect(letters.kept).toEqual([]);
  });
});
