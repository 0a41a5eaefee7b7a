/**
 * When partitions are asked to tell what is settled. Time is virtual.
 */

import { expect, test } from "bun:test";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { AckGather } from "./ack-gather.ts";

const GATHER_MS = 50;

function createRig(gatherMs = GATHER_MS) {
  const environment = createVirtualEnvironment();
  const gather = new AckGather(environment, gatherMs);
  const flushed: string[] = [];
  const claim = (name: string) => ({ flush: () => void flushed.push(name) });
  return { environment, gather, flushed, claim };
}

test("all partitions are told together, each once, within the time", async () => {
  const { environment, gather, flushed, claim } = createRig();
  const one = claim("one");
  gather.add(one);
  await environment.advance(GATHER_MS / 2);
  gather.add(claim("other"));
  gather.add(one);
  expect(flushed).toEqual([]);
  await environment.advance(GATHER_MS / 2);
  expect(flushed).toEqual(["one", "other"]);
  gather.add(one);
  await environment.advance(GATHER_MS);
  expect(flushed).toEqual(["one", "other", "one"]);
});

test("who would be sent no more is told at once, and the others with it", async () => {
  const { environment, gather, flushed, claim } = createRig();
  gather.add(claim("other"));
  gather.add(claim("full"), true);
  await environment.settle();
  expect(flushed).toEqual(["other", "full"]);
  await environment.advance(GATHER_MS);
  expect(flushed).toHaveLength(2);
});

test("without a time it is the end of the turn, and after a close nobody is told", async () => {
  const { environment, gather, flushed, claim } = createRig(0);
  gather.add(claim("one"));
  expect(flushed).toEqual([]);
  await environment.settle();
  expect(flushed).toEqual(["one"]);
  const closed = createRig();
  closed.gather.add(closed.claim("late"));
  closed.gather.close();
  await closed.environment.advance(GATHER_MS);
  expect(closed.flushed).toEqual([]);
});
