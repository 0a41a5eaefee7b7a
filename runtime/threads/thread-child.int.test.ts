/**
 * Real worker threads that start, die in four ways, and stop. What a supervisor makes of it is its
 * own business.
 */

import { afterEach, expect, test } from "bun:test";

import type { Misdeed, ThreadFixtureData } from "../testing/thread-fixture.ts";
import type { Exit, RunningChild } from "../supervision/child.ts";
import type { RunningThread, ThreadChildOptions } from "./thread-child.ts";

import { systemEnvironment } from "../system-environment.ts";
import { createHeartbeats } from "./heartbeat.ts";
import { threadChild, ThreadFailure } from "./thread-child.ts";

const running: RunningChild[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((child) => child.stop()));
});

async function startThread(
  data: Partial<ThreadFixtureData> = {},
  options: Partial<ThreadChildOptions> = {},
) {
  const heartbeats = createHeartbeats(1);
  const exited = Promise.withResolvers<Exit>();
  const told: unknown[] = [];
  let thread: RunningThread | undefined;
  const spec = threadChild({
    id: "fixture",
    restart: "permanent",
    environment: systemEnvironment,
    entry: new URL("../testing/thread-fixture.ts", import.meta.url),
    thread: 0,
    heartbeats,
    workerData: (): ThreadFixtureData => ({ heartbeats, thread: 0, ...data }),
    readyWithinMs: 20_000,
    stallMs: 600,
    stopWithinMs: 5_000,
    stopGraceMs: 1_000,
    onStarted: (started) => (thread = started),
    onMessage: (body) => told.push(body),
    ...options,
  });
  const child = await spec.start((exit) => exited.resolve(exit));
  running.push(child);
  return { child, told, exited: exited.promise, tell: (how: Misdeed) => thread?.tell(how) };
}

for (const how of ["throw", "reject", "exit", "spin"] as const) {
  test(`a thread that should ${how} is reported as an abnormal exit, once it is gone`, async () => {
    const { tell, exited } = await startThread();
    tell(how);
    const exit = await exited;
    expect(exit.kind).toBe("abnormal");
  }, 20_000);
}

test("a started thread has said hello, and its messages reach the parent", async () => {
  const { told } = await startThread();
  expect(told).toEqual(["hello"]);
});

test("stop waits for the thread to finish what it does", async () => {
  const { child, exited } = await startThread({ stopTakesMs: 200 });
  const startedMs = performance.now();
  await child.stop();
  expect(performance.now() - startedMs).toBeGreaterThanOrEqual(199);
  expect(await Promise.race([exited, Promise.resolve("not reported")])).toBe("not reported");
});

test("kill ends a thread that does not stop, and stop then resolves", async () => {
  const { child } = await startThread({ stopTakesMs: 3_600_000 });
  const stopped = child.stop();
  child.kill();
  await stopped;
});

test("a thread that cannot start rejects with its own code", async () => {
  const failure = await startThread({ refuseToStart: true }).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(ThreadFailure);
  expect(failure).toMatchObject({ threadCode: "CLOSED", threadMessage: "not today" });
});

test("a thread that is never ready is given up after its time", async () => {
  const started = startThread({ neverReady: true }, { readyWithinMs: 300 });
  await expect(started).rejects.toThrow("was not ready within 300 ms");
});

test("each incarnation is prepared before it starts", async () => {
  const prepared: number[] = [];
  const before = (incarnation: number): Promise<void> => {
    prepared.push(incarnation);
    return Promise.resolve();
  };
  await startThread({}, { before });
  expect(prepared).toEqual([0]);
});
