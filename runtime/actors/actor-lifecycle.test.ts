/**
 * The life of an incarnation: hooks, timers, children and watches, each exactly once.
 *
 * Restarts are driven by hand through a child specification, so that every step is seen.
 */

import { describe, expect, test } from "bun:test";

import { defineActor } from "./actor.ts";
import type { ActorDefinition, ActorRef } from "./actor.ts";
import { actorChild } from "./actor-child.ts";
import { createGate, createProbedSystem } from "./actor-probe.suite.ts";
import type { ProbedSystem } from "./actor-probe.suite.ts";

type Step = "ok" | "fail" | "stop" | "child";

/** Records every hook as `name#incarnation`. */
function recorder(events: string[], failIn: ReadonlySet<string> = new Set()) {
  return defineActor<Step>({
    type: "recorder",
    setup: (_init, context) => {
      const record = (hook: string): void => {
        events.push(`${hook}#${context.incarnation}`);
        if (failIn.has(hook)) throw new TypeError(`${hook} is broken`);
      };
      record("setup");
      return {
        receive(message) {
          record(message);
          if (message === "fail") throw new TypeError("asked to");
          if (message === "stop") context.stop();
          if (message === "child") context.spawn(leaf(events), events.length);
        },
        beforeRestart: () => record("beforeRestart"),
        onStop: () => record("onStop"),
      };
    },
  });
}

function leaf(events: string[]): ActorDefinition<string, number> {
  return defineActor<string, number>({
    type: "leaf",
    setup: (place) => ({
      receive: () => {},
      onStop: () => void events.push(`leaf.onStop#${place}`),
    }),
  });
}

/** A permanent child that is started again after every exit, as its supervisor would. */
async function permanent(probed: ProbedSystem, definition: ActorDefinition<Step, void>) {
  const { spec, ref } = actorChild(probed.system, definition, undefined, {
    id: "child",
    restart: "permanent",
    shutdown: 1_000,
  });
  const exits: string[] = [];
  const start = async () => {
    const started = spec.start((exit) => {
      exits.push(exit.kind);
      restarted = start();
    });
    await probed.settle();
    return started;
  };
  let restarted = start();
  await restarted;
  return { ref, exits, running: () => restarted };
}

describe("A18: lifecycle hooks", () => {
  test("A18: a restart calls beforeRestart once on the failed one, then setup", async () => {
    const probed = createProbedSystem();
    const events: string[] = [];
    const { ref, exits } = await permanent(probed, recorder(events));
    for (const step of ["ok", "fail", "ok"] as const) ref.tell(step);
    await probed.settle();
    expect(events).toEqual(["setup#1", "ok#1", "fail#1", "beforeRestart#1", "setup#2", "ok#2"]);
    expect(exits).toEqual(["abnormal"]);
  });

  test("A18: a normal exit and a stop call onStop once, and no other hook", async () => {
    const probed = createProbedSystem();
    const events: string[] = [];
    const { ref, exits, running } = await permanent(probed, recorder(events));
    ref.tell("stop");
    await probed.settle();
    expect(events).toEqual(["setup#1", "stop#1", "onStop#1", "setup#2"]);
    const child = await running();
    const twice = [child.stop(), child.stop()];
    await probed.settle();
    await Promise.all(twice);
    expect(events).toEqual(["setup#1", "stop#1", "onStop#1", "setup#2", "onStop#2"]);
    expect(exits).toEqual(["normal"]);
  });

  test("A18: a crash in setup calls no hook and makes start reject with its cause", async () => {
    const probed = createProbedSystem();
    const events: string[] = [];
    const definition = recorder(events, new Set(["setup"]));
    const { spec } = actorChild(probed.system, definition, undefined, {
      id: "child",
      restart: "permanent",
      shutdown: 1_000,
    });
    const started = spec.start(() => events.push("exit"));
    const outcome = started.then(String, String);
    await probed.settle();
    expect(await outcome).toContain("test/child#1 failed in setup: TypeError: setup is broken");
    expect(events).toEqual(["setup#1"]);
  });

  test("A18: a crash in onStop is reported and does not keep the actor from ending", async () => {
    const probed = createProbedSystem();
    const events: string[] = [];
    const ref = probed.system.spawn(recorder(events, new Set(["onStop"])), undefined);
    ref.tell("stop");
    await probed.settle();
    expect(events).toEqual(["setup#1", "stop#1", "onStop#1"]);
    expect(probed.failures.map((failure) => failure.message)).toEqual([
      "test/recorder-1#1 failed in onStop: TypeError: onStop is broken",
    ]);
    expect(probed.system.stats().actors).toBe(0);
  });

  test("A18: a crash in beforeRestart is reported and the restart goes on", async () => {
    const probed = createProbedSystem();
    const events: string[] = [];
    const { ref } = await permanent(probed, recorder(events, new Set(["beforeRestart"])));
    ref.tell("fail");
    ref.tell("ok");
    await probed.settle();
    expect(events).toEqual(["setup#1", "fail#1", "beforeRestart#1", "setup#2", "ok#2"]);
    expect(probed.failures).toHaveLength(2);
  });

  test("A18: children end, youngest first, before their parent's hook runs", async () => {
    const probed = createProbedSystem();
    const events: string[] = [];
    const { ref } = await permanent(probed, recorder(events));
    for (const step of ["child", "child"] as const) ref.tell(step);
    await probed.settle();
    ref.tell("fail");
    await probed.settle();
    expect(events.slice(4)).toEqual([
      "leaf.onStop#3",
      "leaf.onStop#2",
      "beforeRestart#1",
      "setup#2",
    ]);
    expect(probed.system.stats().actors).toBe(1);
  });

  test("A18: a kill calls no hook and takes the children along", async () => {
    const probed = createProbedSystem();
    const events: string[] = [];
    const { ref, running } = await permanent(probed, recorder(events));
    ref.tell("child");
    await probed.settle();
    expect(probed.system.stats().actors).toBe(2);
    (await running()).kill();
    expect(probed.system.stats().actors).toBe(1);
    await probed.settle();
    expect(events).toEqual(["setup#1", "child#1"]);
  });

  test("A18: stopChild ends one child in good order and leaves its sibling", async () => {
    const { system, settle } = createProbedSystem();
    const events: string[] = [];
    const children: ActorRef<string>[] = [];
    const parent = defineActor<string>({
      type: "parent",
      setup: (_init, context) => {
        for (const place of [0, 1]) children.push(context.spawn(leaf(events), place));
        return {
          receive() {
            for (const child of children.slice(1)) context.stopChild(child);
          },
        };
      },
    });
    const ref = system.spawn(parent, undefined);
    await settle();
    ref.tell("go");
    await settle();
    expect(events).toEqual(["leaf.onStop#1"]);
    expect(children.map((child) => child.tell("late"))).toEqual(["accepted", "stopped"]);
    expect(ref.tell("still here")).toBe("accepted");
  });

  test("A18: asking to stop again and again is asking once", async () => {
    const probed = createProbedSystem();
    let ended = 0;
    const eager = defineActor<string>({
      type: "eager",
      setup: (_init, context) => ({
        receive() {
          for (let index = 0; index < 10_000; index++) context.stop();
        },
        onStop: () => void ended++,
      }),
    });
    probed.system.spawn(eager, undefined).tell("go");
    await probed.settle();
    expect(ended).toBe(1);
    expect(probed.failures).toEqual([]);
  });

  test("A18: an asynchronous hook is waited for before the next incarnation starts", async () => {
    const probed = createProbedSystem();
    const gate = createGate();
    const events: string[] = [];
    const slow = defineActor<Step>({
      type: "slow",
      setup: () => {
        events.push("setup");
        return {
          receive() {
            throw new TypeError("asked to");
          },
          beforeRestart: () => gate.opened.then(() => void events.push("beforeRestart")),
        };
      },
    });
    const { ref } = await permanent(probed, slow);
    ref.tell("fail");
    await probed.settle();
    expect(events).toEqual(["setup"]);
    gate.open();
    await probed.settle();
    expect(events).toEqual(["setup", "beforeRestart", "setup"]);
  });

  test("asynchronous setup holds messages back and handles them in order after it", async () => {
    const { system, settle } = createProbedSystem();
    const gate = createGate();
    const handled: number[] = [];
    const loading = defineActor<number>({
      type: "loading",
      setup: async () => {
        await gate.opened;
        return { receive: (message) => void handled.push(message) };
      },
    });
    const ref = system.spawn(loading, undefined);
    for (let index = 0; index < 5; index++) ref.tell(index);
    await settle();
    expect(handled).toEqual([]);
    gate.open();
    await settle();
    expect(handled).toEqual([0, 1, 2, 3, 4]);
  });
});

describe("A19: timers", () => {
  const ticker = (handled: string[], gate = createGate()) =>
    defineActor<string>({
      type: "ticker",
      setup: (_init, context) => ({
        async receive(message) {
          handled.push(`${message}#${context.incarnation}`);
          if (message === "arm") context.startTimer("t", 10, "tick");
          if (message === "cancel") context.cancelTimer("t");
          if (message === "wait") await gate.opened;
          if (message === "fail") throw new TypeError("asked to");
        },
      }),
    });

  test("A19: a tick that waits when its actor fails is not handled by the next one", async () => {
    const probed = createProbedSystem();
    const gate = createGate();
    const handled: string[] = [];
    const { spec, ref } = actorChild(probed.system, ticker(handled, gate), undefined, {
      id: "ticker",
      restart: "permanent",
      shutdown: 1_000,
    });
    const start = (): Promise<unknown> => spec.start(() => void start());
    void start();
    ref.tell("arm");
    ref.tell("wait");
    await probed.settle();
    await probed.environment.advance(10);
    gate.break(new TypeError("late"));
    await probed.settle();
    ref.tell("after");
    await probed.environment.advance(100);
    expect(handled).toEqual(["arm#1", "wait#1", "after#2"]);
    expect(probed.environment.pendingTimers()).toBe(0);
  });

  test("A19: a cancelled timer's tick does not arrive even if it was waiting already", async () => {
    const { system, environment, settle } = createProbedSystem();
    const gate = createGate();
    const results: string[] = [];
    const actor = defineActor<string>({
      type: "canceller",
      setup: (_init, context) => ({
        async receive(message) {
          results.push(message);
          if (message !== "go") return;
          context.startTimer("t", 1, "tick");
          await gate.opened;
          results.push(String(context.cancelTimer("t")), String(context.cancelTimer("t")));
        },
      }),
    });
    system.spawn(actor, undefined).tell("go");
    await settle();
    await environment.advance(1);
    gate.open();
    await settle();
    expect(results).toEqual(["go", "true", "false"]);
  });

  test("A19: starting a key again replaces it: one tick, after the new delay", async () => {
    const { system, environment, settle } = createProbedSystem();
    const handled: string[] = [];
    const ref = system.spawn(ticker(handled), undefined);
    ref.tell("arm");
    await environment.advance(9);
    ref.tell("arm");
    await settle();
    await environment.advance(9);
    expect(handled).toEqual(["arm#1", "arm#1"]);
    await environment.advance(1);
    expect(handled).toEqual(["arm#1", "arm#1", "tick#1"]);
  });

  test("A19: no tick arrives after a stop and no timer is left", async () => {
    const { system, environment, settle } = createProbedSystem();
    const handled: string[] = [];
    const ref = system.spawn(ticker(handled), undefined);
    ref.tell("arm");
    await settle();
    expect(environment.pendingTimers()).toBe(1);
    const stopped = system.stopActor(ref);
    await settle();
    await stopped;
    expect(environment.pendingTimers()).toBe(0);
    await environment.advance(100);
    expect(handled).toEqual(["arm#1"]);
  });

  test("A19: code of a killed incarnation that still runs can start nothing", async () => {
    const { system, environment, settle } = createProbedSystem();
    const gate = createGate();
    const actor = defineActor<string>({
      type: "zombie",
      setup: (_init, context) => ({
        async receive() {
          await gate.opened;
          context.startTimer("t", 1, "tick");
          context.unstashAll();
          context.stop();
        },
      }),
    });
    system.spawn(actor, undefined).tell("go");
    await settle();
    const stopped = system.stop(5);
    await environment.advance(5);
    await stopped;
    gate.open();
    await settle();
    expect(environment.pendingTimers()).toBe(0);
  });
});

describe("A20: death watch", () => {
  interface Watching {
    readonly watch?: ActorRef<never>;
    readonly unwatch?: ActorRef<never>;
    readonly gate?: Promise<void>;
  }
  const watcher = (terminated: string[]) =>
    defineActor<Watching>({
      type: "watcher",
      setup: (_init, context) => ({
        async receive({ watch, unwatch, gate }) {
          if (watch !== undefined) context.watch(watch);
          await gate;
          if (unwatch !== undefined) context.unwatch(unwatch);
        },
        onTerminated: (ref) => void terminated.push(ref.path),
      }),
    });
  const idle = defineActor<string>({ type: "idle", setup: () => ({ receive: () => {} }) });

  async function stop(probed: ProbedSystem, ref: ActorRef<never>): Promise<void> {
    const stopped = probed.system.stopActor(ref);
    await probed.settle();
    await stopped;
  }

  test("A20: tells exactly once, watched before the death or after it, once or twice", async () => {
    const probed = createProbedSystem();
    const terminated: string[] = [];
    const target = probed.system.spawn(idle, undefined, { name: "target" });
    const before = probed.system.spawn(watcher(terminated), undefined);
    before.tell({ watch: target });
    before.tell({ watch: target });
    await probed.settle();
    expect(terminated).toEqual([]);
    await stop(probed, target);
    expect(terminated).toEqual(["test/target"]);
    const after = probed.system.spawn(watcher(terminated), undefined);
    after.tell({ watch: target });
    after.tell({});
    await probed.settle();
    expect(terminated).toEqual(["test/target", "test/target"]);
    const twice = defineActor<string>({
      type: "twice",
      setup: (_init, context) => {
        context.watch(target);
        context.watch(target);
        return { receive: () => {}, onTerminated: () => void terminated.push("twice") };
      },
    });
    probed.system.spawn(twice, undefined);
    await probed.settle();
    expect(terminated.filter((path) => path === "twice")).toHaveLength(1);
  });

  test("A20: an incarnation's watch ends with it: the next one is told nothing", async () => {
    const probed = createProbedSystem();
    const told: number[] = [];
    const target = probed.system.spawn(idle, undefined);
    const watching = defineActor<Step>({
      type: "watching",
      setup: (_init, context) => {
        if (context.incarnation === 1) context.watch(target);
        return {
          receive() {
            throw new TypeError("asked to");
          },
          onTerminated: () => void told.push(context.incarnation),
        };
      },
    });
    const { ref } = await permanent(probed, watching);
    ref.tell("fail");
    await probed.settle();
    await stop(probed, target);
    expect(told).toEqual([]);
  });

  test("A20: unwatch silences, even a notice that waits already", async () => {
    const probed = createProbedSystem();
    const terminated: string[] = [];
    const gate = createGate();
    const target = probed.system.spawn(idle, undefined);
    const ref = probed.system.spawn(watcher(terminated), undefined);
    ref.tell({ watch: target, unwatch: target, gate: gate.opened });
    await probed.settle();
    await stop(probed, target);
    gate.open();
    ref.tell({});
    await probed.settle();
    expect(terminated).toEqual([]);
  });

  test("A20: a failure of the watched one is told like any other end", async () => {
    const probed = createProbedSystem();
    const terminated: string[] = [];
    const target = probed.system.spawn(recorder([]), undefined, { name: "target" });
    probed.system.spawn(watcher(terminated), undefined).tell({ watch: target });
    await probed.settle();
    target.tell("fail");
    await probed.settle();
    expect(terminated).toEqual(["test/target"]);
  });

  test("A20: an unhandled notice is the watcher's own failure", async () => {
    const probed = createProbedSystem();
    const target = probed.system.spawn(idle, undefined, { name: "target" });
    const pact = defineActor<string>({
      type: "pact",
      setup: (_init, context) => {
        context.watch(target);
        return { receive: () => {} };
      },
    });
    const ref = probed.system.spawn(pact, undefined, { name: "pact" });
    await probed.settle();
    await stop(probed, target);
    expect(probed.failures.map((failure) => failure.message)).toEqual([
      "test/pact#1 failed in a signal: InvariantError: " +
        "death pact: test/target has ended and nobody handles it",
    ]);
    expect(ref.tell("late")).toBe("stopped");
  });

  test("A20: a restart is no death; the end that no restart follows is", async () => {
    const probed = createProbedSystem();
    const terminated: string[] = [];
    const { ref, running } = await permanent(probed, recorder([]));
    probed.system.spawn(watcher(terminated), undefined).tell({ watch: ref });
    await probed.settle();
    ref.tell("fail");
    await probed.settle();
    expect(terminated).toEqual([]);
    const stopped = (await running()).stop();
    await probed.settle();
    await stopped;
    expect(terminated).toEqual(["test/child"]);
  });

  test("A20: a kill is told like any other end", async () => {
    const probed = createProbedSystem();
    const terminated: string[] = [];
    const { ref, running } = await permanent(probed, recorder([]));
    probed.system.spawn(watcher(terminated), undefined).tell({ watch: ref });
    await probed.settle();
    (await running()).kill();
    await probed.settle();
    expect(terminated).toEqual(["test/child"]);
  });
});
