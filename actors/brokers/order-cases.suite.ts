/**
 * Conformance: order per key, through the consumer (B24, B25).
 *
 * What counts is the first delivery of each frame: within one key it must follow the order of
 * publication, whoever handles it and whatever fails on the way.
 */

import { expect } from "bun:test";

import type { Bench, BrokerCase, Probed } from "./broker-bench.suite.ts";

import { ACK } from "../delivery/outcome.ts";
import { idsOf } from "./broker-bench.suite.ts";

const KEYS = Array.from({ length: 16 }, (_, index) => `key-${index}`);
const FRAMES_PER_KEY = 1_000;

export const ORDER_CASES: readonly BrokerCase[] = [
  { name: "B24: one member handles every key in order", run: (bench) => inOrder(bench, 1) },
  { name: "B24: ten members handle every key in order", run: (bench) => inOrder(bench, 10) },
  { name: "B25: a key waits for its failed frame, other keys do not", run: orderUnderRetry },
  { name: "B25: a buried frame lets the next of its key go on", run: orderAfterBurial },
  { name: "B25: a batch holds at most one frame of each key", run: batchesOfHeads },
];

async function inOrder(bench: Bench, members: number): Promise<void> {
  await bench.start({ partitions: 64 });
  const running = new Set<string>();
  const overlaps: string[] = [];
  const consumers = await Promise.all(
    Array.from({ length: members }, () =>
      bench.consume({
        concurrencyMax: 64,
        handle: async ({ frame }) => {
          if (running.has(frame.key)) overlaps.push(frame.key);
          running.add(frame.key);
          await Promise.resolve();
          running.delete(frame.key);
          return ACK;
        },
      }),
    ),
  );
  for (let from = 1; from <= FRAMES_PER_KEY; from += 100) {
    const batch = KEYS.map((key) => {
      const ids = idsOf(key, from + 99).slice(from - 1);
      bench.attempted.push(...ids);
      return bench.broker
        .publish(ids.map((id) => bench.frame(id, { key })))
        .then(() => bench.acked.push(...ids));
    });
    await bench.within(Promise.all(batch));
  }
  await bench.drained();
  expect(overlaps).toEqual([]);
  expect(bench.delivered).toHaveLength(KEYS.length * FRAMES_PER_KEY);
  for (const key of KEYS) {
    const mine = consumers.filter(({ calls }) => calls.some((call) => call.key === key));
    expect(mine).toHaveLength(1);
    expect(idsOfKey(mine, key)).toEqual(idsOf(key, FRAMES_PER_KEY));
  }
}

async function orderUnderRetry(bench: Bench): Promise<void> {
  await bench.start();
  const trace: string[] = [];
  const isOther = (entry: string): boolean => entry.startsWith("p1-");
  // Over a network the others may take long to come: it fails until one of them is done. In this
  // process they have the time of two retries.
  const isUnmet = (attempt: number): boolean =>
    attempt <= 2 || (bench.isRemote && !trace.some(isOther));
  const { consumer } = await bench.consume({
    policy: {
      retry: {
        attemptsMax: bench.isRemote ? 300 : 5,
        delayMinMs: 300,
        delayMaxMs: 300,
        jitter: 0,
      },
      ...(bench.isRemote ? { deliveriesMax: 1_000 } : {}),
    },
    handle: ({ body, attempt }) => {
      trace.push(`${body}#${attempt}`);
      return body === "K-3" && isUnmet(attempt)
        ? Promise.reject(new Error("not yet"))
        : Promise.resolve(ACK);
    },
  });
  for (const id of idsOf("K", 6)) await bench.publish([id.replace("pK", "K")], { key: "K" });
  await bench.eventually("the third failed", () => trace.includes("K-3#1"));
  await bench.publish(idsOf(1, 100));
  await bench.eventually("all are settled", () => ackedOf(consumer) === 106);
  const ofK = trace.filter((entry) => entry.startsWith("K-"));
  const tries = ofK.filter((entry) => entry.startsWith("K-3#"));
  if (bench.isRemote) expect(tries.length).toBeGreaterThanOrEqual(3);
  else expect(tries).toHaveLength(3);
  expect(tries).toEqual(tries.map((_, index) => `K-3#${index + 1}`));
  expect(ofK).toEqual(["K-1#1", "K-2#1", ...tries, "K-4#1", "K-5#1", "K-6#1"]);
  const between = trace.slice(trace.indexOf("K-3#1") + 1, trace.indexOf(tries.at(-1) ?? ""));
  expect(between.filter(isOther).length).toBeGreaterThan(0);
}

async function orderAfterBurial(bench: Bench): Promise<void> {
  await bench.start();
  const trace: string[] = [];
  const { consumer } = await bench.consume({
    policy: { retry: { attemptsMax: 2, delayMinMs: 10, delayMaxMs: 10, jitter: 0 } },
    handle: ({ body, attempt }) => {
      trace.push(`${body}#${attempt}`);
      return body === "bad" ? Promise.reject(new Error("never")) : Promise.resolve(ACK);
    },
  });
  await bench.publish(["bad", "next"], { key: "K" });
  await bench.eventually("the next is settled", () => ackedOf(consumer) === 1);
  expect(trace).toEqual(["bad#1", "bad#2", "next#1"]);
  const letters = await bench.within(bench.broker.deadLetters(bench.topic, 0, 10));
  expect(letters).toHaveLength(1);
}

async function batchesOfHeads(bench: Bench): Promise<void> {
  await bench.start();
  const batches: string[][] = [];
  for (const key of ["a", "b", "c"]) await bench.publish(idsOf(key, 20), { key });
  const { consumer } = await bench.consume({
    handler: {
      kind: "batch",
      concurrencyMax: 1,
      batchMax: 10,
      handle: (messages) => {
        batches.push(messages.map(({ frame }) => frame.key));
        bench.delivered.push(...messages.map(({ body }) => body));
        return Promise.resolve(messages.map(() => ACK));
      },
    },
  });
  await bench.eventually("all are settled", () => ackedOf(consumer) === 60);
  expect(batches.every((keys) => new Set(keys).size === keys.length)).toBe(true);
  expect(batches.some((keys) => keys.length === 3)).toBe(true);
  for (const key of ["a", "b", "c"]) {
    expect(bench.delivered.filter((id) => id.startsWith(`p${key}-`))).toEqual(idsOf(key, 20));
  }
}

function idsOfKey(consumers: readonly Probed[], key: string): string[] {
  return consumers.flatMap(({ calls }) =>
    calls.filter((call) => call.key === key).map(({ id }) => id),
  );
}

function ackedOf(consumer: Probed["consumer"]): number {
  return consumer.stats().partitions.reduce((sum, { acked }) => sum + acked, 0);
}
