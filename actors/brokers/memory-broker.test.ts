/**
 * The memory broker against the conformance suite, and what only it promises.
 *
 * Its restarts are played within one process on a kept log, so the cases that need persistence
 * run although it declares none; everything happens on a virtual clock.
 */

import { describe, expect, test } from "bun:test";

import type { Delivery, Outgoing } from "./broker.ts";

import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { Bench } from "./broker-bench.suite.ts";
import { testBroker } from "./broker.suite.ts";
import { MEMORY_CAPABILITIES, MemoryBroker } from "./memory-broker.ts";
import { memoryHooks } from "./memory-hooks.suite.ts";
import { MemoryLog } from "./memory-log.ts";

const environment = createVirtualEnvironment();

testBroker(
  "memory",
  { ...MEMORY_CAPABILITIES, persistent: true, confirmIsDurable: true, durablePostpone: true },
  () => memoryHooks(),
);

function brokerOf(logBytesMax: number, deadLetterBytesMax = logBytesMax): MemoryBroker {
  const topics = ["t", "u"];
  const log = new MemoryLog({ topics, partitions: 2, logBytesMax, deadLetterBytesMax });
  return new MemoryBroker({ environment, log });
}

function frameOf(payloadBytes: number, slot = 0): Outgoing {
  const payload = new Uint8Array(payloadBytes);
  const fields = { id: environment.newId(), timeMs: 0, type: 1, key: "k" };
  return { topic: "t", frame: encodeFrame({ ...fields, slot, payload }) };
}

/** Joins `group`; what comes is kept, and settled only by the test. */
async function join(broker: MemoryBroker, group: string, topics = ["t"]) {
  const deliveries: Delivery[] = [];
  const subscription = await broker.subscribe({
    group,
    topics,
    from: "earliest",
    creditFrames: 100,
    creditBytes: 1_000_000,
    leaseMs: 60_000,
    onDeliveries: (batch) => void deliveries.push(...batch),
  });
  return { deliveries, subscription };
}

test("each call of a member has deliveries of one partition, those of a key in order", async () => {
  const broker = brokerOf(100_000);
  const calls: (readonly Delivery[])[] = [];
  await broker.subscribe({
    group: "g",
    topics: ["t", "u"],
    from: "earliest",
    creditFrames: 100,
    creditBytes: 1_000_000,
    leaseMs: 60_000,
    onDeliveries: (batch) => void calls.push(batch),
  });
  const order = ["t/0", "t/0", "t/1", "u/1", "u/0", "t/0"];
  await broker.publish(
    order.map((place) => {
      const [topic = "", slot] = place.split("/");
      return { topic, frame: frameOf(10, Number(slot)).frame };
    }),
  );
  await environment.settle();
  for (const call of calls) {
    expect(new Set(call.map(({ topic, partition }) => `${topic}/${partition}`)).size).toBe(1);
  }
  const came = calls.flat().map(({ topic, partition }) => `${topic}/${partition}`);
  expect(came).toEqual(order);
});

describe("the memory broker's bounds", () => {
  test("a full log names the group that lags, and has room once it settled", async () => {
    const broker = brokerOf(5_000);
    const quick = await join(broker, "quick");
    const slow = await join(broker, "slow");
    for (let count = 0; count < 4; count++) await broker.publish([frameOf(1_000)]);
    await environment.settle();
    await quick.subscription.ack(quick.deliveries);
    await expect(broker.publish([frameOf(1_000)])).rejects.toThrow("group slow lags");
    await slow.subscription.ack(slow.deliveries);
    await broker.publish([frameOf(1_000)]);
    await environment.settle();
    expect(slow.deliveries.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5]);
  });

  test("a batch that does not fit is refused whole", async () => {
    const broker = brokerOf(5_000);
    const member = await join(broker, "g");
    const five = Array.from({ length: 5 }, () => frameOf(1_000));
    await expect(broker.publish(five)).rejects.toMatchObject({
      code: "STORAGE_FULL",
      retry: "later",
    });
    await environment.settle();
    expect(member.deliveries).toEqual([]);
  });

  test("a topic that a group does not read is not held back by it", async () => {
    const broker = brokerOf(5_000);
    await join(broker, "other", ["u"]);
    const member = await join(broker, "g");
    for (let count = 1; count <= 12; count++) {
      await broker.publish([frameOf(1_000)]);
      await environment.settle();
      await member.subscription.ack(member.deliveries.slice(-1));
    }
    expect(member.deliveries).toHaveLength(12);
  });

  test("dead letters that are full refuse a burial, and the delivery stays in hand", async () => {
    const broker = brokerOf(50_000, 1_500);
    const { subscription, deliveries } = await join(broker, "g");
    await broker.publish([frameOf(1_000), frameOf(1_000)]);
    await environment.settle();
    const burial = { reason: "test", attempts: 1, firstError: "a", lastError: "b" };
    const [first, second] = deliveries;
    if (first === undefined || second === undefined) throw new Error("two were published");
    expect(await subscription.bury(first, burial)).toBe("settled");
    await expect(subscription.bury(second, burial)).rejects.toMatchObject({ code: "STORAGE_FULL" });
    expect(await broker.deadLetters("t", 0, 10)).toHaveLength(1);
    expect(await subscription.ack([second])).toEqual(["settled"]);
  });

  test("bytes without a partition are refused", async () => {
    const broker = brokerOf(5_000);
    const short = { topic: "t", frame: new Uint8Array(12) };
    await expect(broker.publish([short])).rejects.toMatchObject({ code: "BAD_FRAME" });
    await expect(broker.publish([frameOf(1, 2)])).rejects.toMatchObject({ code: "BAD_FRAME" });
  });
});

describe("the memory broker in a simulation", () => {
  test("keeps what was published though the publisher reuses its buffer", async () => {
    const broker = brokerOf(5_000);
    const { deliveries } = await join(broker, "g");
    const outgoing = frameOf(100);
    const before = outgoing.frame.slice();
    await broker.publish([outgoing]);
    outgoing.frame.fill(0);
    await environment.settle();
    expect(deliveries[0]?.bytes).toEqual(before);
  });

  test("gives the same trace every time", async () => {
    const run = async (): Promise<string[]> => {
      const bench = new Bench(memoryHooks());
      await bench.start();
      const members = [await bench.consume(), await bench.consume()];
      await bench.publish(Array.from({ length: 200 }, (_, index) => `m${index}`));
      await members[0]?.consumer.close();
      await bench.publish(["last"]);
      await bench.drained();
      return [...bench.delivered];
    };
    const first = await run();
    expect(first.length).toBeGreaterThanOrEqual(201);
    expect(await run()).toEqual(first);
  });

  test("a store in the same process acknowledges what it committed", async () => {
    const broker = brokerOf(5_000);
    const { deliveries } = await join(broker, "g");
    await broker.publish([frameOf(10)]);
    await environment.settle();
    expect(broker.acknowledge(deliveries)).toEqual(["settled"]);
    expect(broker.acknowledge(deliveries)).toEqual(["repeat"]);
  });

  test("leaves no timer behind when it is closed", async () => {
    const broker = brokerOf(5_000);
    const before = environment.pendingTimers();
    await join(broker, "g");
    expect(environment.pendingTimers()).toBe(before + 1);
    await broker.close();
    expect(environment.pendingTimers()).toBe(before);
  });
});
