/**
 * How fast one actor takes messages from outside, and how fast actors pass them on.
 *
 * Every message is a fresh object, as in an application. The ceiling is an array with a loop; two
 * ways that other libraries dispatch are measured beside it. Mailboxes are emptied before they are
 * full: a refused message would be a failure of the bench.
 */

import { EventEmitter } from "node:events";

import { defineActor } from "../runtime/actors/actor.ts";
import type { ActorRef } from "../runtime/actors/actor.ts";
import { createActorSystem } from "../runtime/actors/actor-system.ts";
import { createEntityRegion } from "../runtime/actors/entity-region.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";

import { describePeers, runBench } from "./harness.ts";
import type { BenchCase, Evidence } from "./harness.ts";

const MESSAGES = 2_000_000;
const BURST = 32_768;
const RING_ACTORS = 100;
const ENTITY_KEYS = 1_000;
const MACROTASK_MESSAGES = 200_000;

interface Add {
  readonly type: "add";
  readonly addend: number;
}

const system = createActorSystem(systemEnvironment, {
  name: "bench",
  onFailure: (failure) => {
    throw failure;
  },
});
const tally = { count: 0, checksum: 0 };

function add(message: Add): void {
  tally.count++;
  tally.checksum += message.addend;
}

function evidence(): Evidence {
  const seen = { ...tally };
  tally.count = tally.checksum = 0;
  return seen;
}

function expected(messages: number): Evidence {
  return { count: messages, checksum: (messages * (messages - 1)) / 2 };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Sends `messages` in bursts that fit the mailbox, and waits for the last. */
async function flood(messages: number, send: (message: Add) => unknown): Promise<Evidence> {
  for (let sent = 0; sent < messages;) {
    const until = Math.min(messages, sent + BURST);
    for (; sent < until; sent++) send({ type: "add", addend: sent });
    while (tally.count < sent) await turn();
  }
  return evidence();
}

function floodCase(name: string, messages: number, send: (message: Add) => unknown): BenchCase {
  const run = () => flood(messages, send);
  return { name, operations: messages, expected: expected(messages), run };
}

const mailbox = { capacity: BURST };
const adder = system.spawn(
  defineActor<Add>({ type: "adder", mailbox, setup: () => ({ receive: add }) }),
  undefined,
);
const batchAdder = system.spawn(
  defineActor<Add>({
    type: "batch-adder",
    mailbox,
    setup: () => ({
      batchMax: 256,
      receiveBatch: (messages) => {
        for (const message of messages) add(message);
      },
    }),
  }),
  undefined,
);
const asyncAdder = system.spawn(
  defineActor<Add>({
    type: "async-adder",
    mailbox,
    setup: () => ({
      async receive(message) {
        await Promise.resolve();
        add(message);
      },
    }),
  }),
  undefined,
);

/** Actors in a circle: each message is told on until its hops are used up. */
function createCircle(): ActorRef<Add>[] {
  const circle: ActorRef<Add>[] = [];
  const hop = defineActor<Add, number>({
    type: "hop",
    setup: (index) => ({
      receive(message) {
        add(message);
        const next = circle[(index + 1) % RING_ACTORS];
        const addend = message.addend + RING_ACTORS;
        if (addend < MESSAGES) next?.tell({ type: "add", addend });
      },
    }),
  });
  for (let index = 0; index < RING_ACTORS; index++) circle.push(system.spawn(hop, index));
  return circle;
}

const circle = createCircle();
async function circleRun(): Promise<Evidence> {
  for (const [addend, ref] of circle.entries()) ref.tell({ type: "add", addend });
  while (tally.count < MESSAGES) await turn();
  return evidence();
}

const region = createEntityRegion<Add>(system, {
  type: "entity",
  create: () => ({ receive: add }),
  failed: (_message, error) => {
    throw error;
  },
  idleMs: 60_000,
  residentMax: ENTITY_KEYS,
});
const keys = Array.from({ length: ENTITY_KEYS }, (_, index) => `key-${index}`);

function arrayRun(): Evidence {
  let waiting: Add[] = [];
  for (let sent = 0; sent < MESSAGES;) {
    const until = Math.min(MESSAGES, sent + BURST);
    for (; sent < until; sent++) waiting.push({ type: "add", addend: sent });
    const batch = waiting;
    waiting = [];
    for (const message of batch) add(message);
  }
  return evidence();
}

const emitter = new EventEmitter();
emitter.on("add", add);

const whole = expected(MESSAGES);
await runBench(
  [
    { name: "array and loop (ceiling)", operations: MESSAGES, expected: whole, run: arrayRun },
    floodCase("tell, one actor", MESSAGES, (message) => adder.tell(message)),
    floodCase("tell, batch handler", MESSAGES, (message) => batchAdder.tell(message)),
    { name: "tell, 100 actors in a circle", operations: MESSAGES, expected: whole, run: circleRun },
    floodCase("tell, 1,000 entities by key", MESSAGES, (message) =>
      region.tell(keys[message.addend % ENTITY_KEYS] ?? "", message),
    ),
    floodCase("tell, handler that awaits", MACROTASK_MESSAGES, (message) =>
      asyncAdder.tell(message),
    ),
    floodCase("EventEmitter (no mailbox)", MESSAGES, (message) => emitter.emit("add", message)),
    floodCase("one macrotask a message (nact's way)", MACROTASK_MESSAGES, (message) =>
      setImmediate(add, message),
    ),
  ],
  { title: "tell", unit: "tell", notes: describePeers(["nact", "xstate", "comedy"]) },
);
await region.stop();
await system.stop();
