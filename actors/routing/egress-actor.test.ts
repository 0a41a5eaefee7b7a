/**
 * The actor of an egress: who leaves first, what a batch holds, and what it gives back at its end.
 *
 * The publication is held open by hand, so that frames arrive while one is under way.
 */

import { expect, test } from "bun:test";

import type { Outcome } from "../delivery/outcome.ts";
import type { EgressMessage } from "./egress-actor.ts";
import type { Passage } from "./passage.ts";
import type { Priority } from "./route-row.ts";

import { createActorSystem } from "../../runtime/actors/actor-system.ts";
import { decodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { ACK } from "../delivery/outcome.ts";
import { egressActor } from "./egress-actor.ts";
import { makeFrame } from "./routing-world.suite.ts";

function setUp() {
  const environment = createVirtualEnvironment();
  const system = createActorSystem(environment, {
    name: "test",
    onFailure: (failure) => {
      throw failure;
    },
  });
  const batches: string[] = [];
  const open: (() => void)[] = [];
  const outcomes: Outcome[] = [];
  let hasEnded = false;
  const actor = system.spawn(egressActor, {
    batchMax: 4,
    ended: () => void (hasEnded = true),
    async handle(passages) {
      batches.push(passages.map(({ message }) => message.frame.key).join(" "));
      await new Promise<void>((resolve) => open.push(resolve));
      return passages.map(() => ACK);
    },
  });
  const jobOf = (key: string, lane: Priority): EgressMessage => {
    const bytes = makeFrame(environment, { key });
    const place = { group: "g", topic: "t", partition: 0, sequence: 1, epoch: 1 };
    const delivery = { ...place, bytes, attempt: 1, notBeforeMs: 0 };
    const message = { delivery, frame: decodeFrame(bytes), attempt: 1, body: undefined };
    const passage: Passage = { message, rows: [], copies: [] };
    return { passage, lane, answer: (outcome) => void outcomes.push(outcome) };
  };
  return {
    environment,
    system,
    actor,
    batches,
    outcomes,
    hasEnded: () => hasEnded,
    async tell(lane: Priority, ...keys: readonly string[]) {
      for (const key of keys) actor.tell(jobOf(key, lane));
      await environment.settle();
    },
    async confirm() {
      open.shift()?.();
      await environment.settle();
    },
  };
}

test("one publication is under way at a time, what came meanwhile leaves together", async () => {
  const { tell, confirm, batches, outcomes } = setUp();
  await tell("normal", "a");
  await tell("normal", "b", "c");
  expect(batches).toEqual(["a"]);
  await confirm();
  expect(batches).toEqual(["a", "b c"]);
  expect(outcomes).toEqual([ACK]);
});

test("the high lane leaves first however late, the normal one keeps its share", async () => {
  const { tell, confirm, batches } = setUp();
  await tell("normal", "a");
  await tell("normal", "b", "c", "d");
  await tell("high", "v", "w", "x", "y", "z");
  await confirm();
  await confirm();
  await confirm();
  expect(batches).toEqual(["a", "v w x b", "y z c d"]);
});

test("what it holds when it ends is given back, without blame", async () => {
  const { tell, batches, outcomes, environment, system, actor, hasEnded } = setUp();
  await tell("normal", "a");
  await tell("normal", "b");
  const stopping = system.stopActor(actor);
  await environment.settle();
  await stopping;
  expect(batches).toEqual(["a"]);
  expect(outcomes).toMatchObject([
    { kind: "retry", blameless: true, error: { code: "SATURATED" } },
  ]);
  expect(hasEnded()).toBe(true);
});
