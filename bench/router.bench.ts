/**
 * The router under an open load: from a broker to a shard to a broker, and from ring to ring.
 *
 * Messages are offered by the clock and latency counts from the time each was due, so that a router
 * that falls behind shows it. Every run checks that each message arrived once, in the order of its
 * key and at the right place; otherwise it ends with code 1. Run
 * `bun bench/router.bench.ts [--seconds 60] [--rate 50000] [--ring-rate 500000] [--only broker]`.
 */

import { once } from "node:events";
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";

import type { Task, ThreadData, Verdict, Warm } from "./router-plan.ts";

import { RING_BYTES_DEFAULT } from "../runtime/limits.ts";
import { createRing } from "../runtime/threads/ring-layout.ts";
import { formatRate } from "./harness.ts";

const FLAT_OUT_COUNT = 10_000_000;
/** Not measured: modules are loaded and code is compiled. */
const WARM_UP_SECONDS = 1;
const FLAT_OUT_WARM_UP = 1_000_000;
/** A run that takes so many times its due time does not do its work. */
const PATIENCE = 5;
const PATIENCE_MIN_MS = 30_000;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "3" },
    rate: { type: "string", default: "50000" },
    "ring-rate": { type: "string", default: "500000" },
    only: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const seconds = positive("seconds", values.seconds);
const rate = positive("rate", values.rate);
const ringRate = positive("ring-rate", values["ring-rate"]);

const tasks: readonly (Task & { readonly name: string; readonly part: string })[] = [
  {
    name: `broker → shard → broker, ${formatRate(rate)}/s offered`,
    part: "broker",
    mode: "broker" as const,
    ratePerSecond: rate,
    ...counts(rate),
  },
  {
    name: `ring → shard → ring, ${formatRate(ringRate)}/s offered`,
    part: "ring",
    mode: "ring" as const,
    ratePerSecond: ringRate,
    ...counts(ringRate),
  },
  {
    name: "ring → shard → ring, flat out",
    part: "flat",
    mode: "ring" as const,
    ratePerSecond: 0,
    count: FLAT_OUT_WARM_UP + Math.min(FLAT_OUT_COUNT, 1_000_000 * seconds),
    warmUp: FLAT_OUT_WARM_UP,
  },
].filter(({ part }) => values.only === undefined || values.only === part);

console.log(`Router: Bun ${Bun.version}, load ${loadavg()[0]?.toFixed(2)}, work verified`);
let isDone = tasks.length > 0;
for (const { name, ...task } of tasks) {
  const { verdict, cpuMicros } = await run(task);
  const isWhole = verdict.count === task.count && verdict.wrong === 0;
  const achieved = (task.count - task.warmUp) / (verdict.elapsedMs / 1_000);
  const [p50, p95, p99, most] = [verdict.p50Ms, verdict.p95Ms, verdict.p99Ms, verdict.maxMs].map(
    (ms) => ms.toFixed(2),
  );
  const figures = `p50 ${p50} ms, p95 ${p95} ms, p99 ${p99} ms, max ${most} ms`;
  const cost = `${(cpuMicros / (task.count - task.warmUp)).toFixed(2)} CPU-µs/message`;
  console.log(`${name}\n  ${formatRate(achieved)}/s, ${figures}, ${cost}`);
  if (!isWhole) {
    console.log(`  FAILED: ${verdict.count} of ${task.count} arrived, ${verdict.wrong} wrong`);
  }
  if (values.json) console.log(JSON.stringify({ name, ...task, ...verdict, achieved, cpuMicros }));
  isDone &&= isWhole;
}
process.exitCode = isDone ? 0 : 1;

/** One run on two threads of its own. */
async function run(task: Task): Promise<{ verdict: Verdict; cpuMicros: number }> {
  const data: ThreadData = {
    ...task,
    toShard: createRing(RING_BYTES_DEFAULT),
    toSender: createRing(RING_BYTES_DEFAULT),
  };
  const shard = new Worker(new URL("router-shard.ts", import.meta.url), { workerData: data });
  await once(shard, "online");
  const sender = new Worker(new URL("router-sender.ts", import.meta.url), { workerData: data });
  const dueMs = task.ratePerSecond === 0 ? 0 : (1_000 * task.count) / task.ratePerSecond;
  const judge = task.mode === "broker" ? shard : sender;
  let before = process.cpuUsage();
  judge.once("message", () => {
    before = process.cpuUsage();
  });
  const verdict = await Promise.race([
    verdictFrom(judge),
    failureOf(shard),
    failureOf(sender),
    lateAfter(Math.max(PATIENCE_MIN_MS, PATIENCE * dueMs)),
  ]);
  const cpu = process.cpuUsage(before);
  await Promise.all([shard.terminate(), sender.terminate()]);
  return { verdict, cpuMicros: cpu.user + cpu.system };
}

async function verdictFrom(worker: Worker): Promise<Verdict> {
  for (;;) {
    const [told]: (Verdict | Warm)[] = await once(worker, "message");
    if (told?.kind === "verdict") return told;
  }
}

async function failureOf(worker: Worker): Promise<never> {
  const [error] = await once(worker, "error");
  throw error;
}

function lateAfter(waitMs: number): Promise<never> {
  return new Promise((_, reject) => {
    const late = new RangeError(`the messages had not arrived after ${waitMs} ms`);
    setTimeout(() => reject(late), waitMs).unref();
  });
}

function counts(ratePerSecond: number): Pick<Task, "count" | "warmUp"> {
  const warmUp = 8 * Math.round((ratePerSecond * WARM_UP_SECONDS) / 8);
  return { warmUp, count: warmUp + Math.round(ratePerSecond * seconds) };
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new RangeError(`--${name} ${text}: a positive number is needed`);
}
