/**
 * Heartbeats and their monitor on a virtual clock. Real threads that stall are in
 * `thread-child.int.test.ts`.
 */

import { expect, test } from "bun:test";

import { createVirtualEnvironment } from "../virtual-environment.ts";
import { createHeartbeats, monitorHeartbeat, startHeartbeat } from "./heartbeat.ts";

const STALL_MS = 600;

function watched() {
  const environment = createVirtualEnvironment();
  const memory = createHeartbeats(3);
  let stalls = 0;
  const monitor = monitorHeartbeat(memory, 2, environment, STALL_MS, () => stalls++);
  return { environment, memory, monitor, stalls: () => stalls };
}

test("a thread that beats is never called stalled", async () => {
  const { environment, memory, stalls } = watched();
  startHeartbeat(memory, 2, environment);
  await environment.advance(10_000);
  expect(stalls()).toBe(0);
});

test("a thread that stops beating is called stalled once, in its time and one check", async () => {
  const { environment, memory, stalls } = watched();
  const heartbeat = startHeartbeat(memory, 2, environment);
  await environment.advance(1_000);
  heartbeat.cancel();
  await environment.advance(STALL_MS - 100);
  expect(stalls()).toBe(0);
  await environment.advance(200);
  expect(stalls()).toBe(1);
  await environment.advance(10_000);
  expect(stalls()).toBe(1);
});

test("another thread's beats do not count", async () => {
  const { environment, memory, stalls } = watched();
  startHeartbeat(memory, 1, environment);
  await environment.advance(2 * STALL_MS);
  expect(stalls()).toBe(1);
});

test("a cancelled monitor says nothing more", async () => {
  const { environment, monitor, stalls } = watched();
  monitor.cancel();
  await environment.advance(10_000);
  expect(stalls()).toBe(0);
  expect(environment.pendingTimers()).toBe(0);
});

test("checks that come late, as on a starved machine, do not count as stillness", async () => {
  const environment = createVirtualEnvironment();
  const memory = createHeartbeats(1);
  let stalls = 0;
  // Every timer of this environment fires 500 ms late; the beats are as late as the checks.
  const starved = {
    ...environment,
    startTimer: (delayMs: number, callback: () => void) =>
      environment.startTimer(delayMs + 500, callback),
  };
  monitorHeartbeat(memory, 0, starved, STALL_MS, () => stalls++);
  await environment.advance(20_000);
  expect(stalls).toBe(0);
});
