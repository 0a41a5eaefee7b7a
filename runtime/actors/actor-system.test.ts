/**
 * What a system promises of every actor: one handler at a time, order per sender, failures that
 * stay where they happened, names, and an end that leaves nothing behind.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import { ShopError } from "../errors.ts";

import { defineActor } from "./actor.ts";
import type { ActorRef } from "./actor.ts";
import { createGate, createProbedSystem } from "./actor-probe.suite.ts";

const idle = defineActor<string>({ type: "idle", setup: () => ({ receive: () => {} }) });

describe("tell", () => {
  test("never runs a handler, nor setup, in the sender's stack", async () => {
    const { system, settle } = createProbedSystem();
    const events: string[] = [];
    const actor = defineActor<string>({
      type: "a",
      setup: () => {
        events.push("setup");
        return { receive: (message) => void events.push(message) };
      },
    });
    const ref = system.spawn(actor, undefined);
    expect(ref.tell("1")).toBe("accepted");
    events.push("told");
    await settle();
    expect(ref.tell("2")).toBe("accepted");
    events.push("told again");
    await settle();
    expect(events).toEqual(["told", "setup", "1", "told again", "2"]);
  });

  test("A22: 100 senders × 1,000 messages: one handler at a time, FIFO per sender", async () => {
    const { system, environment, settle } = createProbedSystem();
    let running = 0;
    let runningMost = 0;
    const last = new Map<number, number>();
    let handled = 0;
    let outOfOrder = 0;
    const receiver = defineActor<{ sender: number; count: number }>({
      type: "receiver",
      mailbox: { capacity: 100_000 },
      setup: () => ({
        async receive({ sender, count }) {
          runningMost = Math.max(runningMost, ++running);
          // Every hundredth one holds the actor for 5 ms of its clock, the others for a microtask.
          if (handled % 100 === 0) {
            const { promise, resolve } = Promise.withResolvers<void>();
            environment.startTimer(5, resolve);
            await promise;
          } else await Promise.resolve();
          if ((last.get(sender) ?? -1) + 1 !== count) outOfOrder++;
          last.set(sender, count);
          handled++;
          running--;
        },
      }),
    });
    const target = system.spawn(receiver, undefined);
    const sender = defineActor<number, number>({
      type: "sender",
      setup: (id, context) => {
        context.self.tell(0);
        return {
          receive(count) {
            target.tell({ sender: id, count });
            if (count < 999) context.self.tell(count + 1);
          },
        };
      },
    });
    for (let id = 0; id < 100; id++) system.spawn(sender, id);
    await settle();
    for (let step = 0; handled < 100_000 && step < 2_000; step++) await environment.advance(5);
    expect(handled).toBe(100_000);
    expect(outOfOrder).toBe(0);
    expect(runningMost).toBe(1);
  });

  test("A22: whatever mix of sync and async handlers, each sender's order is kept", async () => {
    const kinds = fc.array(fc.constantFrom("sync", "micro", "timer"), { maxLength: 40 });
    const property = fc.asyncProperty(kinds, fc.integer({ min: 1, max: 7 }), async (mix, turn) => {
      const { system, environment, settle } = createProbedSystem({ messagesPerTurn: turn });
      const started: number[] = [];
      const ended: number[] = [];
      const actor = defineActor<number>({
        type: "mixed",
        setup: () => ({
          receive(index) {
            started.push(index);
            if (mix[index] === "sync") return void ended.push(index);
            const { promise, resolve } = Promise.withResolvers<void>();
            if (mix[index] === "micro") resolve();
            else environment.startTimer(1, resolve);
            return promise.then(() => void ended.push(index));
          },
        }),
      });
      const ref = system.spawn(actor, undefined);
      for (let index = 0; index < mix.length; index++) ref.tell(index);
      await environment.advance(mix.length);
      await settle();
      const expected = mix.map((_, index) => index);
      expect(started).toEqual(expected);
      expect(ended).toEqual(expected);
    });
    await fc.assert(property, { numRuns: 30 });
  });
});

describe("a batch handler", () => {
  test("gets at most batchMax waiting messages at a time, in order", async () => {
    const { system, settle } = createProbedSystem();
    const batches: (readonly number[])[] = [];
    const actor = defineActor<number>({
      type: "batch",
      setup: () => ({
        batchMax: 4,
        async receiveBatch(messages) {
          batches.push(messages);
          await Promise.resolve();
        },
      }),
    });
    const ref = system.spawn(actor, undefined);
    for (let index = 0; index < 10; index++) ref.tell(index);
    await settle();
    expect(batches).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9],
    ]);
  });

  test("fails as a whole: its messages are in the failure and counted", async () => {
    const { system, failures, undelivered, settle } = createProbedSystem();
    const actor = defineActor<number>({
      type: "batch",
      setup: () => ({
        batchMax: 3,
        receiveBatch() {
          throw new TypeError("no");
        },
      }),
    });
    const ref = system.spawn(actor, undefined, { name: "b" });
    for (let index = 0; index < 5; index++) ref.tell(index);
    await settle();
    expect(failures.map((failure) => failure.messages)).toEqual([[0, 1, 2]]);
    expect(undelivered.map((letter) => [letter.reason, letter.message])).toEqual([
      ["failed", 0],
      ["failed", 1],
      ["failed", 2],
      ["stopped", 3],
      ["stopped", 4],
    ]);
  });

  test("refuses a batchMax that is no positive whole number: it does not start", async () => {
    const { system, failures, settle } = createProbedSystem();
    const actor = defineActor<number>({
      type: "batch",
      setup: () => ({ batchMax: 0, receiveBatch: () => {} }),
    });
    system.spawn(actor, undefined);
    await settle();
    expect(failures[0]?.message).toContain("batchMax must be 1..65536, got 0");
    expect(system.stats().actors).toBe(0);
  });
});

describe("a failing handler", () => {
  for (const kind of ["throws", "rejects"] as const) {
    test(`A21: that ${kind} ends its actor, names the message, and others live on`, async () => {
      const { system, failures, undelivered, settle } = createProbedSystem();
      const survived: string[] = [];
      const cause = new ShopError("STORAGE_FAULT", "disk", "later");
      const failing = defineActor<{ type: string }>({
        type: "failing",
        setup: () => ({
          receive() {
            if (kind === "throws") throw cause;
            return Promise.resolve().then(() => Promise.reject(cause));
          },
        }),
      });
      const other = defineActor<string>({
        type: "other",
        setup: () => ({ receive: (message) => void survived.push(message) }),
      });
      const bad = system.spawn(failing, undefined, { name: "bad" });
      const good = system.spawn(other, undefined);
      bad.tell({ type: "order.create" });
      bad.tell({ type: "next" });
      good.tell("hello");
      await settle();
      expect(failures).toHaveLength(1);
      const [failure] = failures;
      expect(failure?.path).toBe("test/bad");
      expect(failure?.messages).toEqual([{ type: "order.create" }]);
      expect(failure?.cause).toBe(cause);
      expect(failure?.message).toBe(
        "test/bad#1 failed in receive(order.create): STORAGE_FAULT: disk",
      );
      expect(undelivered.map((letter) => letter.reason)).toEqual(["failed", "stopped"]);
      expect(survived).toEqual(["hello"]);
      expect(bad.tell({ type: "later" })).toBe("stopped");
    });
  }

  test("A21: a message of unknown kind is not shown in the failure's text", async () => {
    const { system, failures, settle } = createProbedSystem();
    const failing = defineActor<string>({
      type: "failing",
      setup: () => ({
        receive() {
          throw new TypeError("broken");
        },
      }),
    });
    system.spawn(failing, undefined, { name: "f" }).tell("secret token");
    await settle();
    expect(failures[0]?.message).toBe("test/f#1 failed in receive: TypeError: broken");
  });
});

describe("names and paths", () => {
  test("are unique among the living; a name is free again after its actor has ended", async () => {
    const { system, settle } = createProbedSystem();
    const first = system.spawn(idle, undefined, { name: "x" });
    expect(first.path).toBe("test/x");
    expect(() => system.spawn(idle, undefined, { name: "x" })).toThrow("test/x already");
    const stopped = system.stopActor(first);
    await settle();
    await stopped;
    const second = system.spawn(idle, undefined, { name: "x" });
    await settle();
    expect(second.tell("m")).toBe("accepted");
    expect(first.tell("m")).toBe("stopped");
  });

  test("are made from the type when none is given, and refused when they would break paths", () => {
    const { system } = createProbedSystem();
    expect(system.spawn(idle, undefined).path).toBe("test/idle-1");
    expect(system.spawn(idle, undefined).path).toBe("test/idle-2");
    expect(() => system.spawn(idle, undefined, { name: "a/b" })).toThrow("actor's path");
    expect(() => defineActor({ type: "", setup: () => ({ receive: () => {} }) })).toThrow();
  });
});

describe("stopping a system", () => {
  test("ends every actor, youngest first, and then refuses new ones", async () => {
    const { system, settle } = createProbedSystem();
    const ended: string[] = [];
    const actor = defineActor<string, string>({
      type: "a",
      setup: (name) => ({ receive: () => {}, onStop: () => void ended.push(name) }),
    });
    const refs: ActorRef<string>[] = [];
    for (const name of ["first", "second", "third"]) refs.push(system.spawn(actor, name));
    await settle();
    const stopped = system.stop();
    await settle();
    await stopped;
    expect(ended).toEqual(["third", "second", "first"]);
    expect(refs.map((ref) => ref.tell("late"))).toEqual(["stopped", "stopped", "stopped"]);
    expect(() => system.spawn(actor, "new")).toThrow("closing");
    expect(system.stats().actors).toBe(0);
  });

  test("kills what has not ended at the deadline and says what was in hand", async () => {
    const { system, environment, failures, undelivered, settle } = createProbedSystem();
    const hanging = defineActor<string>({
      type: "hanging",
      setup: () => ({ receive: () => createGate().opened }),
    });
    const ref = system.spawn(hanging, undefined);
    ref.tell("in hand");
    ref.tell("waiting");
    await settle();
    let done = false;
    const stopped = system.stop(1_000).then(() => (done = true));
    await environment.advance(999);
    expect(done).toBe(false);
    await environment.advance(1);
    await stopped;
    expect(failures[0]?.cause).toMatchObject({ code: "INDETERMINATE" });
    expect(undelivered.map((letter) => [letter.reason, letter.message])).toEqual([
      ["failed", "in hand"],
      ["stopped", "waiting"],
    ]);
    expect(environment.pendingTimers()).toBe(0);
  });

  test("is done at once when nobody lives", async () => {
    const { system, environment } = createProbedSystem();
    await system.stop();
    expect(environment.pendingTimers()).toBe(0);
  });
});
