/**
 * Conformance: trying again, through the consumer (B11, B18, B19).
 *
 * Times are measured on the environment's monotonic clock; the lower bound is exact, the upper one
 * generous, because a busy machine may be late but must not be early.
 */

import { expect } from "bun:test";

import type { Bench, BrokerCase } from "./broker-bench.suite.ts";

import { ACK } from "../delivery/outcome.ts";
import { idsOf, sorted, TEST_POLICY } from "./broker-bench.suite.ts";

export const RETRY_CASES: readonly BrokerCase[] = [
  {
    name: "B11: frames whose first attempt failed are handled again, the others once",
    run: async (bench) => {
      await bench.start();
      const failing = new Set(["p1-1", "p1-2"]);
      const { consumer, calls } = await bench.consume({
        handle: ({ body, attempt }) =>
          failing.has(body) && attempt === 1
            ? Promise.reject(new Error("first attempt"))
            : Promise.resolve(ACK),
      });
      await bench.publish(idsOf(1, 100));
      await bench.eventually("all are settled", () => ackedBy(consumer) === 100);
      expect(calls).toHaveLength(102);
      for (const id of failing) {
        expect(calls.filter((call) => call.id === id).map(({ attempt }) => attempt)).toEqual([
          1, 2,
        ]);
      }
      expect(consumer.stats().retries).toBe(2);
    },
  },
  { name: "B18: each retry waits as the schedule says, and other keys do not", run: backoff },
  {
    name: "B18: a postponed delivery that comes back says when it is due and which attempt it is",
    run: async (bench) => {
      await bench.start();
      const notBeforeMs = await postponeOne(bench, 3_600_000);
      const heir = await bench.probe();
      await bench.eventually("it came back", () => heir.deliveries.length > 0);
      expect(heir.find("p1-1").notBeforeMs).toBe(notBeforeMs);
      expect(heir.find("p1-1").attempt).toBeGreaterThanOrEqual(4);
    },
  },
  {
    name: "B18: a postponement survives a kill of the broker, and is waited for",
    needs: ["durablePostpone", "restart"],
    run: postponementSurvives,
  },
];

async function backoff(bench: Bench): Promise<void> {
  await bench.start();
  const startsMs: number[] = [];
  const retry = { attemptsMax: 9, delayMinMs: 100, delayMaxMs: 400, jitter: 0 };
  const { consumer } = await bench.consume({
    policy: { retry },
    handle: ({ body, attempt }) => {
      if (body !== "poor") return Promise.resolve(ACK);
      startsMs.push(bench.environment.monotonicMs());
      return attempt <= 4 ? Promise.reject(new Error("not yet")) : Promise.resolve(ACK);
    },
  });
  await bench.publish(["poor"]);
  await bench.eventually("it failed once", () => startsMs.length > 0);
  await bench.publish(idsOf(1, 50));
  await bench.eventually("the others are done", () => ackedBy(consumer) >= 50);
  await bench.eventually("it is done", () => ackedBy(consumer) === 51);
  const waitsMs = startsMs.slice(1).map((startMs, index) => startMs - (startsMs[index] ?? 0));
  expect(waitsMs).toHaveLength(4);
  for (const [index, leastMs] of [100, 200, 400, 400].entries()) {
    expect(waitsMs[index]).toBeGreaterThan(leastMs * 0.95);
    expect(waitsMs[index]).toBeLessThan(leastMs + 5_000);
  }
}

/** One member takes the frame, postpones its fourth attempt, and closes. */
async function postponeOne(bench: Bench, delayMs: number): Promise<number> {
  const first = await bench.probe();
  await bench.publish(["p1-1"]);
  await bench.eventually("it is here", () => first.deliveries.length > 0);
  const notBeforeMs = bench.environment.nowMs() + delayMs;
  const postponement = { attempt: 4, notBeforeMs, error: "not yet" };
  const postponing = first.subscription.postpone(first.find("p1-1"), postponement);
  expect(await bench.within(postponing)).toBe("settled");
  await bench.within(first.subscription.close(false));
  return notBeforeMs;
}

async function postponementSurvives(bench: Bench): Promise<void> {
  await bench.start();
  const notBeforeMs = await postponeOne(bench, 1_500);
  await bench.restart("kill");
  const handledAtMs: number[] = [];
  const { consumer, calls } = await bench.consume({
    policy: { retry: { ...TEST_POLICY.retry, delayMaxMs: 10_000 } },
    handle: () => {
      handledAtMs.push(bench.environment.nowMs());
      return Promise.resolve(ACK);
    },
  });
  await bench.publish(idsOf(2, 10));
  await bench.eventually("all are settled", () => ackedBy(consumer) === 11);
  const call = calls.findIndex(({ id }) => id === "p1-1");
  expect(calls[call]?.attempt).toBeGreaterThanOrEqual(4);
  expect(handledAtMs[call]).toBeGreaterThanOrEqual(notBeforeMs);
  expect(sorted(calls.map(({ id }) => id))).toEqual(sorted(["p1-1", ...idsOf(2, 10)]));
}

function ackedBy(consumer: { stats(): { partitions: readonly { acked: number }[] } }): number {
  return consumer.stats().partitions.reduce((sum, { acked }) => sum + acked, 0);
}
