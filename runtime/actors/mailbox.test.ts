/**
 * What a full mailbox does under each policy, and which lane comes first.
 *
 * Survivors are exact, and every message that does not survive is one counted dead letter.
 */

import { describe, expect, test } from "bun:test";

import { defineActor } from "./actor.ts";
import type { OverflowPolicy, TellResult } from "./actor.ts";
import { createGate, createProbedSystem } from "./actor-probe.suite.ts";
import { Mailbox } from "./mailbox.ts";

interface Overflowed {
  readonly handled: readonly number[];
  readonly results: readonly TellResult[];
  readonly lost: readonly unknown[];
  readonly reasons: ReadonlySet<string>;
}

/** Sends 0..24 to an actor with room for 10 before it has a turn. */
async function overflow(policy: OverflowPolicy): Promise<Overflowed> {
  const { system, undelivered, settle } = createProbedSystem();
  const handled: number[] = [];
  const collector = defineActor<number>({
    type: "collector",
    mailbox: { capacity: 10, overflow: policy },
    setup: () => ({ receive: (message) => void handled.push(message) }),
  });
  const ref = system.spawn(collector, undefined);
  const results = Array.from({ length: 25 }, (_, index) => ref.tell(index));
  await settle();
  const counted = Object.values(system.stats().deadLetters).reduce((sum, count) => sum + count);
  expect(counted).toBe(undelivered.length);
  return {
    handled,
    results,
    lost: undelivered.map((letter) => letter.message),
    reasons: new Set(undelivered.map((letter) => letter.reason)),
  };
}

const range = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => from + index);

describe("A23: a mailbox of capacity 10 that gets 25 messages", () => {
  test("A23: with reject keeps the first 10 and hands back the rest", async () => {
    const { handled, results, lost, reasons } = await overflow("reject");
    expect(handled).toEqual(range(0, 10));
    expect(results).toEqual([...Array(10).fill("accepted"), ...Array(15).fill("full")]);
    expect(lost).toEqual(range(10, 25));
    expect(reasons).toEqual(new Set(["mailbox_full"]));
  });

  test("A23: with dropNewest keeps the first 10 and drops the rest", async () => {
    const { handled, results, lost, reasons } = await overflow("dropNewest");
    expect(handled).toEqual(range(0, 10));
    expect(results).toEqual([...Array(10).fill("accepted"), ...Array(15).fill("dropped")]);
    expect(lost).toEqual(range(10, 25));
    expect(reasons).toEqual(new Set(["dropped_newest"]));
  });

  test("A23: with dropOldest keeps the last 10 and accepts every one", async () => {
    const { handled, results, lost, reasons } = await overflow("dropOldest");
    expect(handled).toEqual(range(15, 25));
    expect(new Set(results)).toEqual(new Set(["accepted"]));
    expect(lost).toEqual(range(0, 15));
    expect(reasons).toEqual(new Set(["dropped_oldest"]));
  });
});

describe("the system lane", () => {
  test("A24: a stop comes before a full user lane; its messages are dead letters", async () => {
    const { system, undelivered, settle } = createProbedSystem();
    const gate = createGate();
    const handled: number[] = [];
    const actor = defineActor<number>({
      type: "busy",
      mailbox: { capacity: 10 },
      setup: () => ({
        async receive(message) {
          handled.push(message);
          await gate.opened;
        },
      }),
    });
    const ref = system.spawn(actor, undefined);
    ref.tell(0);
    await settle();
    for (let index = 1; index <= 10; index++) expect(ref.tell(index)).toBe("accepted");
    expect(ref.tell(11)).toBe("full");
    const stopped = system.stopActor(ref);
    gate.open();
    await settle();
    await stopped;
    expect(handled).toEqual([0]);
    expect(undelivered.filter((letter) => letter.reason === "stopped")).toHaveLength(10);
    expect(ref.tell(12)).toBe("stopped");
  });

  test("A24: a timer's tick comes before user messages that were sent earlier", async () => {
    const { system, environment, settle } = createProbedSystem();
    const gate = createGate();
    const handled: string[] = [];
    const actor = defineActor<string>({
      type: "ticking",
      setup: (_init, context) => {
        context.startTimer("t", 10, "tick");
        return {
          receive: (message) => {
            handled.push(message);
            return message === "first" ? gate.opened : undefined;
          },
        };
      },
    });
    const ref = system.spawn(actor, undefined);
    ref.tell("first");
    await settle();
    ref.tell("second");
    await environment.advance(10);
    gate.open();
    await settle();
    expect(handled).toEqual(["first", "tick", "second"]);
  });

  test("is bounded: more signals than timers, watches and one stop are a bug", () => {
    const mailbox = new Mailbox<string>({});
    const fill = () => mailbox.signal({ kind: "stop", exit: { kind: "normal" } });
    for (let index = 0; index < 2_049; index++) fill();
    expect(fill).toThrow("system lane is over its bound");
  });
});
