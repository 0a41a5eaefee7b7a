/**
 * When a request waits, and for how long. No I/O, a virtual clock.
 */

import { expect, test } from "bun:test";

import type { VirtualEnvironment } from "../../../runtime/virtual-environment.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { RequestPace } from "./request-pace.ts";

const INTERVAL_MS = 10;

/** When each of `count` requests goes that wants to as soon as it may. */
async function times(count: number, pace: RequestPace, environment: VirtualEnvironment) {
  const gone: number[] = [];
  for (let request = 0; request < count; request++) {
    await environment.advance(pace.waitMs());
    expect(pace.waitMs()).toBe(0);
    pace.noted();
    gone.push(environment.monotonicMs());
  }
  const [first = 0] = gone;
  return gone.map((each) => each - first);
}

test("the first requests after a rest wait for nothing, the next an interval each", async () => {
  const environment = createVirtualEnvironment();
  const pace = new RequestPace(environment, INTERVAL_MS);
  const at = await times(12, pace, environment);
  expect(at).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 10, 20, 30, 40]);
  await environment.advance(1_000);
  expect(await times(9, pace, environment)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 10]);
});

test("no request waits longer than an interval, however many went before", async () => {
  const environment = createVirtualEnvironment();
  const pace = new RequestPace(environment, INTERVAL_MS);
  for (let request = 0; request < 1_000; request++) {
    pace.noted();
    if (request % 8 === 0) await environment.advance(1);
  }
  expect(pace.waitMs()).toBeGreaterThan(0);
  expect(pace.waitMs()).toBeLessThanOrEqual(INTERVAL_MS);
  await environment.advance(pace.waitMs());
  expect(pace.waitMs()).toBe(0);
});

test("requests that wait for nothing leave the pace of those after them as it is", async () => {
  const environment = createVirtualEnvironment();
  const pace = new RequestPace(environment, INTERVAL_MS);
  for (let request = 0; request < 1_000; request++) pace.noted();
  await environment.advance(pace.waitMs());
  expect(await times(5, pace, environment)).toEqual([0, 10, 20, 30, 40]);
});

test("requests that are an interval apart anyway never wait", async () => {
  const environment = createVirtualEnvironment();
  const pace = new RequestPace(environment, INTERVAL_MS);
  for (let request = 0; request < 100; request++) {
    expect(pace.waitMs()).toBe(0);
    pace.noted();
    await environment.advance(INTERVAL_MS);
  }
});

test("without an interval nothing waits", async () => {
  const environment = createVirtualEnvironment();
  const pace = new RequestPace(environment, 0);
  expect(await times(100, pace, environment)).toEqual(Array.from({ length: 100 }, () => 0));
});
