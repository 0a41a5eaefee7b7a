/**
 * How fast questions are answered: many at a time, and one after the other.
 *
 * Each ask has its deadline, as every ask must. The floor is what a promise and a macrotask cost
 * without any actor; peers that are not installed are named.
 */

import { defineActor } from "../runtime/actors/actor.ts";
import type { Recipient } from "../runtime/actors/actor.ts";
import { createActorSystem } from "../runtime/actors/actor-system.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";

import { describePeers, runBench } from "./harness.ts";
import type { BenchCase, Evidence } from "./harness.ts";

const ASKS = 200_000;
const ASKS_SEQUENTIAL = 50_000;
const WINDOW = 1_000;

interface Double {
  readonly value: number;
  readonly replyTo: Recipient<number>;
}

const system = createActorSystem(systemEnvironment, {
  name: "bench",
  onFailure: (failure) => {
    throw failure;
  },
});
const doubler = system.spawn(
  defineActor<Double>({
    type: "doubler",
    setup: () => ({ receive: ({ value, replyTo }) => void replyTo.tell(value * 2) }),
  }),
  undefined,
);

type Ask = (value: number) => Promise<number>;

const askActor: Ask = (value) =>
  doubler.ask<number>((replyTo) => ({ value, replyTo }), { deadlineMs: 10_000 });

/** A promise that a later turn of the event loop resolves: the least an answer can cost. */
const askNobody: Ask = (value) =>
  new Promise((resolve) => {
    setImmediate(resolve, value * 2);
  });

async function askInWindows(ask: Ask, asks: number, windowAsks: number): Promise<Evidence> {
  let count = 0;
  let checksum = 0;
  for (let first = 0; first < asks; first += windowAsks) {
    const pending: Promise<number>[] = [];
    for (let value = first; value < first + windowAsks; value++) pending.push(ask(value));
    for (const reply of await Promise.all(pending)) {
      count++;
      checksum += reply;
    }
  }
  return { count, checksum };
}

function askCase(name: string, ask: Ask, asks: number, windowAsks: number): BenchCase {
  return {
    name,
    operations: asks,
    expected: { count: asks, checksum: asks * (asks - 1) },
    run: () => askInWindows(ask, asks, windowAsks),
  };
}

await runBench(
  [
    askCase("ask, 1,000 at a time", askActor, ASKS, WINDOW),
    askCase("ask, one after the other", askActor, ASKS_SEQUENTIAL, 1),
    askCase("promise and macrotask, 1,000 at a time", askNobody, ASKS, WINDOW),
    askCase("promise and macrotask, one after the other", askNobody, ASKS_SEQUENTIAL, 1),
  ],
  { title: "ask", unit: "ask", notes: describePeers(["nact", "xstate", "comedy"]) },
);
await system.stop();
