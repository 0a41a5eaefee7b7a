/** What one line has in memory: its order and its bounds. */

import { expect, test } from "bun:test";

import type { OutboxFrame } from "./outbox-relay-table.ts";

import { FrameQueue } from "./outbox-relay-queue.ts";

const ALL = { framesMax: 100, bytesMax: 1_000 };

function frameOf(id: number, bytes = 10): OutboxFrame {
  return { id, topic: "orders", slot: 0, frame: new Uint8Array(bytes) };
}

function filled(ids: readonly number[], bytes?: number): FrameQueue {
  const queue = new FrameQueue();
  for (const id of ids) queue.add(frameOf(id, bytes));
  return queue;
}

const idsOf = (frames: readonly OutboxFrame[]): readonly number[] => frames.map(({ id }) => id);

test("a batch is the first of them, within its bounds, and never empty", () => {
  const queue = filled([1, 2, 3], 400);
  expect(idsOf(queue.first(ALL))).toEqual([1, 2]);
  expect(idsOf(queue.first({ framesMax: 1, bytesMax: 1_000 }))).toEqual([1]);
  expect(idsOf(queue.first({ framesMax: 3, bytesMax: 1 }))).toEqual([1]);
  expect(filled([]).first(ALL)).toEqual([]);
});

test("frames leave from the front, and what they need is free", () => {
  const queue = filled([1, 2, 3, 4, 5]);
  queue.shift(2, 100);
  expect(idsOf(queue.first(ALL))).toEqual([3, 4, 5]);
  expect([queue.length, queue.bytes]).toEqual([3, 30]);
  expect([2, 3].map((id) => queue.has(id))).toEqual([false, true]);
  queue.shift(3, 100);
  expect([queue.length, queue.bytes]).toEqual([0, 0]);
});

test("all of one topic leave at once, the rest stays in order", () => {
  const queue = filled([1, 2, 3, 4, 5, 6]);
  queue.add({ ...frameOf(7), topic: "payments" });
  queue.add(frameOf(8));
  queue.add({ ...frameOf(9, 25), topic: "payments" });
  queue.shift(4, 100);
  expect(idsOf(queue.takeTopic("payments"))).toEqual([7, 9]);
  expect(idsOf(queue.first(ALL))).toEqual([5, 6, 8]);
  expect([queue.length, queue.bytes]).toEqual([3, 30]);
  expect(idsOf(queue.takeTopic("orders"))).toEqual([5, 6, 8]);
  expect([queue.length, queue.bytes]).toEqual([0, 0]);
});

test.each([1, 2, 100])("it may be trimmed at any time: at %i", (trimFrames) => {
  const queue = filled([1, 2, 3, 4, 5, 6]);
  for (const count of [1, 2]) queue.shift(count, trimFrames);
  queue.add(frameOf(7));
  expect(idsOf(queue.first(ALL))).toEqual([4, 5, 6, 7]);
  expect(queue.length).toBe(4);
});
