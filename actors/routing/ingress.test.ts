/**
 * The ingress with batches: what is sifted out of one, and where a foreign frame's key lives.
 *
 * All in memory, on a virtual clock. What it does with single frames, and while brokers fail, is in
 * `router-brokers.test.ts`.
 */

import { expect, test } from "bun:test";

import type { WorldOptions } from "./routing-world.suite.ts";

import { decodeFrame, encodeFrame, frameSlot } from "../../runtime/frames/frame.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import { startIngress } from "./ingress.ts";
import { LOCAL } from "./route-row.ts";
import { createWorld, listen, makeFrame, SLOTS } from "./routing-world.suite.ts";

const WINDOW_MS = 1_000;

async function startIn(options: WorldOptions) {
  const world = createWorld(options);
  const { environment, alpha, router, inner } = world;
  const events: string[] = [];
  const common = { router, store: inner, environment, slots: SLOTS };
  const ingress = await startIngress({
    ...common,
    name: "alpha",
    source: alpha.broker,
    topics: ["inbound"],
    onEvent: ({ kind }) => void events.push(kind),
  });
  const arrive = (frames: readonly Uint8Array[]): Promise<void> =>
    alpha.broker.publish(frames.map((frame) => ({ topic: "inbound", frame })));
  return { ...world, ingress, events, arrive };
}

test("a repetition known by its inbox mark alone leaves its batch, the others go on", async () => {
  const to = [{ broker: LOCAL, topic: "orders" }];
  const policy = { dedup: { windowMs: WINDOW_MS, idsMax: 10 } };
  const routes = [{ name: "once", match: { types: ["order.created"] }, to, policy }];
  const { environment, ingress, events, local, arrive } = await startIn({ routes });
  const heard = await listen(environment, local.broker, "orders");
  const first = makeFrame(environment, { key: "first" });
  await arrive([first]);
  await environment.advance(2 * WINDOW_MS);
  const others = ["a", "b"].map((key) => makeFrame(environment, { key }));
  await arrive([makeFrame(environment, { key: "before" }), first, ...others]);
  await environment.advance(WINDOW_MS);
  expect(heard.toSorted()).toEqual(["a#1", "b#1", "before#1", "first#1"]);
  expect(new Set(events)).toEqual(new Set(["handled"]));
  expect(ingress.stats().partitions.reduce((sum, { acked }) => sum + acked, 0)).toBe(5);
});

test("a frame goes to the slot of its key, whatever its source took for it", async () => {
  const { environment, local, arrive } = await startIn({ routes: [] });
  const keys = ["a", "b", "ключ", "k".repeat(100)];
  await arrive(
    keys.map((key) => {
      const frame = decodeFrame(makeFrame(environment, { key }));
      return encodeFrame({ ...frame, slot: (frame.slot + 1) % SLOTS });
    }),
  );
  await environment.advance(100);
  for (const key of keys) {
    const slot = slotOf(key, SLOTS);
    const records = local.log.read("orders", slot, 0, 10, 100_000);
    const found = records.map(({ bytes }) => decodeFrame(bytes)).filter((one) => one.key === key);
    expect(found).toHaveLength(1);
    for (const { bytes } of records) expect(frameSlot(bytes)).toBe(slot);
  }
});
