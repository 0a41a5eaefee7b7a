/**
 * Rings between real threads: nothing is lost, doubled or reordered at full speed through a small
 * ring, no bell is missed, and a writer that is killed leaves only whole records.
 */

import { afterEach, expect, test } from "bun:test";
import { Worker } from "node:worker_threads";

import type { RingPart } from "./ring.fixture.ts";

import { createDoorbell } from "./doorbell.ts";
import { createRing } from "./ring-layout.ts";
import { payloadOf } from "./ring.fixture.ts";
import { RingReader, RingWriter } from "./ring.ts";

const DEADLINE_MS = 120_000;
const workers = new Set<Worker>();

afterEach(async () => {
  await Promise.all([...workers].map((worker) => worker.terminate()));
  workers.clear();
});

test(
  "two threads: all records arrive once, in order and intact, though both sides sleep and wake",
  async () => {
    const count = 200_000;
    const outbound = createRing(4_096);
    const reader = new RingReader(outbound);
    let next = 0;
    let sleeps = 0;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const doorbell = createDoorbell("stress", 0, () => {
      try {
        drain();
      } catch (error) {
        reject(error);
      }
    });
    function drain(): void {
      do {
        while (reader.next()) {
          if (reader.kind !== next) throw new Error(`record ${next} came as ${reader.kind}`);
          if (Buffer.compare(reader.bytes, payloadOf(next)) !== 0)
            throw new Error(`${next} differs`);
          next++;
          if (next % 5 === 0 && reader.release(reader.end)) doorbell.ring(1);
        }
        if (reader.release(reader.end)) doorbell.ring(1);
        if (next === count) return resolve();
      } while (!reader.park());
      sleeps++;
    }
    drain();
    const part = { part: "send", instance: "stress", me: 1, other: 0, outbound, count } as const;
    const { said } = await start({ ...part, inbound: outbound }, "sleeps");
    await promise;
    const sender = await said;
    doorbell.close();
    expect(next).toBe(count);
    // A ring of about twenty records makes one side or the other wait, again and again.
    expect(sleeps + (sender["sleeps"] ?? 0)).toBeGreaterThan(100);
  },
  DEADLINE_MS,
);

test(
  "A38: a hundred thousand times asleep and rung awake, between two workers, and never stuck",
  async () => {
    const count = 100_000;
    const [there, back] = [createRing(64), createRing(64)];
    const part = { part: "volley", instance: "volley", count } as const;
    const [first, second] = await Promise.all([
      start({ ...part, me: 1, other: 2, outbound: there, inbound: back }, "bells"),
      start({ ...part, me: 2, other: 1, outbound: back, inbound: there }, "bells"),
    ]);
    first.worker.postMessage("begin");
    const [one, two] = await Promise.all([first.said, second.said]);
    expect((one?.["bells"] ?? 0) + (two?.["bells"] ?? 0)).toBeGreaterThanOrEqual(count);
    // A stall is a bell that came only because of a later one; here there is no later one.
    expect(Math.max(one?.["longestMs"] ?? 0, two?.["longestMs"] ?? 0)).toBeLessThan(10_000);
  },
  DEADLINE_MS,
);

test(
  "a writer killed between staging and publishing leaves what it published and nothing else",
  async () => {
    const outbound = createRing(65_536);
    const reader = new RingReader(outbound);
    const count = 20;
    const { worker } = await start(partOf("torn", outbound, count));
    await worker.terminate();
    expect(readAll(reader, 0)).toBe(count);
    const successor = new RingWriter(outbound);
    successor.tryWrite(count, payloadOf(count));
    successor.flush();
    expect(readAll(reader, count)).toBe(count + 1);
  },
  DEADLINE_MS,
);

test(
  "A36: writers killed at any moment, one after the other, make one sequence of whole records",
  async () => {
    const outbound = createRing(65_536);
    const reader = new RingReader(outbound);
    let next = 0;
    for (let life = 0; life < 12; life++) {
      const before = next;
      const { worker } = await start(partOf("endless", outbound, next));
      const until = performance.now() + life * 0.7;
      do next = readAll(reader, next);
      while (performance.now() < until || next === before);
      await worker.terminate();
      next = readAll(reader, next);
    }
    expect(next).toBeGreaterThan(12);
  },
  DEADLINE_MS,
);

/** Reads all that is there, expecting records from number `next` on; returns the next number. */
function readAll(reader: RingReader, next: number): number {
  let expected = next;
  while (reader.next()) {
    expect(reader.kind).toBe(expected);
    expect(Buffer.compare(reader.bytes, payloadOf(expected))).toBe(0);
    reader.release(reader.end);
    expected++;
  }
  return expected;
}

function partOf(part: RingPart["part"], outbound: SharedArrayBuffer, count: number): RingPart {
  return { part, instance: part, me: 1, other: 0, outbound, inbound: outbound, count };
}

/**
 * A worker that has said it is ready; only then may it be terminated. `said` resolves with its
 * first message that has `awaited`, which it may send before it is ready.
 */
async function start(
  part: RingPart,
  awaited = "ready",
): Promise<{ worker: Worker; said: Promise<Readonly<Record<string, number>>> }> {
  const worker = new Worker(new URL("ring.fixture.ts", import.meta.url), { workerData: part });
  workers.add(worker);
  const said = messageOf(worker, awaited);
  await messageOf(worker, "ready");
  return { worker, said };
}

/** The first message of `worker` that has `field`, from now on. */
function messageOf(worker: Worker, field: string): Promise<Readonly<Record<string, number>>> {
  const { promise, resolve, reject } = Promise.withResolvers<Readonly<Record<string, number>>>();
  worker.on("message", (message: Readonly<Record<string, number>>) => {
    if (field in message) resolve(message);
  });
  worker.on("error", reject);
  return promise;
}
