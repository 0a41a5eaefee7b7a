/**
 * What a broker is asked for frames that it will never take, and once the relay is closing.
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

/** Frame 1 and every fourth after it are of a topic and slot that nobody reads; 7 is too large. */
function setUpUnread(onRefused: () => Promise<void> = async () => undefined) {
  const environment = createVirtualEnvironment();
  const asked: number[][] = [];
  const refused: string[] = [];
  const frames = Array.from({ length: 12 }, (_, index): OutboxFrame => {
    const id = index + 1;
    return { ...frame(id), topic: id % 2 === 1 ? "odd" : "even", slot: id % 4 < 2 ? 1 : 2 };
  });
  const isUnread = (id: number): boolean => id % 4 === 1;
  const publisher = new RelayPublisher({
    name: "rabbitmq",
    environment,
    settings: { publishTimeoutMs: TIMEOUT_MS },
    broker: {
      async publish(outgoing: readonly Outgoing[]) {
        const ids = outgoing.map(({ frame: bytes }) => bytes[0] ?? 0);
        asked.push(ids);
        if (ids.includes(7)) throw new ShopError("PAYLOAD_TOO_LARGE", "too large", "never");
        if (ids.some(isUnread)) throw new ShopError("UNKNOWN_TOPIC", "nobody reads it", "never");
      },
    },
    async onRefused({ id }, { code }) {
      refused.push(`${id} ${code}`);
      await onRefused();
    },
  });
  return { asked, refused, frames, publisher };
}

test("of a topic and slot that nobody reads one frame is tried, all are kept once", async () => {
  const { asked, refused, frames, publisher } = setUpUnread();
  const outs: number[] = [];
  expect(await publisher.publish(frames, (count) => void outs.push(count))).toBe(false);
  // Too large is one frame's own fault: 11, of the same topic and slot as 7, goes out.
  expect(asked.slice(1)).toEqual([1, 2, 3, 4, 6, 7, 8, 10, 11, 12].map((id) => [id]));
  const unread = "UNKNOWN_TOPIC";
  expect(refused).toEqual([`1 ${unread}`, `5 ${unread}`, "7 PAYLOAD_TOO_LARGE", `9 ${unread}`]);
  expect(outs).toEqual(frames.map(() => 1));
  expect(publisher.counts).toMatchObject({ published: 8, refused: 4 });
  // Somebody may read it by now.
  await publisher.publish(frames.slice(4, 5), () => undefined);
  expect(asked.slice(-2)).toEqual([[5], [5]]);
});

test("whoever is abandoned keeps none behind the one that is being kept", async () => {
  const { refused, frames, publisher } = setUpUnread(async () => publisher.abandon());
  const unread = frames.filter(({ id }) => id % 4 === 1);
  const publishing = publisher.publish(unread, () => undefined);
  await expect(publishing).rejects.toMatchObject({ code: "CLOSED" });
  expect(refused).toEqual(["1 UNKNOWN_TOPIC"]);
});

test("whoever is abandoned begins nothing", async () => {
  const { asked, frames, publisher } = setUpUnread();
  publisher.abandon();
  const publishing = publisher.publish(frames, () => undefined);
  await expect(publishing).rejects.toMatchObject({ code: "CLOSED" });
  expect(asked).toEqual([]);
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
