/**
 * The consumer under random schedules: outcomes, slow handlers, members that come, go and die.
 *
 * Whatever the schedule, once the faults end every frame is acknowledged or buried, frames of one
 * key never overlap within a member, first attempts follow the order of publication, and at every
 * step each partition's counters add up.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import type { Consumer } from "./consumer.ts";
import type { Rig } from "./consumer-bench.suite.ts";
import type { HandleOne } from "./outcome.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createRig } from "./consumer-bench.suite.ts";
import { ACK, SETTLED } from "./outcome.ts";

const KEYS = ["a", "b", "c", "d", "e"];
const MEMBERS_MAX = 3;

const fates = fc.constantFrom("ack", "settled", "fail", "full", "never", "slow", "hang");
const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ publish: fc.constantFrom(...KEYS) }) },
    { weight: 3, arbitrary: fc.record({ passMs: fc.integer({ min: 0, max: 3_000 }) }) },
    { weight: 1, arbitrary: fc.record({ member: fc.constantFrom("join", "close", "drain") }) },
  ),
  { minLength: 5, maxLength: 40 },
);

interface World {
  readonly rig: Rig;
  readonly members: Consumer[];
  readonly gone: Consumer[];
  readonly published: Map<string, string[]>;
  readonly firstCalls: Map<string, string[]>;
  readonly acked: Set<string>;
  readonly wrongs: string[];
  fates: readonly string[];
  handled: number;
}

/** One handler per member: within a member, keys must not overlap. */
function handlerOf(world: World): HandleOne<string> {
  const running = new Set<string>();
  return async ({ frame, body, attempt, delivery }) => {
    const { key } = frame;
    if (running.has(key)) world.wrongs.push(`${key} overlaps at ${body}`);
    running.add(key);
    try {
      const calls = world.firstCalls.get(key) ?? [];
      if (!calls.includes(body)) world.firstCalls.set(key, [...calls, body]);
      const fate = world.fates[world.handled++ % Math.max(1, world.fates.length)] ?? "ack";
      if (fate === "slow") await sleep(world.rig, 700);
      if (fate === "hang") {
        // It will be given up, and its message handled again beside it.
        running.delete(key);
        await sleep(world.rig, 9_000);
      }
      if (fate === "fail") throw new Error(`attempt ${attempt}`);
      if (fate === "full") throw new ShopError("STORAGE_FULL", "no room", "later");
      if (fate === "never") throw new ShopError("BAD_MESSAGE", "cannot be", "never");
      if (fate !== "settled") return ACK;
      world.rig.broker.acknowledge([delivery]);
      return SETTLED;
    } finally {
      running.delete(key);
    }
  };
}

function sleep(rig: Rig, durationMs: number): Promise<void> {
  return new Promise((resolve) => void rig.environment.startTimer(durationMs, resolve));
}

function checkCounters(world: World): void {
  for (const consumer of [...world.members, ...world.gone]) {
    for (const each of consumer.stats().partitions) {
      const { received, acked, buried, returned, inFlight, parked } = each;
      expect(received).toBe(acked + buried + returned + inFlight + parked);
    }
  }
}

async function act(world: World, step: object): Promise<void> {
  const { rig, members, gone } = world;
  if ("publish" in step && typeof step.publish === "string") {
    const key = step.publish;
    const bodies = world.published.get(key) ?? [];
    const body = `${key}-${bodies.length + 1}`;
    world.published.set(key, [...bodies, body]);
    await rig.publish([body], { key });
  } else if ("passMs" in step && typeof step.passMs === "number") {
    await rig.environment.advance(step.passMs);
  } else if ("member" in step && step.member === "join") {
    if (members.length < MEMBERS_MAX) members.push(await rig.start(handlerOf(world)));
  } else {
    const leaving = members.shift();
    if (leaving === undefined) return;
    gone.push(leaving);
    const drains = "member" in step && step.member === "drain";
    const left = drains ? leaving.drain(500) : leaving.close();
    await rig.environment.advance(500);
    await left;
  }
}

test("nothing is lost, nothing overlaps, and the counters add up under any schedule", async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.array(fates, { maxLength: 12 }), async (script, unlucky) => {
      const rig = createRig();
      const world: World = {
        rig,
        members: [],
        gone: [],
        published: new Map(),
        firstCalls: new Map(),
        acked: new Set(),
        wrongs: [],
        fates: unlucky,
        handled: 0,
      };
      for (const step of script) {
        await act(world, step);
        checkCounters(world);
      }
      world.fates = [];
      world.members.push(await rig.start(handlerOf(world)));
      await rig.environment.advance(60_000);
      checkCounters(world);
      await expectAllSettled(world);
      await rig.broker.close();
    }),
    { numRuns: 80 },
  );
});

async function expectAllSettled(world: World): Promise<void> {
  expect(world.wrongs).toEqual([]);
  for (const consumer of world.members) {
    for (const { inFlight, parked } of consumer.stats().partitions)
      expect(inFlight + parked).toBe(0);
  }
  for (const [key, bodies] of world.published) {
    expect(world.firstCalls.get(key) ?? []).toEqual(bodies);
  }
  // What the broker still had for the group would come to a member that joins now.
  for (const consumer of world.members) await consumer.close();
  const before = world.handled;
  const last = await world.rig.start(handlerOf(world));
  await world.rig.environment.advance(1_000);
  expect(world.handled).toBe(before);
  await last.close();
}
