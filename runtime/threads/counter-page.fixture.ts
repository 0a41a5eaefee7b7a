/**
 * A thread that counts, for `counter-page.int.test.ts`: so many increments and observations.
 *
 * Only for tests. The layout is declared here, as every thread must make it by itself.
 */

import { parentPort, workerData } from "node:worker_threads";

import { defineMetrics } from "./counter-layout.ts";
import { CounterWriter } from "./counter-page.ts";

export interface CountingPart {
  readonly memory: SharedArrayBuffer;
  readonly thread: number;
  readonly count: number;
}

export const LAYOUT = defineMetrics([
  { kind: "counter", name: "counted_total", help: "increments" },
  { kind: "histogram", name: "observed", help: "observations", bounds: [1, 2] },
]);

if (isCountingPart(workerData)) {
  const { memory, thread, count } = workerData;
  const writer = new CounterWriter(memory, LAYOUT, thread);
  const counter = writer.counter("counted_total");
  const histogram = writer.histogram("observed");
  for (let at = 0; at < count; at++) {
    counter.add();
    histogram.observe(at % 4);
  }
  parentPort?.postMessage("done");
}

function isCountingPart(value: unknown): value is CountingPart {
  return typeof value === "object" && value !== null && "memory" in value && "thread" in value;
}
