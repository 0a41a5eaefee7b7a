/**
 * What ends, and when: deadlines, hanging starts and stops, and children that come and go.
 *
 * On a virtual clock, so that a deadline of a second is a fact and not a wait. Numbers are those of
 * the conformance list.
 */

import { describe, expect, test } from "bun:test";

import { createVirtualEnvironment } from "../virtual-environment.ts";
import { createProbe } from "./probe-children.suite.ts";
import { startSupervisor } from "./supervisor.ts";

import type { VirtualEnvironment } from "../virtual-environment.ts";
import type { ChildSpec, SupervisorSpec } from "./child.ts";
import type { Probe } from "./probe-children.suite.ts";
import type { Supervisor, SupervisorEvent } from "./supervisor.ts";

interface House {
  readonly environment: VirtualEnvironment;
  readonly probe: Probe;
  readonly events: SupervisorEvent[];
  start(children: readonly ChildSpec[], fields?: Partial<SupervisorSpec>): Promise<Supervisor>;
}

describe("A11 a start that hangs", () => {
  test("does not hold up stop for longer than its deadline", async () => {
    const { environment, probe, start } = createHouse();
    const supervisor = await start([probe.child("a")]);
    const hanging = supervisor.startChild(probe.child("h", { startMs: "never", shutdown: 300 }));
    const rejected = hanging.catch((error: unknown) => error);
    const stopped = track(supervisor.stop());
    await environment.advance(299);
    expect(stopped.done).toBe(false);
    await environment.advance(1);
    expect(stopped.done).toBe(true);
    expect(await rejected).toMatchObject({ code: "CLOSED" });
    expect(probe.record).toEqual(["start a", "start h", "stop a"]);
    expect(environment.pendingTimers()).toBe(0);
  });

  test("answers restarting, and can be stopped and deleted", async () => {
    const { environment, start } = createHouse();
    let starts = 0;
    let fail: () => void = () => undefined;
    const child: ChildSpec = {
      id: "h",
      restart: "permanent",
      shutdown: 100,
      start(onExit) {
        fail = () => onExit({ kind: "abnormal", error: new Error("crash") });
        if (starts++ > 0) return new Promise(() => undefined);
        return Promise.resolve({ stop: () => Promise.resolve(), kill: () => undefined });
      },
    };
    const supervisor = await start([child]);
    fail();
    await environment.settle();
    expect(starts).toBe(2);
    expect(supervisor.which()).toEqual([{ id: "h", state: "restarting", restarts: 1 }]);
    expect(await supervisor.restartChild("h")).toBe("restarting");
    expect(supervisor.deleteChild("h")).toBe("restarting");

    const stopped = track(supervisor.stopChild("h"));
    await environment.advance(100);
    expect(stopped.done).toBe(true);
    expect(supervisor.deleteChild("h")).toBe("deleted");
    expect(supervisor.which()).toEqual([]);
  });

  test("does not hold up the restart of a sibling", async () => {
    const { environment, probe, start } = createHouse();
    const supervisor = await start([probe.child("a")]);
    void supervisor.startChild(probe.child("h", { startMs: "never" }));
    probe.exit("a");
    await environment.settle();
    expect(probe.running("a")).toBe(2);
  });

  test("is told that it was abandoned, and is killed when it comes after all", async () => {
    const { environment, start } = createHouse();
    const arrival = Promise.withResolvers<void>();
    let killed = 0;
    let told = false;
    const supervisor = await start([]);
    const rejected = supervisor
      .startChild({
        id: "late",
        restart: "permanent",
        shutdown: "brutal",
        async start(_onExit, abandoned) {
          abandoned?.addEventListener("abort", () => (told = true));
          await arrival.promise;
          return { stop: () => Promise.resolve(), kill: () => killed++ };
        },
      })
      .catch((error: unknown) => error);
    await supervisor.stop();
    expect(await rejected).toMatchObject({ code: "CLOSED" });
    expect([told, killed]).toEqual([true, 0]);
    arrival.resolve();
    await environment.settle();
    expect(killed).toBe(1);
  });

  test("that ends in time is stopped in good order", async () => {
    const { environment, probe, start } = createHouse();
    const supervisor = await start([]);
    const rejected = supervisor.startChild(probe.child("slow", { startMs: 50 })).catch(String);
    const stopped = track(supervisor.stop());
    await environment.advance(50);
    expect(stopped.done).toBe(true);
    expect(probe.record).toEqual(["start slow", "stop slow"]);
    expect(await rejected).toContain("was stopped while it started");
  });
});

describe("A12 shutdown", () => {
  test("a child that misses its deadline is killed, the others end by themselves", async () => {
    const { environment, probe, events, start } = createHouse();
    const supervisor = await start([
      probe.child("quick", { stopMs: 10 }),
      probe.child("busy", { stopMs: 200_000, shutdown: 1_000 }),
    ]);
    const stopped = track(supervisor.stop());
    await environment.advance(999);
    expect(probe.record.slice(2)).toEqual(["stop busy"]);
    await environment.advance(11);
    expect(stopped.done).toBe(true);
    expect(probe.record.slice(2)).toEqual(["stop busy", "kill busy", "stop quick"]);
    expect(events.slice(-2).map((event) => event.kind)).toEqual(["child_killed", "child_stopped"]);
  });

  test("a brutal child is killed without being asked", async () => {
    const { probe, start } = createHouse();
    const supervisor = await start([probe.child("a", { shutdown: "brutal", stopMs: "never" })]);
    await supervisor.stop();
    expect(probe.record).toEqual(["start a", "kill a"]);
  });

  test("a child whose stop fails is killed, and the failure is reported", async () => {
    const { events, start } = createHouse();
    const record: string[] = [];
    const supervisor = await start([
      {
        id: "a",
        restart: "permanent",
        shutdown: 1_000,
        start: async () => ({
          stop: () => Promise.reject(new Error("cannot")),
          kill: () => record.push("kill"),
        }),
      },
    ]);
    await supervisor.stop();
    expect(record).toEqual(["kill"]);
    expect(events.at(-1)).toEqual({ kind: "child_killed", childId: "a", error: "Error: cannot" });
  });

  test("1,000 dynamic children of one second each end in one second", async () => {
    const { environment, probe, start } = createHouse();
    const supervisor = await start([probe.child("base")]);
    for (let n = 0; n < 1_000; n++) {
      await supervisor.startChild(probe.child(`d${n}`, { stopMs: 1_000, shutdown: 5_000 }));
    }
    const stopped = track(supervisor.stop());
    await environment.advance(1_000);
    expect(stopped.done).toBe(true);
    expect(probe.record.at(-1)).toBe("stop base");
  });

  test("dynamic children of the ordered strategies end in reverse order", async () => {
    const { environment, probe, start } = createHouse();
    const supervisor = await start([probe.child("a")], { strategy: "rest_for_one" });
    for (const id of ["b", "c"]) await supervisor.startChild(probe.child(id, { stopMs: 10 }));
    probe.take();
    const stopped = track(supervisor.stop());
    await environment.advance(10);
    expect(probe.record).toEqual(["stop c", "stop b"]);
    await environment.advance(10);
    expect(stopped.done).toBe(true);
  });

  test("stop twice is one stop, and a stop cancels restarts that wait", async () => {
    const { environment, probe, start } = createHouse();
    const backoff = { minMs: 500, maxMs: 500, jitter: 0, resetAfterMs: 1_000 };
    const supervisor = await start([probe.child("a"), probe.child("b")], { backoff });
    probe.exit("a");
    await environment.settle();
    expect(environment.pendingTimers()).toBe(1);
    await Promise.all([supervisor.stop(), supervisor.stop()]);
    expect(environment.pendingTimers()).toBe(0);
    await environment.advance(1_000);
    expect(probe.record).toEqual(["start a", "start b", "stop b"]);
  });

  test("kill ends every child at once, also while a stop waits", async () => {
    const { environment, probe, start } = createHouse();
    const supervisor = await start([probe.child("a"), probe.child("b", { stopMs: "never" })]);
    const stopped = track(supervisor.stop());
    await environment.settle();
    supervisor.kill();
    await environment.settle();
    expect(stopped.done).toBe(true);
    expect(probe.record.slice(2)).toEqual(["stop b", "kill b", "kill a"]);
    expect(environment.pendingTimers()).toBe(0);
    await supervisor.stop();
  });
});

test("A13 a child that ends without a word while it is stopped does not hang stop", async () => {
  const { environment, start } = createHouse();
  const supervisor = await start([
    {
      id: "gone",
      restart: "permanent",
      shutdown: 60_000,
      start: async (onExit) => ({
        stop() {
          onExit({ kind: "shutdown" });
          return new Promise<void>(() => undefined);
        },
        kill: () => undefined,
      }),
    },
  ]);
  const stopped = track(supervisor.stop());
  await environment.settle();
  expect(stopped.done).toBe(true);
});

describe("children that come and go", () => {
  test("a stopped child can be started again, and stays stopped when that fails", async () => {
    const { probe, start } = createHouse();
    const child = probe.child("a", { startFails: (count) => count === 1 });
    const supervisor = await start([child]);
    expect(await supervisor.restartChild("a")).toBe("running");
    expect(supervisor.deleteChild("a")).toBe("running");
    expect(await supervisor.stopChild("a")).toBe("stopped");
    const failed = await supervisor.restartChild("a").catch(String);
    expect(failed).toContain("child a did not start");
    expect(supervisor.which()).toEqual([{ id: "a", state: "stopped", restarts: 1 }]);
    expect(await supervisor.stopChild("a")).toBe("stopped");
    expect(await supervisor.restartChild("a")).toBe("started");
    expect(supervisor.which()).toEqual([{ id: "a", state: "running", restarts: 2 }]);
    expect(await supervisor.stopChild("nobody")).toBe("unknown");
    expect(supervisor.deleteChild("nobody")).toBe("unknown");
  });

  test("a child that does not start is not added; a duplicate is refused", async () => {
    const { probe, start } = createHouse();
    const supervisor = await start([probe.child("a")]);
    const failing = probe.child("b", { startFails: () => true });
    expect(await supervisor.startChild(failing).catch(String)).toContain("child b did not start");
    expect(await supervisor.startChild(probe.child("a")).catch(String)).toContain("not unique");
    expect(supervisor.counts()).toEqual({ specs: 1, active: 1, restarting: 0 });
    expect(probe.starts("a")).toBe(1);
  });

  test("a restart that waits is cancelled by stopping the child", async () => {
    const { environment, probe, start } = createHouse();
    const backoff = { minMs: 500, maxMs: 500, jitter: 0, resetAfterMs: 1_000 };
    const supervisor = await start([probe.child("a")], { backoff });
    probe.exit("a");
    await environment.settle();
    expect(await supervisor.stopChild("a")).toBe("stopped");
    expect(environment.pendingTimers()).toBe(0);
    await environment.advance(1_000);
    expect(probe.starts("a")).toBe(1);
  });

  test("two callers that stop one child see one stop", async () => {
    const { environment, probe, events, start } = createHouse();
    const supervisor = await start([probe.child("a", { stopMs: 10 })]);
    const both = track(Promise.all([supervisor.stopChild("a"), supervisor.stopChild("a")]));
    await environment.advance(10);
    expect(both.done).toBe(true);
    expect(probe.record).toEqual(["start a", "stop a"]);
    expect(events.filter((event) => event.kind === "child_stopped")).toHaveLength(1);
  });

  test("a sibling's failure takes over a child that is being stopped, as in OTP", async () => {
    const { environment, probe, start } = createHouse();
    const children = [probe.child("a"), probe.child("b", { stopMs: 10 })];
    const backoff = { minMs: 100, maxMs: 100, jitter: 0, resetAfterMs: 1_000 };
    const supervisor = await start(children, { strategy: "one_for_all", backoff });
    const stopped = track(supervisor.stopChild("b"));
    probe.exit("a");
    await environment.advance(50);
    expect(stopped.done).toBe(true);
    expect(supervisor.which().map((child) => child.state)).toEqual(["restarting", "restarting"]);
    await environment.advance(100);
    expect(supervisor.counts()).toEqual({ specs: 2, active: 2, restarting: 0 });
    expect(probe.record.slice(2)).toEqual(["stop b", "start a", "start b"]);
  });

  test("after stop nothing is started any more", async () => {
    const { probe, start } = createHouse();
    const supervisor = await start([probe.child("a")]);
    await supervisor.stop();
    const refused = await supervisor.startChild(probe.child("b")).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "CLOSED" });
    const again = await supervisor.restartChild("a").catch((error: unknown) => error);
    expect(again).toMatchObject({ code: "CLOSED" });
    expect(probe.starts("b")).toBe(0);
  });
});

test("A14 ten times the children cost about ten times the work, and leave nothing", async () => {
  const smallMs = await timeChildren(1_000);
  const largeMs = await timeChildren(10_000);
  expect(largeMs / smallMs).toBeLessThan(50);
});

/**
 * Starts, crashes and forgets `count` temporary children; returns the processor time it took, in
 * ms: on a busy machine a long run waits for others, and a short one may not.
 */
async function timeChildren(count: number): Promise<number> {
  const { environment, probe, start } = createHouse();
  const supervisor = await start([]);
  const started = process.cpuUsage();
  for (let n = 0; n < count; n++) {
    await supervisor.startChild(probe.child(`d${n}`, { restart: "temporary" }));
  }
  for (let n = 0; n < count; n += 2) probe.exit(`d${n}`);
  await environment.settle();
  expect(supervisor.counts().specs).toBe(count / 2);
  for (let n = 1; n < count; n += 2) await supervisor.stopChild(`d${n}`);
  const { user, system } = process.cpuUsage(started);
  expect(supervisor.which()).toEqual([]);
  expect(environment.pendingTimers()).toBe(0);
  return (user + system) / 1_000;
}

function createHouse(): House {
  const environment = createVirtualEnvironment(7);
  const events: SupervisorEvent[] = [];
  const usual = { id: "sup", strategy: "one_for_one", intensity: 3, periodMs: 5_000 } as const;
  return {
    environment,
    probe: createProbe(environment),
    events,
    start: (children, fields = {}) =>
      startSupervisor({ ...usual, children, ...fields }, environment, {
        onEvent: (event) => events.push(event),
      }),
  };
}

function track(promise: Promise<unknown>): { readonly done: boolean } {
  const state = { done: false };
  void promise.finally(() => (state.done = true));
  return state;
}
