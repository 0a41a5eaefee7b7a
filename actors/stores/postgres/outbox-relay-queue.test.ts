/** What one lane has in memory: its order and its bounds, also when the middle is out first. */

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

test("frames leave from the middle, and the rest stays in order", () => {
  const queue = filled([1, 2, 3, 4, 5]);
  queue.remove([frameOf(2), frameOf(4)], 100);
  expect(idsOf(queue.first(ALL))).toEqual([1, 3, 5]);
  expect([queue.length, queue.kept, queue.bytes]).toEqual([3, 5, 50]);
  queue.remove([frameOf(1)], 100);
  // What follows the first is free with it.
  expect([queue.length, queue.kept, queue.bytes]).toEqual([2, 3, 30]);
  expect([2, 3, 4].map((id) => queue.has(id))).toEqual([false, true, true]);
  queue.remove([frameOf(3), frameOf(5)], 100);
  expect([queue.length, queue.kept, queue.bytes]).toEqual([0, 0, 0]);
});

test.each([1, 2, 100])("it may be trimmed at any time: at %i", (trimFrames) => {
  const queue = filled([1, 2, 3, 4, 5, 6]);
  for (const id of [2, 1, 4]) queue.remove([frameOf(id)], trimFrames);
  queue.add(frameOf(7));
  expect(idsOf(queue.first(ALL))).toEqual([3, 5, 6, 7]);
  expect(queue.length).toBe(4);
});
