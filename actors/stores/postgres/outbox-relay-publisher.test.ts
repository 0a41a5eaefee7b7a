/**
 * What a broker is still asked for once the relay is closing: nothing.
 *
 * A broker and a letter store that the test answers for, on a virtual clock. No I/O.
 */

import { expect, test } from "bun:test";

import type { Outgoing } from "../../brokers/broker.ts";
import type { OutboxFrame } from "./outbox-relay-table.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { RelayPublisher } from "./outbox-relay-publisher.ts";

const TIMEOUT_MS = 10_000;

function frame(id: number): OutboxFrame {
  return { id, topic: "t", slot: 0, frame: new Uint8Array([id]) };
}

function setUp() {
  const environment = createVirtualEnvironment();
  const asked: number[][] = [];
  const burying = Promise.withResolvers<void>();
  const publisher = new RelayPublisher({
    name: "kafka",
    environment,
    settings: { publishTimeoutMs: TIMEOUT_MS },
    broker: {
      publish(frames: readonly Outgoing[]) {
        asked.push(frames.map(({ frame: bytes }) => bytes[0] ?? 0));
        const isRefused = frames.some(({ frame: bytes }) => bytes[0] === 1);
        const error = new ShopError("PAYLOAD_TOO_LARGE", "too large", "never");
        return isRefused ? Promise.reject(error) : new Promise<void>(() => undefined);
      },
    },
    onRefused: () => burying.promise,
  });
  return { environment, asked, burying, publisher };
}

test("whoever is abandoned while a refused frame is kept asks for none behind it", async () => {
  const { environment, asked, burying, publisher } = setUp();
  const out: number[] = [];
  const publishing = publisher.publish([1, 2, 3].map(frame), (count) => void out.push(count));
  publishing.catch(() => undefined);
  await environment.settle();
  publisher.abandon();
  burying.resolve();
  await environment.settle();
  expect(publishing).rejects.toMatchObject({ code: "CLOSED" });
  expect(asked).toEqual([[1, 2, 3], [1]]);
  expect(out).toEqual([1]);
  expect(environment.pendingTimers()).toBe(0);
});

test("whoever is abandoned waits for no answer", async () => {
  const { environment, publisher } = setUp();
  const publishing = publisher.publish([frame(2)], () => undefined);
  publishing.catch(() => undefined);
  await environment.settle();
  publisher.abandon();
  await environment.settle();
  expect(publishing).rejects.toMatchObject({ code: "INDETERMINATE" });
  expect(environment.pendingTimers()).toBe(0);
});
