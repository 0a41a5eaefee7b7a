/**
 * Conformance: what publishing promises (B01 to B08, B10).
 *
 * The history is judged whole: every confirmed frame comes out, byte for byte, and nothing else
 * does.
 */

import { expect } from "bun:test";

import type { Bench, BrokerCase } from "./broker-bench.suite.ts";

import { decodeFrame } from "../../runtime/frames/frame.ts";
import { idOf, idsOf, sorted } from "./broker-bench.suite.ts";

export const PUBLISH_CASES: readonly BrokerCase[] = [
  {
    name: "B01: a frame comes out as it went in, and nothing follows a close",
    run: publishAndSubscribe,
  },
  {
    name: "B02: 50 publishers and 50 members lose nothing and repeat nothing",
    run: async (bench) => {
      await bench.start({ partitions: 64 });
      await Promise.all(Array.from({ length: 50 }, () => bench.probe({ acks: true })));
      const producers = Array.from({ length: 50 }, (_, producer) => idsOf(producer, 100));
      await bench.within(Promise.all(producers.map((ids) => bench.publish(ids))));
      await bench.drained();
      expect(bench.delivered).toHaveLength(5_000);
      expect(bench.expectValid().duplicated).toEqual([]);
    },
  },
  {
    name: "B03: each of 20 topics gives exactly its own frames",
    run: async (bench) => {
      const topics = Array.from({ length: 20 }, (_, index) => `t${index}`);
      await bench.start({ topics });
      const probes = await Promise.all(
        topics.map((topic) => bench.probe({ group: topic, topics: [topic], acks: true })),
      );
      await Promise.all(topics.map((topic) => bench.publish(idsOf(topic, 100), { topic })));
      await bench.drained();
      for (const [index, topic] of topics.entries()) {
        expect(sorted(probes[index]?.ids() ?? [])).toEqual(sorted(idsOf(topic, 100)));
      }
    },
  },
  { name: "B04: payloads of any size up to the bound, and any bytes", run: payloadBounds },
  {
    name: "B05: a topic nobody declared is refused, not swallowed",
    run: async (bench) => {
      await bench.start();
      const stray = bench.frame("stray", { topic: "nowhere" });
      expect(await bench.refusal(() => bench.broker.publish([stray]))).toBe("UNKNOWN_TOPIC");
      expect(await bench.refusal(() => bench.probe({ topics: ["nowhere"] }))).toBe("UNKNOWN_TOPIC");
      const mixed = [bench.frame("before"), stray];
      expect(await bench.refusal(() => bench.broker.publish(mixed))).toBe("UNKNOWN_TOPIC");
      const probe = await bench.probe({ acks: true });
      await bench.publish(["marker"], { key: "before" });
      await bench.drained();
      expect(probe.ids()).toEqual(["marker"]);
    },
  },
  {
    name: "B06: what was confirmed is there after a kill in the same turn",
    needs: ["persistent", "confirmIsDurable", "restart"],
    run: async (bench) => {
      await bench.start();
      await bench.publish(["p1-1"]);
      await bench.restart("kill");
      const probe = await bench.probe({ acks: true });
      await bench.drained();
      expect(probe.ids()).toEqual(["p1-1"]);
    },
  },
  {
    name: "B07: a lost confirmation is told as such, and the frame stored at most once",
    needs: ["loseConfirms"],
    run: async (bench) => {
      await bench.start();
      // So that there is a connection which a frame can be lost on.
      await bench.publish(["before"]);
      const frame = bench.frame("p1-1");
      await bench.hooks.loseConfirms?.(true);
      expect(await bench.refusal(() => bench.send("p1-1", frame))).toBe("INDETERMINATE");
      await bench.hooks.loseConfirms?.(false);
      await bench.within(bench.sendUntilConfirmed("p1-1", frame));
      const probe = await bench.probe({ acks: true });
      await bench.publish(["marker"], { key: "p1-1" });
      await bench.drained();
      const stored = probe.ids().filter((id) => id === "p1-1").length;
      expect(stored).toBeGreaterThanOrEqual(1);
      expect(stored).toBeLessThanOrEqual(bench.broker.capabilities.serverDedup ? 1 : 2);
    },
  },
  {
    name: "B08: a close settles every publish, and what it confirmed is there",
    needs: ["persistent", "restart"],
    run: closeFlushes,
  },
  {
    name: "B10: earliest brings what came before, latest only what comes after",
    needs: ["replay"],
    run: replayAndLatest,
  },
];

async function publishAndSubscribe(bench: Bench): Promise<void> {
  await bench.start();
  const probe = await bench.probe({ acks: true });
  const ids = idsOf(1, 100);
  const frames = ids.map((id) => bench.frame(id, { headers: { test: bench.environment.newId() } }));
  await bench.within(
    Promise.all(frames.map((outgoing, index) => bench.send(ids[index] ?? "", outgoing))),
  );
  await bench.drained();
  const cameOut = new Map(probe.deliveries.map((delivery) => [idOf(delivery), delivery.bytes]));
  for (const [index, { frame }] of frames.entries()) {
    expect(Buffer.from(cameOut.get(ids[index] ?? "") ?? [])).toEqual(Buffer.from(frame));
  }
  expect(bench.delivered).toHaveLength(100);
  const isFirst = probe.deliveries.every(
    ({ attempt, notBeforeMs }) => attempt === 1 && notBeforeMs === 0,
  );
  expect(isFirst).toBe(true);

  await bench.within(probe.subscription.close(false), bench.promptMs);
  await bench.publish(["late"]);
  const witness = await bench.probe({ acks: true });
  await bench.eventually("the next member has it", () => witness.ids().includes("late"));
  expect(probe.ids()).not.toContain("late");
  await bench.within(bench.broker.close(), 10_000);
  await bench.within(bench.broker.close(), bench.promptMs);
  expect(await bench.refusal(() => bench.broker.publish([bench.frame("x")]))).toBe("CLOSED");
  expect(await bench.refusal(() => bench.probe())).toBe("CLOSED");
}

async function payloadBounds(bench: Bench): Promise<void> {
  await bench.start();
  const probe = await bench.probe({ acks: true });
  const { frameBytesMax } = bench.broker.capabilities;
  const everyByte = Uint8Array.from({ length: 65_536 }, (_, index) => index % 256);
  const around = bench.frame("", { key: "k", payload: new Uint8Array(0) }).frame.byteLength;
  const largest = new Uint8Array(frameBytesMax - around).fill(0xff);
  const payloads = [new Uint8Array(0), Uint8Array.of(7), everyByte, largest];
  const frames = payloads.map((payload) => bench.frame("", { key: "k", payload }));
  frames.push(bench.frame("heads", { key: "k", headers: { empty: "", ünï: "码 🚀" } }));
  expect(frames[3]?.frame.byteLength).toBe(frameBytesMax);
  for (const outgoing of frames) await bench.within(bench.broker.publish([outgoing]));

  const full = frames[3]?.frame ?? new Uint8Array(0);
  const oversize = new Uint8Array(frameBytesMax + 1);
  oversize.set(full);
  const refused = [frames[0], { topic: bench.topic, frame: oversize }].filter(
    (f) => f !== undefined,
  );
  expect(await bench.refusal(() => bench.broker.publish(refused))).toBe("PAYLOAD_TOO_LARGE");
  const marker = bench.frame("marker", { key: "k" });
  await bench.within(bench.broker.publish([marker]));
  await bench.eventually("all came out", () => probe.deliveries.length > frames.length);

  const expected = [...frames, marker].map(({ frame }) => Bun.hash(frame));
  expect(probe.deliveries.map(({ bytes }) => Bun.hash(bytes))).toEqual(expected);
  const heads = probe.deliveries[4];
  expect(decodeFrame(heads?.bytes ?? full).headers).toEqual({ empty: "", ünï: "码 🚀" });
}

async function closeFlushes(bench: Bench): Promise<void> {
  await bench.start({ partitions: 64 });
  let refused = 0;
  const publishing = Array.from({ length: 20 }, (_, producer) =>
    idsOf(producer, 500).map((id) => bench.send(id, bench.frame(id)).catch(() => void refused++)),
  ).flat();
  const closing = bench.broker.close();
  await bench.within(Promise.all(publishing), 10_000);
  await bench.within(closing, 10_000);
  expect(bench.acked.length + refused).toBe(10_000);
  await bench.restart("clean");
  await bench.probe({ acks: true });
  await bench.drained();
  bench.expectValid();
}

async function replayAndLatest(bench: Bench): Promise<void> {
  await bench.start();
  for (const round of [1, 2, 3]) {
    await bench.publish(idsOf(`old${round}`, 20));
    const late = await bench.probe({ group: `late${round}`, acks: true });
    await bench.eventually("it has what came before", () => late.deliveries.length >= 20 * round);
    expect(new Set(late.ids())).toEqual(new Set(bench.acked));
  }
  const latest = await bench.probe({ group: "latest", from: "latest", acks: true });
  const before = [...bench.acked];
  await bench.publish(idsOf("new", 20));
  await bench.eventually("it has what came after", () => latest.deliveries.length >= 20);
  expect(sorted(latest.ids())).toEqual(sorted(idsOf("new", 20)));
  const again = await bench.probe({ group: "again", acks: true });
  await bench.eventually("a new group has all", () => again.deliveries.length >= 80);
  expect(sorted(again.ids())).toEqual(sorted([...before, ...idsOf("new", 20)]));
}
