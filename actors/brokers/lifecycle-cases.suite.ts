/**
 * Conformance: closing, draining, restarting (B29 to B32).
 *
 * Members and brokers come and go while frames flow; the union of what they saw must be whole,
 * and what a close or a drain gives back must be exactly what was not settled.
 */

import { expect } from "bun:test";

import type { Outcome } from "../delivery/outcome.ts";
import type { Bench, BrokerCase } from "./broker-bench.suite.ts";

import { ACK } from "../delivery/outcome.ts";
import { idsOf, sorted } from "./broker-bench.suite.ts";

const DRAIN_MS = 500;
const REMOTE_DRAIN_MS = 3_000;

export const LIFECYCLE_CASES: readonly BrokerCase[] = [
  { name: "B29: members that come and go one after the other see everything", run: closeAndResume },
  { name: "B29: ten closers of one member and ten of the broker all return", run: concurrentClose },
  { name: "B30: a close aborts the handlers and gives back all they had", run: cancel },
  { name: "B31: a drain settles what is finished in time and gives back the rest", run: drain },
  { name: "B31: a drain with nothing under way ends at once", run: idleDrain },
  {
    name: "B32: two clean restarts under load lose nothing",
    needs: ["persistent", "restart"],
    run: cleanRestarts,
  },
];

async function closeAndResume(bench: Bench): Promise<void> {
  await bench.start({ partitions: 64 });
  for (let round = 1; round <= 5; round++) {
    const publishing = bench.publish(idsOf(round, 1_000));
    const before = bench.delivered.length;
    const member = await bench.probe({ acks: true, creditFrames: 200 });
    await bench.eventually("a batch came", () => bench.delivered.length >= before + 200);
    await bench.within(member.subscription.close(false));
    await bench.within(publishing);
  }
  await bench.probe({ acks: true });
  await bench.drained();
  bench.expectValid();
}

async function concurrentClose(bench: Bench): Promise<void> {
  await bench.start();
  const member = await bench.probe();
  const { consumer } = await bench.consume({ group: "other" });
  await bench.publish(idsOf(1, 100));
  await bench.eventually("they are here", () => member.deliveries.length === 100);
  const ten = Array.from({ length: 10 });
  await bench.within(Promise.all(ten.map(() => member.subscription.close(false))), 10_000);
  await bench.within(Promise.all(ten.map(() => consumer.close())), 10_000);
  await bench.within(Promise.all(ten.map(() => bench.broker.close())), 10_000);
}

async function cancel(bench: Bench): Promise<void> {
  await bench.start();
  const signals: AbortSignal[] = [];
  const { consumer, calls } = await bench.consume({
    concurrencyMax: 5,
    handle: (_message, signal) => {
      signals.push(signal);
      return new Promise<Outcome>((resolve) => {
        signal.addEventListener("abort", () => resolve(ACK));
      });
    },
  });
  await bench.publish(idsOf(1, 20));
  await bench.eventually("all are in hand, five with handlers", () => {
    const { partitions } = consumer.stats();
    return calls.length === 5 && partitions.reduce((sum, { received }) => sum + received, 0) === 20;
  });
  await bench.within(consumer.close(), bench.promptMs);
  expect(signals.map(({ aborted }) => aborted)).toEqual(signals.map(() => true));
  const { partitions } = consumer.stats();
  expect(partitions.reduce((sum, { returned }) => sum + returned, 0)).toBe(20);
  expect(partitions.reduce((sum, { acked, inFlight }) => sum + acked + inFlight, 0)).toBe(0);
  const heir = await bench.probe({ acks: true });
  await bench.eventually("the next has all", () => heir.deliveries.length >= 20);
  expect(sorted(heir.ids())).toEqual(sorted(idsOf(1, 20)));
}

async function drain(bench: Bench): Promise<void> {
  await bench.start();
  const finish: ((outcome: Outcome) => void)[] = [];
  const { consumer, calls } = await bench.consume({
    concurrencyMax: 100,
    handle: () => new Promise<Outcome>((resolve) => void finish.push(resolve)),
  });
  await bench.publish(idsOf(1, 100));
  await bench.eventually("all are with handlers", () => finish.length === 100);
  // Long enough for the acknowledgements of what is finished, on a busy machine too.
  const draining = consumer.drain(bench.isRemote ? REMOTE_DRAIN_MS : DRAIN_MS);
  for (const resolve of finish.slice(0, 60)) resolve(ACK);
  await bench.publish(["late"]);
  await bench.within(draining, 10_000);
  // Too late: what the handlers answer after the drain must settle nothing.
  for (const resolve of finish.slice(60)) resolve(ACK);
  expect(calls).toHaveLength(100);
  const { partitions } = consumer.stats();
  expect(partitions.reduce((sum, { acked }) => sum + acked, 0)).toBe(60);
  expect(partitions.reduce((sum, { returned }) => sum + returned, 0)).toBe(40);
  const heir = await bench.probe({ acks: true });
  await bench.eventually("the rest came back", () => heir.deliveries.length >= 41);
  const rest = calls.slice(60).map(({ id }) => id);
  expect(sorted(heir.ids())).toEqual(sorted([...rest, "late"]));
}

async function idleDrain(bench: Bench): Promise<void> {
  await bench.start();
  const { consumer } = await bench.consume();
  await bench.publish(idsOf(1, 10));
  await bench.eventually("all are settled", () => {
    return consumer.stats().partitions.reduce((sum, { acked }) => sum + acked, 0) === 10;
  });
  const startMs = bench.environment.monotonicMs();
  await bench.within(consumer.drain(60_000), 10_000);
  expect(bench.environment.monotonicMs() - startMs).toBeLessThan(10_000);
}

async function cleanRestarts(bench: Bench): Promise<void> {
  await bench.start({ partitions: 64 });
  const producers = Array.from({ length: 100 }, (_, producer) => idsOf(producer, 100));
  const total = producers.length * 100;
  const publish = async (ids: readonly string[]): Promise<void> => {
    for (const id of ids) {
      await bench.sendUntilConfirmed(id);
      if (bench.environment.random() < 0.1) await bench.pause(50);
    }
  };
  const publishing = Promise.all(producers.map(publish));
  publishing.catch(() => undefined); // when the case fails before it waits for them
  await bench.probe({ acks: true });
  for (const part of [1 / 3, 1 / 2]) {
    await bench.eventually("enough is confirmed", () => bench.acked.length >= total * part);
    await bench.restart("clean");
    await bench.probe({ acks: true });
  }
  await bench.within(publishing, bench.isRemote ? 120_000 : 40_000);
  await bench.drained();
  bench.expectValid();
}
