/** Who begins with a partition of somebody else's topic, and when. The database is played. */

import { expect, test } from "bun:test";

import type { Broker, SubscribeOptions } from "../brokers/broker.ts";

import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { MemoryBroker } from "../brokers/memory-broker.ts";
import { MemoryLog } from "../brokers/memory-log.ts";
import { takingTurns } from "./taking-turns.ts";

const SLOTS = 4;
const MIB = 1_048_576;

/** A member whose assignments the test makes, and what others have left, as the test says. */
async function join(published: () => Promise<boolean>) {
  const environment = createVirtualEnvironment();
  const bounds = { logBytesMax: MIB, deadLetterBytesMax: MIB };
  const log = new MemoryLog({ topics: ["abroad"], partitions: SLOTS, ...bounds });
  const inner = new MemoryBroker({ environment, log });
  const given: SubscribeOptions[] = [];
  const asked: (readonly number[])[] = [];
  const told: string[] = [];
  const begun: string[] = [];
  const broker: Pick<Broker, "subscribe"> = takingTurns(
    Object.assign(inner, {
      subscribe: (options: SubscribeOptions) => {
        given.push(options);
        return MemoryBroker.prototype.subscribe.call(inner, options);
      },
    }),
    {
      slots: SLOTS,
      onLog: (level, text) => void told.push(`${level} ${text}`),
      fences: {
        published(slots) {
          asked.push(slots);
          return published();
        },
      },
    },
  );
  await broker.subscribe({
    group: "ingress.redis",
    topics: ["abroad"],
    from: "earliest",
    creditFrames: 1,
    creditBytes: MIB,
    leaseMs: 1_000,
    onDeliveries: () => undefined,
    onAssigned: async (topic, partitions) => void begun.push(`${topic} ${partitions.join()}`),
  });
  const assign = async (partitions: readonly number[]): Promise<void> =>
    await given[0]?.onAssigned?.("abroad", partitions);
  await environment.settle();
  begun.length = 0;
  asked.length = 0;
  told.length = 0;
  return { assign, asked, told, begun, environment };
}

test("a partition is begun with once what others committed for any slot is published", async () => {
  let answer = Promise.resolve(true);
  const { assign, asked, begun, environment } = await join(() => answer);
  const out = Promise.withResolvers<boolean>();
  answer = out.promise;
  const assigned = assign([2]);
  await environment.settle();
  // A frame goes by its key, whatever partition a stranger gave it.
  expect(asked).toEqual([[0, 1, 2, 3]]);
  expect(begun).toEqual([]);
  out.resolve(true);
  await assigned;
  expect(begun).toEqual(["abroad 2"]);
});

test("what is not out in time is told, and the partition begun with", async () => {
  const { assign, told, begun } = await join(() => Promise.resolve(false));
  await assign([1]);
  expect(begun).toEqual(["abroad 1"]);
  expect(told).toEqual([
    expect.stringMatching(/^warning ingress\.redis: after 30000 ms frames of/),
  ]);
});

test("a database that is away gives the partition back", async () => {
  let answer = Promise.resolve(true);
  const { assign, begun } = await join(() => answer);
  answer = Promise.reject(new Error("away"));
  await expect(assign([1])).rejects.toThrow("away");
  expect(begun).toEqual([]);
});

test("partitions that are assigned meanwhile share one wait, which begins then", async () => {
  let answer = Promise.resolve(true);
  const { assign, asked, begun, environment } = await join(() => answer);
  const first = Promise.withResolvers<boolean>();
  answer = first.promise;
  const early = [assign([0]), assign([1])];
  await environment.settle();
  const second = Promise.withResolvers<boolean>();
  answer = second.promise;
  const late = [assign([2]), assign([3])];
  await environment.settle();
  expect(asked).toHaveLength(1);
  first.resolve(true);
  await Promise.all(early);
  await environment.settle();
  expect(begun).toEqual(["abroad 0", "abroad 1"]);
  expect(asked).toHaveLength(2);
  second.resolve(true);
  await Promise.all(late);
  expect(begun).toEqual(["abroad 0", "abroad 1", "abroad 2", "abroad 3"]);
});

test("a wait that failed fails nobody who came after it", async () => {
  let answer = Promise.resolve(true);
  const { assign, begun, environment } = await join(() => answer);
  const away = Promise.withResolvers<boolean>();
  answer = away.promise;
  const early = assign([0]);
  await environment.settle();
  answer = Promise.resolve(true);
  const late = assign([1]);
  away.reject(new Error("away"));
  await expect(early).rejects.toThrow("away");
  await late;
  expect(begun).toEqual(["abroad 1"]);
});
