/**
 * Acknowledgements on their way, against a server of a few lines: gathered, repeated, refused.
 */

import { expect, test } from "bun:test";

import type { Argument } from "./redis-link.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { RedisAckQueue } from "./redis-ack-queue.ts";

const PLACE = { topic: "t", partition: 3, fence: "me:1" };

function setUp() {
  const environment = createVirtualEnvironment();
  const sent: (readonly Argument[])[] = [];
  const stale: [number, string][] = [];
  const answers: (() => Promise<unknown>)[] = [];
  const run = async (_script: unknown, _keys: unknown, ...parts: readonly Argument[]) => {
    sent.push(parts);
    const answer = answers.shift();
    return answer === undefined ? Array.from({ length: Number(parts[1]) }, () => 1) : answer();
  };
  const queue = new RedisAckQueue({
    environment,
    link: { run },
    prefix: "p:",
    group: "g",
    ownersKey: "owners",
    delayMs: 20,
    onStale: (partition, fence) => void stale.push([partition, fence]),
    onTrouble: () => undefined,
  });
  const fail = () => Promise.reject(new ShopError("INDETERMINATE", "no answer", "later"));
  return { environment, sent, stale, answers, queue, fail };
}

test("those that nobody waits for are sent together, within the delay", async () => {
  const { environment, sent, queue } = setUp();
  for (const sequence of [1, 2, 5]) queue.add(PLACE, [sequence]);
  await environment.advance(19);
  expect(sent).toEqual([]);
  await environment.advance(1);
  expect(sent).toEqual([["g", 1, 3, "me:1", 0, 3, "0-1", "0-2", "0-5"]]);
  expect(environment.pendingTimers()).toBe(0);
});

test("who waits is answered without the delay, once the server has them", async () => {
  const { environment, sent, queue, answers } = setUp();
  const gate = Promise.withResolvers<unknown>();
  answers.push(() => gate.promise);
  queue.postponed("t", 3);
  queue.add(PLACE, [1]);
  let isTaken: boolean | undefined;
  void queue.confirmed(3).then((taken) => (isTaken = taken));
  await environment.settle();
  expect(sent).toEqual([["g", 1, 3, "me:1", 1, 1, "0-1"]]);
  expect(isTaken).toBeUndefined();
  gate.resolve([1]);
  await environment.settle();
  expect(isTaken).toBe(true);
});

test("what came while others were under way goes with the next", async () => {
  const { environment, sent, queue, answers } = setUp();
  const gate = Promise.withResolvers<unknown>();
  answers.push(() => gate.promise);
  queue.add(PLACE, [1]);
  void queue.confirmed(3);
  await environment.settle();
  queue.add(PLACE, [2]);
  const second = queue.confirmed(3);
  await environment.settle();
  expect(sent).toHaveLength(1);
  gate.resolve([1]);
  await environment.settle();
  expect(await second).toBe(true);
  expect(sent).toHaveLength(2);
});

test("what is not answered is sent again, and nobody is told before it is", async () => {
  const { environment, sent, queue, answers, fail } = setUp();
  answers.push(fail, fail);
  queue.add(PLACE, [1]);
  const confirmed = queue.confirmed(3);
  await environment.advance(1_000);
  expect(await confirmed).toBe(true);
  expect(sent).toHaveLength(3);
  expect(new Set(sent.map((each) => each.join()))).toHaveLength(1);
});

test("what is another's by now is told so, and so is the member", async () => {
  const { environment, queue, stale, answers } = setUp();
  answers.push(() => Promise.resolve([0]));
  queue.add(PLACE, [1]);
  const confirmed = queue.confirmed(3);
  await environment.settle();
  expect(await confirmed).toBe(false);
  expect(stale).toEqual([[3, "me:1"]]);
});

test("a partition that was lost while nothing is answered keeps nobody waiting", async () => {
  const { environment, sent, queue, answers, fail } = setUp();
  answers.push(...Array.from({ length: 100 }, () => fail));
  queue.add(PLACE, [1]);
  const confirmed = queue.confirmed(3);
  await environment.advance(1_000);
  queue.drop(3);
  expect(await confirmed).toBe(false);
  const before = sent.length;
  await environment.advance(1_000);
  expect(sent.length - before).toBeLessThanOrEqual(1);
  expect(environment.pendingTimers()).toBe(0);
});

test("a close answers everybody and sends nothing more", async () => {
  const { environment, sent, queue } = setUp();
  queue.add(PLACE, [1]);
  const confirmed = queue.confirmed(3);
  queue.close();
  expect(await confirmed).toBe(false);
  queue.add(PLACE, [2]);
  await environment.advance(1_000);
  expect(sent).toEqual([]);
});

test("what is settled at once is split where one partition's share of a batch ends", async () => {
  const { environment, sent, queue } = setUp();
  const sequences = Array.from({ length: 2_500 }, (_, index) => index + 1);
  queue.add(PLACE, sequences.slice(0, 900));
  queue.add(PLACE, sequences.slice(900));
  await environment.advance(1_000);
  const ids = sent.flatMap((parts) => parts.filter((part) => String(part).startsWith("0-")));
  expect(ids).toEqual(sequences.map((sequence) => `0-${sequence}`));
  expect(sent.flatMap((parts) => parts.filter((part) => part === 1_000))).toHaveLength(2);
});

test("thousands are sent in batches that the server can take", async () => {
  const { environment, sent, queue } = setUp();
  for (let sequence = 1; sequence <= 10_000; sequence++) queue.add(PLACE, [sequence]);
  await environment.advance(1_000);
  const ids = sent.map((parts) => parts.filter((part) => String(part).startsWith("0-")).length);
  expect(ids.reduce((sum, count) => sum + count, 0)).toBe(10_000);
  expect(Math.max(...ids)).toBeLessThanOrEqual(5_000);
});
