/**
 * How long is waited for events, by a reader whose made-up broker gives its partitions late. No
 * bound of time decides: the silence that is allowed is none.
 */

import { expect, test } from "bun:test";

import type { Broker, Delivery, Subscription } from "../actors/brokers/broker.ts";

import { EVENTS } from "../actors/contracts/messages.ts";
import { encodeFrame } from "../runtime/frames/frame.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { readFrom } from "./published-events.ts";

const [CREATED] = EVENTS;
const PARTITIONS = [0];
/** Polls of the reader, which are over before the broker has made up its mind. */
const LOOKS = 3;
const LOOK_MS = 50;

function frameOf(key: string): Uint8Array {
  const id = systemEnvironment.newId();
  const payload = new Uint8Array();
  return encodeFrame({ type: CREATED.number, slot: 0, key, payload, id, timeMs: 1 });
}

/** Gives its partitions after a few looks of the reader, and then all of `frames`. */
function brokerWith(...frames: readonly Uint8Array[]): Pick<Broker, "subscribe"> {
  const member: Subscription = {
    ack: async (deliveries) => deliveries.map(() => "settled" as const),
    postpone: async () => "settled",
    bury: async () => "settled",
    standing: async () => undefined,
    pause: () => undefined,
    resume: () => undefined,
    close: async () => undefined,
  };
  return {
    async subscribe({ group, topics: [topic = ""], onAssigned, onDeliveries }) {
      const deliveries = frames.map((bytes, index): Delivery => {
        const at = { group, topic, partition: 0, sequence: index + 1, epoch: 1 };
        return { ...at, bytes, attempt: 1, notBeforeMs: 0 };
      });
      setTimeout(() => {
        void onAssigned?.(topic, PARTITIONS);
        onDeliveries(deliveries);
      }, LOOKS * LOOK_MS);
      return member;
    },
  };
}

test("the silence begins when there is something to read, however late that is", async () => {
  const broker = brokerWith(frameOf("o1"));
  const found = await readFrom(broker, { expected: 1, quietMs: 0 });
  expect([...found]).toEqual([["o1", [CREATED.type]]]);
});

test("what does not come is not waited for in silence, and what comes twice is one", async () => {
  expect(await readFrom(brokerWith(), { expected: 1, quietMs: 0 })).toEqual(new Map());
  const twice = frameOf("o1");
  const found = await readFrom(brokerWith(twice, twice), { expected: 9, quietMs: 0 });
  expect(found.get("o1")).toHaveLength(1);
});
