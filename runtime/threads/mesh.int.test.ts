/**
 * A mesh of this thread and a real worker that echoes. The rings by themselves are tested in
 * `ring.test.ts`.
 */

import { afterEach, expect, test } from "bun:test";

import type { ThreadFixtureData } from "../testing/thread-fixture.ts";
import type { RunningChild } from "../supervision/child.ts";

import { systemEnvironment } from "../system-environment.ts";
import { createHeartbeats } from "./heartbeat.ts";
import { createMeshMemory, MeshNode } from "./mesh.ts";
import { threadChild } from "./thread-child.ts";

const RING_BYTES = 16 * 1024;
const SETTLED = 1;
const HELD = 2;
const FATAL = 3;
const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

/** This thread (0) and a worker (1) that echoes, joined by rings. */
async function createPair(backlogBytesMax = 1024 * 1024) {
  const heartbeats = createHeartbeats(2);
  const memory = createMeshMemory(`mesh-test-${crypto.randomUUID()}`, [
    { from: 0, to: 1, ringBytes: RING_BYTES },
    { from: 1, to: 0, ringBytes: RING_BYTES },
  ]);
  const received: { kind: number; text: string }[] = [];
  const node = new MeshNode({
    memory,
    me: 0,
    environment: systemEnvironment,
    backlogBytesMax,
    listeners: [
      {
        from: 1,
        release: "read",
        onRecord: (kind, bytes) => {
          received.push({ kind, text: new TextDecoder().decode(bytes.slice()) });
        },
      },
    ],
  });
  closers.push(() => node.close());
  const spec = threadChild({
    id: "echo",
    restart: "permanent",
    environment: systemEnvironment,
    entry: new URL("../testing/thread-fixture.ts", import.meta.url),
    thread: 1,
    heartbeats,
    workerData: (incarnation): ThreadFixtureData => ({
      heartbeats,
      thread: 1,
      // Only the first incarnation dies of it.
      echo: { memory, settledKinds: [SETTLED, FATAL], fatalKind: incarnation === 0 ? FATAL : 0 },
    }),
    readyWithinMs: 20_000,
    stallMs: 10_000,
    stopWithinMs: 5_000,
    stopGraceMs: 1_000,
  });
  async function startWorker(): Promise<RunningChild> {
    const child = await spec.start(() => undefined);
    closers.push(() => child.stop());
    return child;
  }
  return { node, received, startWorker, worker: await startWorker() };
}

function send(node: MeshNode, kind: number, text: string): boolean {
  return node.send(1, kind, new TextEncoder().encode(text));
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(`waited too long for ${what}`);
    await Bun.sleep(2);
  }
}

test("records come back in order, many more than the rings hold at once", async () => {
  const { node, received } = await createPair();
  const count = 20_000;
  let sent = 0;
  while (sent < count) {
    if (send(node, SETTLED, `record ${sent}`)) sent++;
    else await Bun.sleep(1);
  }
  await until(() => received.length === count, "every echo");
  expect(received.every(({ text }, index) => text === `record ${index}`)).toBe(true);
  expect(node.backlogBytes(1)).toBe(0);
});

test("what fits neither ring nor backlog is refused, and what is taken still arrives", async () => {
  const { node, received } = await createPair(10_000);
  const text = "x".repeat(1_000);
  let taken = 0;
  while (send(node, SETTLED, text)) taken++;
  expect(taken).toBeGreaterThan(RING_BYTES / 2 / 1_000);
  expect(taken).toBeLessThan(200);
  await until(() => received.length === taken, "what was taken");
});

test("a record that no ring could hold is refused by name, behind a backlog too", async () => {
  const { node, received } = await createPair();
  expect(() => send(node, SETTLED, "x".repeat(RING_BYTES))).toThrow("exceeds");
  let sent = 0;
  while (node.backlogBytes(1) === 0) if (send(node, SETTLED, "x".repeat(1_000))) sent++;
  expect(() => send(node, SETTLED, "x".repeat(RING_BYTES))).toThrow("exceeds");
  await until(() => received.length === sent, "everything that fits");
});

test("a thread that takes a dead one's place is handed what that one had not settled", async () => {
  const { node, received, worker, startWorker } = await createPair();
  send(node, SETTLED, "settled");
  send(node, HELD, "held");
  send(node, SETTLED, "settled behind it");
  await until(() => received.length === 3, "the first echoes");
  await worker.stop();
  send(node, SETTLED, "sent to nobody");
  await startWorker();
  await until(() => received.length === 6, "the second echoes");
  expect(received.slice(3).map(({ text }) => text)).toEqual([
    "held",
    "settled behind it",
    "sent to nobody",
  ]);
});

test("a question whose answer was never published is asked again", async () => {
  const { node, received, worker, startWorker } = await createPair();
  send(node, FATAL, "asked");
  await worker.stop();
  await startWorker();
  await until(() => received.length === 1, "the answer of the successor");
  expect(received[0]?.text).toBe("asked");
});

test("after a reset a successor starts with an empty ring", async () => {
  const { node, received, worker, startWorker } = await createPair();
  send(node, HELD, "held");
  await until(() => received.length === 1, "the first echo");
  await worker.stop();
  node.resetOutbound(1);
  await startWorker();
  send(node, SETTLED, "new");
  await until(() => received.length === 2, "the new echo");
  expect(received.at(-1)?.text).toBe("new");
});

test("a closed node sends nothing more and hears nothing more", async () => {
  const { node, received } = await createPair();
  node.close();
  node.drainNow();
  expect(received).toEqual([]);
});
