/**
 * Counting from real threads at once: no increment is lost, a value that is read never goes back,
 * and a thread that replaces another goes on in its section.
 */

import { expect, test } from "bun:test";
import { Worker } from "node:worker_threads";

import type { CountingPart } from "./counter-page.fixture.ts";

import { LAYOUT } from "./counter-page.fixture.ts";
import { createCounterPage, readCounterPage } from "./counter-page.ts";

test("threads that count side by side lose nothing, and the sum never goes back", async () => {
  const count = 300_000;
  const memory = createCounterPage(LAYOUT, 2);
  let isDone = false;
  const counting = Promise.all([0, 1].map((thread) => countIn({ memory, thread, count })));
  const finished = counting
    .then(() => countIn({ memory, thread: 0, count }))
    .finally(() => {
      isDone = true;
    });
  let last = 0;
  while (!isDone) {
    const value = totals(memory).counted;
    expect(value).toBeGreaterThanOrEqual(last);
    last = value;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  await finished;
  expect(totals(memory)).toEqual({ counted: 3 * count, buckets: [0.5, 0.75, 1], sum: 4.5 });

  function totals(page: SharedArrayBuffer) {
    const [counter, histogram] = readCounterPage(page, LAYOUT);
    if (counter?.kind !== "counter" || histogram?.kind !== "histogram") throw new Error("layout");
    return {
      counted: counter.value,
      buckets: histogram.buckets.map((bucket) => bucket.count / (3 * count)),
      sum: histogram.sum / count,
    };
  }
}, 60_000);

/** Runs one counting thread to its end. */
async function countIn(part: CountingPart): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const url = new URL("counter-page.fixture.ts", import.meta.url);
  const worker = new Worker(url, { workerData: part });
  worker.on("message", () => resolve());
  worker.on("error", reject);
  await promise;
  await worker.terminate();
}
