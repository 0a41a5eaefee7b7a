/**
 * Turns are shared: no actor, however busy, keeps the others or the event loop waiting.
 *
 * Here turns and slices are counted; the same with real time is in the tests with real I/O.
 */

import { describe, expect, test } from "bun:test";

import { createVirtualEnvironment } from "../virtual-environment.ts";

import { defineActor } from "./actor.ts";
import { TURNS_PER_SLICE_MAX } from "./actor-limits.ts";
import { createProbedSystem } from "./actor-probe.suite.ts";
import { Dispatcher } from "./dispatcher.ts";

describe("Dispatcher", () => {
  test("A27: an idle actor's message is handled after one turn of each hot actor", async () => {
    const messagesPerTurn = 64;
    const { system, settle } = createProbedSystem({ messagesPerTurn });
    let handledByHot = 0;
    let stopAt = 100_000;
    let seenByIdle: number | undefined;
    const hot = defineActor<number>({
      type: "hot",
      setup: (_init, context) => {
        context.self.tell(0);
        return {
          receive(message) {
            if (++handledByHot < stopAt) context.self.tell(message);
            if (handledByHot === 5_000) idle.tell("hello");
          },
        };
      },
    });
    const idleActor = defineActor<string>({
      type: "idle",
      setup: () => ({
        receive() {
          seenByIdle = handledByHot;
          stopAt = 0;
        },
      }),
    });
    const idle = system.spawn(idleActor, undefined);
    for (let index = 0; index < 10; index++) system.spawn(hot, undefined);
    await settle();
    expect(seenByIdle).toBeGreaterThan(0);
    expect((seenByIdle ?? 0) - 5_000).toBeLessThanOrEqual(10 * messagesPerTurn);
  });

  test("A27: after a bounded number of turns the event loop has its chance", () => {
    const deferred: (() => void)[] = [];
    const environment = {
      ...createVirtualEnvironment(),
      defer: (callback: () => void) => void deferred.push(callback),
    };
    const dispatcher = new Dispatcher(environment, 1);
    let turns = 0;
    const hot = {
      run() {
        turns++;
        dispatcher.enqueue(hot);
      },
    };
    dispatcher.enqueue(hot);
    expect(turns).toBe(0);
    expect(deferred).toHaveLength(1);
    deferred.shift()?.();
    expect(turns).toBe(TURNS_PER_SLICE_MAX);
    expect(deferred).toHaveLength(1);
  });

  test("A27: a slice ends early when its time is up", () => {
    const deferred: (() => void)[] = [];
    let nowMs = 0;
    const environment = {
      ...createVirtualEnvironment(),
      monotonicMs: () => nowMs,
      defer: (callback: () => void) => void deferred.push(callback),
    };
    const dispatcher = new Dispatcher(environment, 1);
    let turns = 0;
    const slow = {
      run() {
        turns++;
        nowMs += 3;
        dispatcher.enqueue(slow);
      },
    };
    dispatcher.enqueue(slow);
    deferred.shift()?.();
    expect(turns).toBe(2);
    expect(deferred).toHaveLength(1);
  });

  test("a throwing hook of the host does not strand the actors behind it", async () => {
    const deferred: (() => void)[] = [];
    const environment = {
      ...createVirtualEnvironment(),
      defer: (callback: () => void) => void deferred.push(callback),
    };
    const dispatcher = new Dispatcher(environment, 1);
    const ran: string[] = [];
    dispatcher.enqueue({
      run() {
        throw new TypeError("hook");
      },
    });
    dispatcher.enqueue({ run: () => void ran.push("behind") });
    expect(() => deferred.shift()?.()).toThrow("hook");
    deferred.shift()?.();
    expect(ran).toEqual(["behind"]);
    expect(deferred).toHaveLength(0);
  });
});
