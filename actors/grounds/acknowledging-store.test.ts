/** A store and a broker that are two systems, joined: what a commit acknowledges, and what not. */

import { describe, expect, test } from "bun:test";

import type { Delivery, Subscription } from "../brokers/broker.ts";

import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { MemoryBroker } from "../brokers/memory-broker.ts";
import { MemoryLog } from "../brokers/memory-log.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { joinSystems } from "./acknowledging-store.ts";

const MIB = 1024 * 1024;

async function createRig() {
  const environment = createVirtualEnvironment();
  const log = new MemoryLog({
    topics: ["t"],
    partitions: 4,
    logBytesMax: MIB,
    deadLetterBytesMax: MIB,
  });
  const plain = new MemoryBroker({ environment, log });
  const { broker, store } = joinSystems(createMemoryStore({ environment }), plain);
  const deliveries: Delivery[] = [];
  const closed: unknown[] = [];
  const subscribe = plain.subscribe.bind(plain);
  plain.subscribe = async (options) => {
    const inner = await subscribe(options);
    const close = inner.close.bind(inner);
    inner.close = (isAtRest) => (closed.push(isAtRest), close(isAtRest));
    return inner;
  };

  async function join(group: string): Promise<Subscription> {
    return await broker.subscribe({
      group,
      topics: ["t"],
      from: "earliest",
      creditFrames: 10,
      creditBytes: MIB,
      leaseMs: 60_000,
      onDeliveries: (batch) => void deliveries.push(...batch),
    });
  }

  async function publish(): Promise<void> {
    const frame = encodeFrame({
      type: 1,
      slot: 0,
      key: "k",
      payload: new Uint8Array(),
      id: environment.newId(),
      timeMs: 1,
    });
    await broker.publish([{ topic: "t", frame }]);
    await environment.settle();
  }

  return { environment, store, deliveries, closed, join, publish };
}

const mark = { inbox: [{ group: "g", messageId: "0192d4b2-0000-7000-8000-000000000001" }] };

test("a member that closes says whether it is at rest to those below", async () => {
  const { closed, join } = await createRig();
  await (await join("a")).close(true);
  await (await join("b")).close(false);
  expect(closed).toEqual([true, false]);
});

describe("a commit", () => {
  test("acknowledges the deliveries of its unit", async () => {
    const { environment, store, deliveries, join, publish } = await createRig();
    const member = await join("g");
    await publish();
    expect(await store.commit(EMPTY_UNIT, deliveries)).toEqual({ kind: "committed" });
    await environment.settle();
    expect(await member.ack(deliveries)).toEqual(["repeat"]);
  });

  test("that did not happen acknowledges nothing", async () => {
    const { environment, store, deliveries, join, publish } = await createRig();
    const member = await join("g");
    await publish();
    await store.commit({ ...EMPTY_UNIT, ...mark }, []);
    const again = await store.commit({ ...EMPTY_UNIT, ...mark }, deliveries);
    expect(again.kind).toBe("duplicate");
    await environment.settle();
    expect(await member.ack(deliveries)).toEqual(["settled"]);
  });

  test("for a member that has left leaves the delivery to the next", async () => {
    const { environment, store, deliveries, join, publish } = await createRig();
    const member = await join("g");
    await publish();
    await member.close(false);
    await store.commit(EMPTY_UNIT, deliveries);
    await join("g");
    await environment.settle();
    expect(deliveries).toHaveLength(2);
  });
});
