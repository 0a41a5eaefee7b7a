/**
 * The examples of the library's guide, run as they stand there.
 *
 * On a virtual clock, so an example that waits half an hour takes no time. Whatever `README.md`
 * shows must be here, line by line: `examples.int.test.ts` refuses anything else.
 */

import { expect, test } from "bun:test";

import type { ActorRef, Recipient } from "./index.ts";

import {
  actorChild,
  createActorSystem,
  createEntityRegion,
  createRing,
  createVirtualEnvironment,
  decodeFrame,
  defineActor,
  encodeFrame,
  frameSlot,
  RingReader,
  RingWriter,
  slotOf,
  startSupervisor,
} from "./index.ts";

type CounterMessage =
  | { readonly kind: "add"; readonly count: number }
  | { readonly kind: "read"; readonly replyTo: Recipient<number> };

const counter = defineActor<CounterMessage>({
  type: "counter",
  setup: () => {
    let total = 0;
    return {
      receive(message) {
        if (message.kind === "add") total += message.count;
        else message.replyTo.tell(total);
      },
    };
  },
});

type LinkMessage =
  | { readonly kind: "opened" }
  | { readonly kind: "send"; readonly text: string }
  | { readonly kind: "close" };

const link = defineActor<LinkMessage, string[]>({
  type: "link",
  setup: (sent, context) => {
    let isOpen = false;
    context.startTimer("opening", 1_000, { kind: "opened" });
    return {
      receive(message) {
        if (message.kind === "opened") {
          isOpen = true;
          context.unstashAll();
        } else if (!isOpen) context.stash(message);
        else if (message.kind === "close") context.stop();
        else sent.push(message.text);
      },
    };
  },
});

const guard = defineActor<never, { target: ActorRef<never>; ended: string[] }>({
  type: "guard",
  setup: ({ target, ended }, context) => {
    context.watch(target);
    return {
      receive: () => {},
      onTerminated: (ref) => void ended.push(ref.path),
    };
  },
});

const writer = defineActor<string, string[][]>({
  type: "writer",
  setup: (written) => ({
    batchMax: 100,
    receiveBatch: (lines) => void written.push([...lines]),
  }),
});

const fragile = defineActor<string, string[]>({
  type: "fragile",
  mailbox: { capacity: 100, overflow: "reject" },
  setup: (done, context) => ({
    receive(message) {
      if (message === "bad") throw new TypeError("cannot take it");
      done.push(`${message} by incarnation ${context.incarnation}`);
    },
  }),
});

test("an actor adds up what it is told and answers what it is asked", async () => {
  const environment = createVirtualEnvironment();
  const system = createActorSystem(environment, {
    name: "main",
    onFailure: (failure) => console.error(failure.message),
  });
  const total = system.spawn(counter, undefined, { name: "total" });

  expect(total.tell({ kind: "add", count: 2 })).toBe("accepted");
  total.tell({ kind: "add", count: 3 });
  const answer = total.ask<number>((replyTo) => ({ kind: "read", replyTo }), { deadlineMs: 500 });

  await environment.settle(); // only on a virtual clock: let what is due happen
  expect(await answer).toBe(5);

  const stopped = system.stop();
  await environment.settle();
  await stopped;
});

test("an actor sets aside what it cannot handle yet", async () => {
  const environment = createVirtualEnvironment();
  const system = createActorSystem(environment, { name: "main", onFailure: () => {} });
  const sent: string[] = [];
  const ended: string[] = [];
  const connection = system.spawn(link, sent, { name: "link" });
  system.spawn(guard, { target: connection, ended });

  connection.tell({ kind: "send", text: "early" });
  await environment.advance(999);
  expect(sent).toEqual([]);
  await environment.advance(1);
  expect(sent).toEqual(["early"]);

  connection.tell({ kind: "close" });
  await environment.settle();
  expect(ended).toEqual(["main/link"]);
  expect(connection.tell({ kind: "send", text: "late" })).toBe("stopped");
  expect(system.stats().deadLetters.stopped).toBe(1);
});

test("an actor takes what waits in batches", async () => {
  const environment = createVirtualEnvironment();
  const system = createActorSystem(environment, { name: "main", onFailure: () => {} });
  const written: string[][] = [];
  const log = system.spawn(writer, written);
  for (const line of ["a", "b", "c"]) log.tell(line);
  await environment.settle();
  expect(written).toEqual([["a", "b", "c"]]);
});

test("a supervised actor goes on after a failure, with the messages that waited", async () => {
  const environment = createVirtualEnvironment();
  const failures: string[] = [];
  const system = createActorSystem(environment, {
    name: "main",
    onFailure: (failure) => void failures.push(failure.message),
  });
  const done: string[] = [];
  const { spec, ref } = actorChild(system, fragile, done, {
    id: "fragile",
    restart: "permanent",
    shutdown: 1_000,
  });
  const starting = startSupervisor(
    {
      id: "workers",
      strategy: "one_for_one",
      intensity: 5, // restarts within…
      periodMs: 10_000, // …this time; one more and the supervisor gives up
      backoff: { minMs: 100, maxMs: 2_000, jitter: 0.2, resetAfterMs: 30_000 },
      children: [spec],
    },
    environment,
    { onGiveUp: (error) => console.error(error.message) },
  );
  await environment.settle();
  const supervisor = await starting;

  for (const message of ["one", "bad", "two"]) ref.tell(message);
  await environment.advance(1_000);

  expect(done).toEqual(["one by incarnation 1", "two by incarnation 2"]);
  expect(failures).toEqual(["main/fragile#1 failed in receive: TypeError: cannot take it"]);
  expect(supervisor.which()).toEqual([{ id: "fragile", state: "running", restarts: 1 }]);

  const stopped = supervisor.stop();
  await environment.settle();
  await stopped;
});

test("an entity is loaded by its first message and leaves when it is idle", async () => {
  const environment = createVirtualEnvironment();
  const system = createActorSystem(environment, { name: "main", onFailure: () => {} });
  const rows = new Map<string, number>();
  const baskets = createEntityRegion<number>(system, {
    type: "basket",
    create: async (key) => {
      let total = rows.get(key) ?? 0; // messages wait while this loads
      return {
        receive(amountMinor) {
          total += amountMinor;
          rows.set(key, total);
        },
      };
    },
    failed: (amountMinor, error) => console.error(amountMinor, error),
    idleMs: 60_000,
    residentMax: 10_000,
  });

  expect(baskets.tell("ada", 250)).toBe("accepted");
  baskets.tell("ada", 100);
  await environment.settle();
  expect(baskets.stats().resident).toBe(1);

  await environment.advance(60_000);
  expect(baskets.stats().resident).toBe(0);
  baskets.tell("ada", 50);
  await environment.settle();
  expect(rows.get("ada")).toBe(400);
});

test("a ring gives the successor of a dead reader what that one had not released", () => {
  const memory = createRing(65_536);
  const sender = new RingWriter(memory);
  sender.tryWrite(1, new TextEncoder().encode("first"));
  sender.tryWrite(1, new TextEncoder().encode("second"));
  sender.flush(); // until now nobody sees them; true would mean: wake the reader

  const reader = new RingReader(memory);
  reader.next();
  reader.release(reader.end); // "first" is somebody's responsibility now
  reader.next(); // "second" was read, and its reader dies

  const successor = new RingReader(memory);
  expect(successor.next()).toBe(true);
  expect(new TextDecoder().decode(successor.bytes)).toBe("second");
});

test("a frame is routed by its header and decoded where it is handled", () => {
  const bytes = encodeFrame({
    type: 7,
    key: "order-1",
    slot: slotOf("order-1", 64), // the partition Kafka would choose
    id: "01a20fa6-81d5-70db-bdb5-f142be728f3c",
    timeMs: 1_764_022_900_000,
    payload: new TextEncoder().encode("hello"),
  });
  expect(frameSlot(bytes)).toBe(slotOf("order-1", 64)); // two bytes read, nothing decoded

  const frame = decodeFrame(bytes); // checks length, version and checksum; throws BAD_FRAME
  expect(frame.key).toBe("order-1");
  expect(new TextDecoder().decode(frame.payload)).toBe("hello");
});
