/**
 * Entities come and go; messages do not get lost, doubled or overtaken on the way.
 *
 * A plain map is the store behind them, so that state survives a passivation and nothing else does.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { ActorContext, Behavior } from "./actor.ts";
import { createGate, createProbedSystem } from "./actor-probe.suite.ts";
import type { ProbedSystem } from "./actor-probe.suite.ts";
import { createEntityRegion } from "./entity-region.ts";
import type { EntityRegionOptions } from "./entity-region.ts";

interface Add {
  readonly addend: number;
  readonly until?: Promise<void>;
}

/** Counters by key, kept in `store` when passivated; every step is in `events`. */
function counters(
  probed: ProbedSystem,
  options: Partial<EntityRegionOptions<Add>> & { saveGate?: Promise<void> } = {},
) {
  const store = new Map<string, number[]>();
  const events: string[] = [];
  const failed: { message: Add; error: unknown }[] = [];
  const create = async (key: string): Promise<Behavior<Add>> => {
    events.push(`load ${key}`);
    await Promise.resolve();
    const addends = [...(store.get(key) ?? [])];
    return {
      async receive({ addend, until }) {
        await until;
        if (addend < 0) throw new RangeError(`negative: ${addend}`);
        addends.push(addend);
      },
      async onStop() {
        events.push(`save ${key}`);
        await options.saveGate;
        store.set(key, addends);
      },
      beforeRestart: () => void store.set(key, addends),
    };
  };
  const region = createEntityRegion<Add>(probed.system, {
    type: "counter",
    create,
    failed: (message, error) => void failed.push({ message, error }),
    idleMs: 1_000,
    residentMax: 100,
    ...options,
  });
  const stop = async (deadlineMs?: number) => {
    const stopped = region.stop(deadlineMs);
    await probed.settle();
    return stopped;
  };
  return { region, store, events, failed, stop };
}

describe("A31: passivation", () => {
  test("A31: an entity idle for idleMs is passivated and comes back with its state", async () => {
    const probed = createProbedSystem();
    const { region, events, store, stop } = counters(probed);
    region.tell("a", { addend: 1 });
    await probed.environment.advance(600);
    region.tell("a", { addend: 2 });
    await probed.environment.advance(999);
    expect(region.stats()).toMatchObject({ resident: 1, idle: 1 });
    await probed.environment.advance(1);
    expect(region.stats()).toMatchObject({ resident: 0, idle: 0, passivated: 1 });
    expect(store.get("a")).toEqual([1, 2]);
    region.tell("a", { addend: 3 });
    await probed.settle();
    expect(await stop()).toBe(0);
    expect(store.get("a")).toEqual([1, 2, 3]);
    expect(events).toEqual(["load a", "save a", "load a", "save a"]);
    expect(probed.environment.pendingTimers()).toBe(0);
  });

  test("A31: 150 keys, limit 100: the least recently used leave, never over 100", async () => {
    const probed = createProbedSystem();
    const { region, events, store, stop } = counters(probed);
    for (let key = 0; key < 100; key++) region.tell(`k${key}`, { addend: key });
    await probed.settle();
    // The first ten are used again: they are the most recent now.
    for (let key = 0; key < 10; key++) region.tell(`k${key}`, { addend: key });
    await probed.settle();
    for (let key = 100; key < 150; key++) {
      expect(region.tell(`k${key}`, { addend: key })).toBe("accepted");
      expect(region.stats().resident).toBeLessThanOrEqual(100);
      await probed.settle();
      expect(region.stats().resident).toBeLessThanOrEqual(100);
    }
    const saved = events.filter((event) => event.startsWith("save"));
    expect(saved).toEqual(Array.from({ length: 50 }, (_, index) => `save k${10 + index}`));
    await stop();
    expect(store.size).toBe(150);
    expect(store.get("k3")).toEqual([3, 3]);
    expect(store.get("k149")).toEqual([149]);
  });

  test("A31: 150 new keys at once: 100 are taken, 50 are handed back, none is lost", async () => {
    const probed = createProbedSystem();
    const { region, store, stop } = counters(probed);
    const results = Array.from({ length: 150 }, (_, key) =>
      region.tell(`k${key}`, { addend: key }),
    );
    expect(results.filter((result) => result === "accepted")).toHaveLength(100);
    expect(results.filter((result) => result === "saturated")).toHaveLength(50);
    expect(region.stats()).toMatchObject({ resident: 100, refusedSaturated: 50 });
    await probed.settle();
    for (let key = 100; key < 150; key++) {
      expect(region.tell(`k${key}`, { addend: key })).toBe("accepted");
    }
    await probed.settle();
    await stop();
    expect(store.size).toBe(150);
  });

  test("A31: a message that comes while its entity stops is handled by the next one", async () => {
    const probed = createProbedSystem();
    const gate = createGate();
    const { region, events, store, stop } = counters(probed, { saveGate: gate.opened });
    region.tell("a", { addend: 1 });
    await probed.environment.advance(1_000);
    expect(events).toEqual(["load a", "save a"]);
    for (const addend of [2, 3]) expect(region.tell("a", { addend })).toBe("accepted");
    await probed.settle();
    expect(events).toEqual(["load a", "save a"]);
    gate.open();
    await probed.settle();
    expect(events).toEqual(["load a", "save a", "load a"]);
    await stop();
    expect(store.get("a")).toEqual([1, 2, 3]);
  });

  test("A31: with every resident busy a new key is refused, a resident one is not", async () => {
    const probed = createProbedSystem();
    const gate = createGate();
    const { region, store, stop } = counters(probed, { residentMax: 2 });
    region.tell("a", { addend: 1, until: gate.opened });
    region.tell("b", { addend: 1, until: gate.opened });
    await probed.settle();
    expect(region.tell("c", { addend: 1 })).toBe("saturated");
    expect(region.tell("a", { addend: 2 })).toBe("accepted");
    gate.open();
    await probed.settle();
    expect(region.tell("c", { addend: 1 })).toBe("accepted");
    await probed.settle();
    await stop();
    expect(Object.fromEntries(store)).toEqual({ a: [1, 2], b: [1], c: [1] });
  });

  test("A31: an entity that is used again is not chosen to leave", async () => {
    const probed = createProbedSystem();
    const gate = createGate();
    const { region, events, stop } = counters(probed, { residentMax: 1 });
    region.tell("a", { addend: 1 });
    await probed.settle();
    region.tell("a", { addend: 2, until: gate.opened });
    expect(region.tell("b", { addend: 1 })).toBe("saturated");
    gate.open();
    await probed.settle();
    expect(events).toEqual(["load a"]);
    await stop();
  });

  test("A31: who waits for room makes another idle one leave before its idleMs", async () => {
    const probed = createProbedSystem();
    const gate = createGate();
    const { region, events, store, stop } = counters(probed, {
      residentMax: 2,
      saveGate: gate.opened,
    });
    region.tell("a", { addend: 1 });
    region.tell("b", { addend: 1 });
    await probed.settle();
    const working = createGate();
    region.tell("c", { addend: 1, until: working.opened });
    await probed.settle();
    // The place of `a` is promised to `c`, and now `a` is wanted again: `b` has to go.
    region.tell("a", { addend: 2 });
    gate.open();
    await probed.settle();
    expect(events).toEqual(["load a", "load b", "save a", "load c", "save b", "load a"]);
    working.open();
    await stop();
    expect(Object.fromEntries(store)).toEqual({ a: [1, 2], b: [1], c: [1] });
  });

  test("A31: who waits for room gets it from the first one that has become idle", async () => {
    const probed = createProbedSystem();
    const [saving, working] = [createGate(), createGate()];
    const { region, events, stop } = counters(probed, { residentMax: 1, saveGate: saving.opened });
    region.tell("a", { addend: 1 });
    await probed.settle();
    region.tell("b", { addend: 1, until: working.opened });
    await probed.settle();
    region.tell("a", { addend: 2 });
    saving.open();
    await probed.settle();
    expect(events).toEqual(["load a", "save a", "load b"]);
    working.open();
    await probed.settle();
    expect(events).toEqual(["load a", "save a", "load b", "save b", "load a"]);
    await stop();
  });

  test("A31: one key's full mailbox is told apart from a full region", async () => {
    const probed = createProbedSystem();
    const { region } = counters(probed, { mailboxCapacity: 2 });
    const results = [1, 2, 3].map((addend) => region.tell("a", { addend }));
    expect(results).toEqual(["accepted", "accepted", "full"]);
    expect(region.stats().refusedFull).toBe(1);
    // The caller kept it: nothing to count as lost.
    expect(probed.undelivered).toEqual([]);
  });
});

describe("failing entities", () => {
  test("a failed message is reported once; those behind it meet a new incarnation", async () => {
    const probed = createProbedSystem();
    const { region, events, store, failed, stop } = counters(probed);
    for (const addend of [1, -2, 3]) region.tell("a", { addend });
    region.tell("b", { addend: 7 });
    await probed.settle();
    expect(failed).toMatchObject([{ message: { addend: -2 }, error: { name: "RangeError" } }]);
    expect(events).toEqual(["load a", "load b", "load a"]);
    expect(region.stats()).toMatchObject({ resident: 2, idle: 2, failures: 1 });
    await stop();
    expect(Object.fromEntries(store)).toEqual({ a: [1, 3], b: [7] });
    expect(probed.failures).toEqual([]);
  });

  test("each failed hydration costs one message, so it cannot go on for ever", async () => {
    const probed = createProbedSystem();
    const failed: Add[] = [];
    let loads = 0;
    const region = createEntityRegion<Add>(probed.system, {
      type: "broken",
      create: () => {
        loads++;
        return Promise.reject(new RangeError("no row"));
      },
      failed: (message) => void failed.push(message),
      idleMs: 1_000,
      residentMax: 10,
    });
    for (const addend of [1, 2, 3]) region.tell("a", { addend });
    await probed.settle();
    expect(failed.map((message) => message.addend)).toEqual([1, 2, 3]);
    expect(loads).toBe(3);
    expect(region.stats()).toMatchObject({ resident: 0, waiting: 0, failures: 3 });
  });

  test("an entity may end itself: what waits starts it again", async () => {
    const probed = createProbedSystem();
    const lives: string[] = [];
    const create = (_key: string, context: ActorContext<Add>): Behavior<Add> => {
      let handled = 0;
      return {
        receive() {
          if (++handled === 2) context.stop();
        },
        onStop: () => void lives.push(`after ${handled}`),
      };
    };
    const { region } = counters(probed, { create });
    for (let addend = 0; addend < 5; addend++) region.tell("a", { addend });
    await probed.settle();
    expect(lives).toEqual(["after 2", "after 2"]);
    expect(region.stats()).toMatchObject({ resident: 1, idle: 1 });
  });
});

describe("stopping a region", () => {
  test("lets every accepted message be handled, then refuses", async () => {
    const probed = createProbedSystem();
    const { region, store, stop } = counters(probed);
    for (let index = 0; index < 50; index++) region.tell(`k${index % 5}`, { addend: index });
    const stopped = stop();
    expect(region.tell("k0", { addend: 0 })).toBe("stopped");
    expect(await stopped).toBe(0);
    expect([...store.values()].map((addends) => addends.length)).toEqual([10, 10, 10, 10, 10]);
    expect(probed.environment.pendingTimers()).toBe(0);
    expect(probed.system.stats().actors).toBe(0);
  });

  test("gives back at the deadline what was in hand and what waited", async () => {
    const probed = createProbedSystem();
    const { region, failed } = counters(probed);
    region.tell("a", { addend: 1, until: createGate().opened });
    region.tell("a", { addend: 2 });
    await probed.settle();
    const stopped = region.stop(500);
    await probed.environment.advance(500);
    expect(await stopped).toBe(1);
    expect(failed).toMatchObject([
      { message: { addend: 1 }, error: { code: "INDETERMINATE" } },
      { message: { addend: 2 }, error: { code: "CLOSED" } },
    ]);
    expect(await region.stop()).toBe(1);
  });

  test("is part of stopping its system", async () => {
    const probed = createProbedSystem();
    const { region, store } = counters(probed);
    region.tell("a", { addend: 1 });
    const stopped = probed.system.stop();
    await probed.settle();
    await stopped;
    expect(store.get("a")).toEqual([1]);
    expect(region.tell("a", { addend: 2 })).toBe("stopped");
  });

  test("a killed region gives everything back at once", async () => {
    const probed = createProbedSystem();
    const { region, failed } = counters(probed);
    region.tell("a", { addend: 1, until: createGate().opened });
    await probed.settle();
    const stopped = probed.system.stop(10);
    await probed.environment.advance(10);
    await stopped;
    expect(failed).toMatchObject([{ message: { addend: 1 }, error: { code: "INDETERMINATE" } }]);
  });
});

describe("any load", () => {
  test("A31: every accepted message is handled once, in order, under the cap", async () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ key: fc.nat({ max: 6 }), waitMs: fc.nat({ max: 3 }) }) },
      { weight: 1, arbitrary: fc.record({ key: fc.nat({ max: 6 }), fail: fc.constant(true) }) },
      { weight: 2, arbitrary: fc.record({ advanceMs: fc.nat({ max: 40 }) }) },
    );
    const property = fc.asyncProperty(
      fc.array(step, { maxLength: 80 }),
      fc.integer({ min: 1, max: 4 }),
      async (steps, residentMax) => {
        const probed = createProbedSystem();
        const { environment, system } = probed;
        const handled = new Map<string, number[]>();
        const accepted = new Map<string, number[]>();
        const living = new Set<string>();
        let livingMost = 0;
        const pause = (ms: number) =>
          new Promise<void>((resolve) => void environment.startTimer(ms, resolve));
        const region = createEntityRegion<{ id: number; waitMs: number; fail: boolean }>(system, {
          type: "any",
          idleMs: 20,
          residentMax,
          mailboxCapacity: 3,
          failed: () => {},
          create: async (key) => {
            expect(living.has(key)).toBe(false);
            living.add(key);
            livingMost = Math.max(livingMost, living.size);
            await pause(1);
            const end = async () => {
              await pause(2);
              living.delete(key);
            };
            return {
              async receive({ id, waitMs, fail }) {
                handled.set(key, [...(handled.get(key) ?? []), id]);
                if (waitMs > 0) await pause(waitMs);
                if (fail) throw new RangeError("asked to");
              },
              onStop: end,
              beforeRestart: end,
            };
          },
        });
        for (const [id, action] of steps.entries()) {
          if ("advanceMs" in action) await environment.advance(action.advanceMs);
          else {
            const key = String(action.key);
            const waitMs = "waitMs" in action ? action.waitMs : 0;
            const result = region.tell(key, { id, waitMs, fail: "fail" in action });
            if (result === "accepted") accepted.set(key, [...(accepted.get(key) ?? []), id]);
          }
          expect(region.stats().resident).toBeLessThanOrEqual(residentMax);
        }
        const stopped = region.stop(100_000);
        await environment.advance(5_000);
        expect(await stopped).toBe(0);
        expect(handled).toEqual(accepted);
        expect(livingMost).toBeLessThanOrEqual(residentMax);
        expect(living.size).toBe(0);
        expect(environment.pendingTimers()).toBe(0);
      },
    );
    await fc.assert(property, { numRuns: 60 });
  }, 30_000);
});
