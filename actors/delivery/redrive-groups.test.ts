/**
 * Redriving where several groups hear a topic: each letter is for the group that gave up.
 *
 * The broker is in memory; what a group does with a message is told by hand.
 */

import { expect, test } from "bun:test";

import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { MemoryBroker } from "../brokers/memory-broker.ts";
import { MemoryLog } from "../brokers/memory-log.ts";
import { startConsumer } from "./consumer.ts";
import { redrive } from "./redrive.ts";

const GROUPS = ["billing", "packing", "counting"];
const MIB = 1024 * 1024;

async function openTopic() {
  const environment = createVirtualEnvironment();
  const bounds = { logBytesMax: MIB, deadLetterBytesMax: MIB };
  const log = new MemoryLog({ topics: ["t"], partitions: 1, ...bounds });
  const broker = new MemoryBroker({ environment, log });
  const state = { refusing: new Set(["billing", "packing"]), handled: [] as string[] };
  for (const group of GROUPS) {
    await startConsumer({
      broker,
      environment,
      group,
      topics: ["t"],
      decode: (frame) => frame,
      handler: {
        kind: "single",
        concurrencyMax: 1,
        async handle() {
          if (state.refusing.has(group)) return { kind: "bury", reason: "no", error: "no" };
          state.handled.push(group);
          return { kind: "ack" };
        },
      },
    });
  }
  const letters = () => broker.deadLetters("t", 0, 100);
  return { environment, broker, state, letters };
}

test("a message that two groups buried is not buried more often by being put back", async () => {
  const { environment, broker, state, letters } = await openTopic();
  const id = environment.newId();
  const payload = Uint8Array.of(1);
  await broker.publish([
    { topic: "t", frame: encodeFrame({ id, timeMs: 1, key: "k", slot: 0, type: 9, payload }) },
  ]);
  await environment.advance(100);
  const first = await letters();
  expect(first.map(({ group }) => group).toSorted()).toEqual(["billing", "packing"]);
  await redrive(broker, first);
  await environment.advance(100);
  const second = (await letters()).slice(first.length);
  expect(second.map(({ group }) => group).toSorted()).toEqual(["billing", "packing"]);
  state.refusing.clear();
  await redrive(broker, second);
  await environment.advance(100);
  expect(state.handled.toSorted()).toEqual(["billing", "counting", "packing"]);
  expect(await letters()).toHaveLength(4);
});
