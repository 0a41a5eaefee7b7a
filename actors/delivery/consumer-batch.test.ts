/**
 * Batches: what goes into one, and what becomes of it when it fails as a whole.
 *
 * One bad message must not drag its neighbours into the dead letters, and storage that is down
 * must not make every batch a hundred single calls.
 */

import { expect, test } from "bun:test";

import type { HandleBatch, Handler, Outcome } from "./outcome.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createRig, totals } from "./consumer-bench.suite.ts";
import { ACK } from "./outcome.ts";

const BODIES = Array.from({ length: 10 }, (_, index) => `m${index}`);

function batchHandler(batches: string[][], handle: HandleBatch<string>): Handler<string> {
  return {
    kind: "batch",
    concurrencyMax: 1,
    batchMax: 10,
    handle: (messages, signal) => {
      batches.push(messages.map(({ body, attempt }) => `${body}#${attempt}`));
      return handle(messages, signal);
    },
  };
}

test("heads of lanes that are ready together are handled together", async () => {
  const rig = createRig();
  const batches: string[][] = [];
  const handler = batchHandler(batches, (messages) => Promise.resolve(messages.map(() => ACK)));
  const consumer = await rig.start(undefined, { handler });
  await rig.publish([...BODIES, "m10"]);
  await rig.environment.settle();
  expect(batches.map((batch) => batch.length)).toEqual([10, 1]);
  expect(totals(consumer).acked).toBe(11);
});

test("each message of a batch has its own outcome", async () => {
  const rig = createRig();
  const batches: string[][] = [];
  const handler = batchHandler(batches, (messages) =>
    Promise.resolve(
      messages.map(({ body, attempt }): Outcome => {
        if (body === "m1" && attempt === 1) return { kind: "retry", error: "not yet" };
        if (body === "m2") return { kind: "bury", reason: "bad", error: "never" };
        return ACK;
      }),
    ),
  );
  const consumer = await rig.start(undefined, { handler });
  await rig.publish(BODIES);
  await rig.environment.advance(1_000);
  expect(batches.map((batch) => batch.toSorted())).toEqual([
    BODIES.map((body) => `${body}#1`),
    ["m1#2"],
  ]);
  expect(totals(consumer)).toMatchObject({ acked: 9, buried: 1 });
});

test("a batch that fails is taken apart: only the bad message is buried", async () => {
  const rig = createRig();
  const batches: string[][] = [];
  const handler = batchHandler(batches, (messages) =>
    messages.some(({ body }) => body === "m3")
      ? Promise.reject(new Error("m3 is bad"))
      : Promise.resolve(messages.map(() => ACK)),
  );
  const consumer = await rig.start(undefined, { handler });
  await rig.publish(BODIES);
  await rig.environment.advance(10_000);
  expect(totals(consumer)).toMatchObject({ acked: 9, buried: 1, parked: 0, inFlight: 0 });
  expect(await rig.buried()).toMatchObject([{ body: "m3", reason: "poison", attempts: 5 }]);
  // The failure of the whole batch counts for nobody.
  expect(batches.flat().filter((call) => call.startsWith("m3"))).toEqual([
    "m3#1",
    "m3#1",
    "m3#2",
    "m3#3",
    "m3#4",
    "m3#5",
  ]);
  expect(rig.events.filter(({ kind }) => kind === "batch_split")).toHaveLength(1);
});

test("a batch that found no storage is not taken apart, and counts no attempt", async () => {
  const rig = createRig();
  const batches: string[][] = [];
  let refusals = 40;
  const handler = batchHandler(batches, (messages) =>
    refusals-- > 0
      ? Promise.reject(new ShopError("STORAGE_FULL", "no room", "later"))
      : Promise.resolve(messages.map(() => ACK)),
  );
  const consumer = await rig.start(undefined, { handler });
  await rig.publish(BODIES);
  await rig.environment.advance(30_000);
  expect(refusals).toBeLessThan(0);
  expect(batches.flat().every((call) => call.endsWith("#1"))).toBe(true);
  expect(rig.events.filter(({ kind }) => kind === "batch_split")).toHaveLength(0);
  expect(totals(consumer)).toMatchObject({ acked: 10, buried: 0 });
});

test("too few outcomes are a failure, by which nothing is acknowledged", async () => {
  const rig = createRig();
  const batches: string[][] = [];
  const handler = batchHandler(batches, () => Promise.resolve([ACK]));
  const consumer = await rig.start(undefined, { handler });
  await rig.publish(["a", "b"]);
  await rig.environment.settle();
  // Two together fail; each alone gets the one outcome it needs.
  expect(batches).toEqual([["a#1", "b#1"], ["a#1"], ["b#1"]]);
  expect(totals(consumer).acked).toBe(2);
});
