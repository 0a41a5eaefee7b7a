/**
 * Doorbells between real threads: any thread wakes any other, hears who rang, and is kept alive by
 * no doorbell.
 */

import { afterEach, expect, test } from "bun:test";
import { Worker } from "node:worker_threads";

import type { RingPart } from "./ring.fixture.ts";

import { InvariantError } from "../errors.ts";
import { createDoorbell } from "./doorbell.ts";
import { createRing } from "./ring-layout.ts";

const DEADLINE_MS = 60_000;
const workers = new Set<Worker>();

afterEach(async () => {
  await Promise.all([...workers].map((worker) => worker.terminate()));
  workers.clear();
});

test(
  "two workers and the main thread ring one another, and each hears who rang",
  async () => {
    const heard: number[] = [];
    const both = Promise.withResolvers<void>();
    const doorbell = createDoorbell("three", 0, (from) => {
      heard.push(from);
      if (heard.length === 2) both.resolve();
    });
    const [one, two] = await Promise.all([start("three", 1, 2), start("three", 2, 1)]);

    // 1 rings 2; 2 has the higher index and does not answer.
    const bellAt2 = messageOf(two, "rung");
    one.postMessage("ring");
    expect(await bellAt2).toEqual({ rung: 1, from: 1 });

    // 2 rings 1, and 1 answers.
    const bellAt1 = messageOf(one, "rung");
    const answerAt2 = messageOf(two, "rung");
    two.postMessage("ring");
    expect(await bellAt1).toEqual({ rung: 1, from: 2 });
    expect(await answerAt2).toEqual({ rung: 2, from: 1 });

    // The main thread rings both, which have higher indexes and do not answer; then they ring it.
    const bells = [messageOf(one, "rung"), messageOf(two, "rung")];
    doorbell.ring(1);
    doorbell.ring(2);
    expect(await Promise.all(bells)).toEqual([
      { rung: 2, from: 0 },
      { rung: 3, from: 0 },
    ]);
    const third = await start("three", 3, 0);
    third.postMessage("ring");
    third.postMessage("ring");
    await both.promise;
    expect(heard).toEqual([3, 3]);
    doorbell.close();
  },
  DEADLINE_MS,
);

test("bells of another instance are not heard, nor one's own after closing", async () => {
  const heard: string[] = [];
  const last = Promise.withResolvers<void>();
  const here = createDoorbell("here", 0, (from) => {
    heard.push(`here ${from}`);
    if (from === 7) last.resolve();
  });
  const closed = createDoorbell("here", 1, () => heard.push("closed"));
  const elsewhere = createDoorbell("elsewhere", 0, () => heard.push("elsewhere"));
  const ringer = createDoorbell("here", 7, () => undefined);
  here.ring(1);
  closed.close();
  closed.close();
  closed.ring(0);
  // A bell of one's own and one from another: order is kept, so the last one proves the rest.
  here.ring(0);
  ringer.ring(1);
  ringer.ring(0);
  await last.promise;
  expect(heard).toEqual(["here 0", "here 7"]);
  for (const doorbell of [here, elsewhere, ringer]) doorbell.close();
});

test(
  "a process with nothing left but doorbells ends",
  async () => {
    const path = new URL("doorbell.ts", import.meta.url).pathname;
    const source = `
      import { createDoorbell } from ${JSON.stringify(path)};
      const first = createDoorbell("alone", 0, () => {});
      createDoorbell("alone", 1, () => {});
      first.ring(1);
    `;
    const child = Bun.spawn([process.execPath, "-e", source], { stdout: "ignore" });
    expect(await child.exited).toBe(0);
  },
  DEADLINE_MS,
);

test("a doorbell without a name is refused", () => {
  for (const [instance, me] of [
    ["", 0],
    ["x", -1],
    ["x", 0.5],
  ] as const) {
    expect(() => createDoorbell(instance, me, () => undefined)).toThrow(InvariantError);
  }
});

async function start(instance: string, me: number, other: number): Promise<Worker> {
  const memory = createRing(64);
  const part: RingPart = {
    part: "bell",
    instance,
    me,
    other,
    outbound: memory,
    inbound: memory,
    count: 0,
  };
  const worker = new Worker(new URL("ring.fixture.ts", import.meta.url), { workerData: part });
  workers.add(worker);
  await messageOf(worker, "ready");
  return worker;
}

function messageOf(worker: Worker, field: string): Promise<Readonly<Record<string, number>>> {
  const { promise, resolve, reject } = Promise.withResolvers<Readonly<Record<string, number>>>();
  const listener = (message: Readonly<Record<string, number>>) => {
    if (!(field in message)) return;
    worker.off("message", listener);
    resolve(message);
  };
  worker.on("message", listener);
  worker.on("error", reject);
  return promise;
}
