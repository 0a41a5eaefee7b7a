/**
 * Conformance: kills at every step, full and failing storage, backlog, clock jumps (B38 to B40).
 *
 * What was acknowledged is stored, what is stored was attempted, and what a consumer acknowledged
 * stays settled, whatever the moment of the fault.
 */

import { expect } from "bun:test";

import type { Bench, BrokerCase, Probe } from "./broker-bench.suite.ts";

import { ACK } from "../delivery/outcome.ts";
import { idsOf, sorted } from "./broker-bench.suite.ts";

const SCRIPT_STEPS = 30;
const HOUR_MS = 3_600_000;

export const STORAGE_CASES: readonly BrokerCase[] = [
  {
    name: "B38: killed at any step, acked is within stored is within attempted",
    needs: ["persistent", "restart"],
    run: async (bench) => {
      for (let step = 1; step <= SCRIPT_STEPS; step += 3) {
        await killAtStep(bench, step);
        await bench.hooks.stop();
      }
    },
  },
  {
    name: "B39: a full disk refuses, consumers go on, and it heals",
    needs: ["diskFull"],
    run: diskFull,
  },
  {
    name: "B39: after a storage fault nothing acknowledged is lost",
    needs: ["ioFault"],
    run: ioFault,
  },
  {
    name: "B40: a slow member never holds more than its credit, and the lag is exact",
    run: backlog,
  },
  {
    name: "B40: a jump of the wall clock expires no lease and no deadline early",
    needs: ["jumpWallClock"],
    run: clockJump,
  },
];

/** 20 publishes and 10 acknowledgements; the broker dies after `step` of them were started. */
async function killAtStep(bench: Bench, step: number): Promise<void> {
  bench.attempted.length = 0;
  bench.acked.length = 0;
  bench.delivered.length = 0;
  await bench.start();
  const member = await bench.probe();
  const consumed: string[] = [];
  const pending: Promise<unknown>[] = [];
  for (let done = 1; done <= step; done++) {
    const last = done === step;
    const act = done % 3 === 0 ? () => ackOldest(bench, member, consumed) : publishNext(bench);
    const acting = act().catch(() => undefined); // refused by the kill, which is the point
    if (last) pending.push(acting);
    else await bench.within(acting);
  }
  await bench.restart("kill");
  await bench.within(Promise.all(pending));
  const heir = await bench.probe({ acks: true });
  const settledBefore = new Set(consumed);
  const expected = bench.acked.filter((id) => !settledBefore.has(id));
  await bench.send("marker", bench.frame("marker"));
  await bench.eventually("the rest came back", () => {
    const seen = new Set(heir.ids());
    return expected.every((id) => seen.has(id)) && seen.has("marker");
  });
  expect(heir.ids().filter((id) => settledBefore.has(id))).toEqual([]);
  bench.expectValid();
}

function publishNext(bench: Bench): () => Promise<void> {
  const id = `p1-${bench.attempted.length + 1}`;
  return () => bench.send(id, bench.frame(id));
}

async function ackOldest(bench: Bench, member: Probe, consumed: string[]): Promise<void> {
  await bench.eventually("one is here", () => member.deliveries.length > consumed.length);
  const delivery = member.deliveries[consumed.length];
  if (delivery === undefined) return;
  const [result] = await member.subscription.ack([delivery]);
  if (result === "settled") consumed.push(member.ids()[consumed.length] ?? "");
}

async function diskFull(bench: Bench): Promise<void> {
  await bench.start();
  await bench.publish(idsOf(1, 50));
  await bench.hooks.diskFull?.(true);
  const refusal = await bench.refusal(() => bench.send("p2-1", bench.frame("p2-1")));
  expect(refusal).toBe("STORAGE_FULL");
  const { consumer, calls } = await bench.consume();
  await bench.eventually("what is stored is handled", () => calls.length >= 50);
  expect(await bench.refusal(() => bench.send("p2-2", bench.frame("p2-2")))).toBe("STORAGE_FULL");
  await bench.hooks.diskFull?.(false);
  await bench.publish(idsOf(3, 50));
  await bench.eventually("all are settled", () => {
    return consumer.stats().partitions.reduce((sum, { acked }) => sum + acked, 0) >= 100;
  });
  expect(calls.some(({ id }) => id.startsWith("p2-"))).toBe(false);
  await bench.drained();
  bench.expectValid();
}

async function ioFault(bench: Bench): Promise<void> {
  await bench.start();
  await bench.publish(idsOf(1, 20));
  const { consumer, calls } = await bench.consume({
    handle: async ({ body }) => {
      if (body === "p1-20") await bench.hooks.ioFault?.(true);
      return ACK;
    },
    concurrencyMax: 1,
  });
  await bench.eventually("settling fails", () => consumer.stats().settleFailures > 0);
  const refusal = await bench.refusal(() => bench.send("p2-1", bench.frame("p2-1")));
  expect(refusal).toBe("STORAGE_FAULT");
  await bench.hooks.ioFault?.(false);
  await bench.publish(idsOf(3, 20));
  await bench.eventually("all are settled", () => {
    return consumer.stats().partitions.reduce((sum, { acked }) => sum + acked, 0) >= 40;
  });
  expect(sorted(new Set(calls.map(({ id }) => id)))).toEqual(
    sorted([...idsOf(1, 20), ...idsOf(3, 20)]),
  );
  await bench.drained();
  bench.expectValid();
}

async function backlog(bench: Bench): Promise<void> {
  await bench.start();
  const creditFrames = 32;
  let held = 0;
  let heldMax = 0;
  const member = await bench.probe({ creditFrames, group: "slow" });
  const count = (): void => {
    held = member.deliveries.length - settled;
    heldMax = Math.max(heldMax, held);
  };
  let settled = 0;
  const { consumer } = await bench.consume({ policy: { creditFrames } });
  await bench.publish(idsOf(1, 2_000));
  while (settled < 2_000) {
    await bench.eventually("more came", () => member.deliveries.length > settled);
    count();
    const oldest = member.deliveries.slice(settled, settled + 20);
    await bench.within(member.subscription.ack(oldest));
    settled += oldest.length;
    for (const { received, acked, buried, returned, inFlight, parked } of consumer.stats()
      .partitions) {
      expect(received).toBe(acked + buried + returned + inFlight + parked);
    }
  }
  expect(heldMax).toBeLessThanOrEqual(creditFrames);
  expect(heldMax).toBeGreaterThan(1);
  expect(member.deliveries).toHaveLength(2_000);
  await bench.eventually("the consumer is done", () => {
    return consumer.stats().partitions.reduce((sum, { acked }) => sum + acked, 0) === 2_000;
  });
}

async function clockJump(bench: Bench): Promise<void> {
  await bench.start();
  const inTime = { deadlineMs: bench.environment.nowMs() + 600_000 };
  const held = await bench.probe({ group: "held" });
  const finish: (() => void)[] = [];
  const { consumer, calls } = await bench.consume({
    concurrencyMax: 10,
    handle: () => new Promise((resolve) => void finish.push(() => resolve(ACK))),
  });
  const settled = (count: number) => (): boolean => {
    for (const resolve of finish.splice(0)) resolve();
    return consumer.stats().partitions.reduce((sum, { acked }) => sum + acked, 0) === count;
  };
  await bench.publish(idsOf(1, 20), inTime);
  await bench.eventually("ten are with handlers", () => finish.length === 10);
  bench.hooks.jumpWallClock?.(HOUR_MS);
  await bench.publish(["ahead"]);
  // The other ten start now, under a wall clock that is past their deadline.
  await bench.eventually("all are settled after the jump ahead", settled(21));
  bench.hooks.jumpWallClock?.(-2 * HOUR_MS);
  await bench.publish(["behind"], { deadlineMs: bench.environment.nowMs() + 600_000 });
  await bench.eventually("all are settled after the jump back", settled(22));
  await bench.eventually("the other group has all", () => held.deliveries.length >= 22);
  expect(calls).toHaveLength(22);
  expect(consumer.stats().expired).toBe(0);
  expect(held.deliveries).toHaveLength(22);
  expect(held.revoked).toEqual([]);
  expect(await bench.within(bench.broker.deadLetters(bench.topic, 0, 10))).toEqual([]);
}
