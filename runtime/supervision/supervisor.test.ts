/**
 * Supervision as OTP means it, on a virtual clock: order, strategies, intensity, back-off.
 *
 * Numbers are those of the conformance list. What stops, hangs and is killed is in
 * `supervisor-stop.test.ts`, nested supervisors in `supervision-tree.test.ts`.
 */

import { expect, test } from "bun:test";

import { ShopError } from "../errors.ts";
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
  readonly givenUp: Error[];
  start(fields: Partial<SupervisorSpec>): Promise<Supervisor>;
}

test("A01 children start in order, and the rest of them are replaced in order", async () => {
  const { environment, probe, start } = createHouse();
  const ids = ["ch7", "ch3", "ch10", "ch2", "ch5"];
  const children = ids.map((id) => probe.child(id));
  const supervisor = await start({ strategy: "rest_for_one", children });
  expect(probe.take()).toEqual(ids.map((id) => `start ${id}`));

  probe.exit("ch10");
  await environment.settle();
  const replaced = ["stop ch5", "stop ch2", "start ch10", "start ch2", "start ch5"];
  expect(probe.take()).toEqual(replaced);

  await supervisor.stop();
  expect(probe.take()).toEqual(ids.toReversed().map((id) => `stop ${id}`));
});

test("A02 a failing start stops the earlier children in reverse and leaves nothing", async () => {
  const { environment, probe, start } = createHouse();
  const children = ["a", "b", "c", "d", "e"].map((id) =>
    probe.child(id, { startFails: () => id === "c" }),
  );
  const rejected = await start({ children }).catch((error: unknown) => error);
  expect(rejected).toMatchObject({ message: "child c did not start: Error: c refuses" });
  expect(rejected).toHaveProperty("cause.message", "c refuses");
  expect(probe.take()).toEqual(["start a", "start b", "start c", "stop b", "stop a"]);
  expect(environment.pendingTimers()).toBe(0);
});

test("A02 an expected failure of a start stays one, with its code", async () => {
  const { start } = createHouse();
  const cause = new ShopError("DATA_DIRECTORY_IN_USE", "./data is in use", "never");
  const child = specOf("journal", () => Promise.reject(cause));
  const rejected = await start({ children: [child] }).catch((error: unknown) => error);
  expect(rejected).toMatchObject({ code: "DATA_DIRECTORY_IN_USE", retry: "never", cause });
});

test("a start that throws at once is a failed start", async () => {
  const { start } = createHouse();
  const child = specOf("hasty", () => {
    throw new Error("at once");
  });
  const rejected = await start({ children: [child] }).catch((error: unknown) => error);
  expect(rejected).toMatchObject({ message: "child hasty did not start: Error: at once" });
});

test("A04 a transient child that ended stays listed, a temporary one is forgotten", async () => {
  const { environment, probe, start } = createHouse();
  const children = [
    probe.child("permanent"),
    probe.child("transient", { restart: "transient" }),
    probe.child("temporary", { restart: "temporary" }),
  ];
  const supervisor = await start({ children });
  for (const child of children) probe.exit(child.id, { kind: "normal" });
  await environment.settle();
  expect(supervisor.which()).toEqual([
    { id: "permanent", state: "running", restarts: 1 },
    { id: "transient", state: "stopped", restarts: 0 },
  ]);
  expect(await supervisor.restartChild("temporary")).toBe("unknown");
});

test.each(["one_for_all", "rest_for_one"] as const)(
  "A05 under %s a temporary sibling is stopped and not restarted",
  async (strategy) => {
    const { environment, probe, givenUp, start } = createHouse();
    const children = [probe.child("a"), probe.child("t", { restart: "temporary" })];
    const supervisor = await start({ strategy, children });
    probe.take();
    probe.exit("a");
    await environment.settle();
    expect(probe.take()).toEqual(["stop t", "start a"]);
    expect(supervisor.which()).toEqual([{ id: "a", state: "running", restarts: 1 }]);
    expect(givenUp).toEqual([]);
  },
);

test("A06 one for one: the other child is not touched", async () => {
  const { environment, probe, start } = createHouse();
  const supervisor = await start({ children: [probe.child("a"), probe.child("b")] });
  probe.exit("a");
  await environment.settle();
  expect([probe.running("a"), probe.running("b")]).toEqual([2, 1]);
  expect(supervisor.counts()).toEqual({ specs: 2, active: 2, restarting: 0 });
});

test.each([
  ["one_for_all", [2, 2, 2]],
  ["rest_for_one", [1, 2, 2]],
] as const)("A07 %s replaces the right ones when the middle one fails", async (strategy, lives) => {
  const { environment, probe, start } = createHouse();
  const children = ["a", "b", "c"].map((id) => probe.child(id, { stopMs: 5 }));
  await start({ strategy, children });
  probe.take();
  probe.exit("b");
  await environment.advance(20);
  expect(["a", "b", "c"].map((id) => probe.running(id))).toEqual([...lives]);
  const firstStart = probe.record.findIndex((line) => line.startsWith("start"));
  const lastStop = probe.record.findLastIndex((line) => line.startsWith("stop"));
  expect(lastStop).toBeLessThan(firstStart);
});

test("A07 what an old incarnation says later is not heard", async () => {
  const { environment, givenUp, start } = createHouse();
  const exits: (() => void)[] = [];
  const child = specOf("a", (onExit) => {
    exits.push(() => onExit({ kind: "abnormal", error: new Error("crash") }));
    return Promise.resolve({ stop: () => Promise.resolve(), kill: () => undefined });
  });
  const supervisor = await start({ children: [child] });
  exits[0]?.();
  exits[0]?.();
  await environment.settle();
  exits[0]?.();
  await environment.settle();
  expect(supervisor.which()).toEqual([{ id: "a", state: "running", restarts: 1 }]);
  expect(givenUp).toEqual([]);
});

test("A08 more restarts than the intensity within the period: it gives up", async () => {
  const { environment, probe, events, givenUp, start } = createHouse();
  const children = [probe.child("bystander"), probe.child("a")];
  await start({ intensity: 2, periodMs: 1_000, children });
  for (let crash = 0; crash < 3; crash++) {
    expect(givenUp).toEqual([]);
    probe.exit("a");
    await environment.settle();
  }
  expect(givenUp).toHaveLength(1);
  expect(givenUp[0]?.message).toContain("gave up, child a ended: 3 restarts");
  expect(givenUp[0]?.cause).toMatchObject({ message: "crash" });
  expect(probe.take().slice(-1)).toEqual(["stop bystander"]);
  expect(events.map((event) => event.kind)).toContain("gave_up");
});

test("A08 restarts further apart than the period never add up", async () => {
  const { environment, probe, givenUp, start } = createHouse();
  await start({ intensity: 1, periodMs: 1_000, children: [probe.child("a")] });
  for (let crash = 0; crash < 4; crash++) {
    probe.exit("a");
    await environment.advance(2_100);
  }
  expect(probe.starts("a")).toBe(5);
  expect(givenUp).toEqual([]);
});

test("A10 one for all: a restart that fails begins again with the whole set", async () => {
  const { environment, probe, start } = createHouse();
  const children = [
    probe.child("c1"),
    probe.child("c2", { startFails: (count) => count === 1 }),
    probe.child("c3"),
  ];
  await start({ strategy: "one_for_all", children });
  probe.take();
  probe.exit("c1");
  await environment.settle();
  const first = ["stop c3", "stop c2", "start c1", "start c2"];
  expect(probe.take()).toEqual([...first, "stop c1", "start c1", "start c2", "start c3"]);
});

test("A10 rest for one: a restart that fails leaves the earlier child alone", async () => {
  const { environment, probe, start } = createHouse();
  const children = [
    probe.child("c1"),
    probe.child("c2", { startFails: (count) => count === 1 }),
    probe.child("c3"),
  ];
  await start({ strategy: "rest_for_one", children });
  probe.take();
  probe.exit("c1");
  await environment.settle();
  const first = ["stop c3", "stop c2", "start c1", "start c2"];
  expect(probe.take()).toEqual([...first, "start c2", "start c3"]);
});

test("a restarted child that fails while its siblings still start is replaced too", async () => {
  const { environment, probe, start } = createHouse();
  const children = [probe.child("a"), probe.child("b"), probe.child("c", { startMs: 10 })];
  const starting = start({ strategy: "rest_for_one", intensity: 5, children });
  await environment.advance(10);
  const supervisor = await starting;
  probe.exit("a");
  await environment.advance(5);
  probe.exit("b");
  await environment.advance(50);
  expect(supervisor.counts()).toEqual({ specs: 3, active: 3, restarting: 0 });
  expect([probe.starts("a"), probe.starts("b"), probe.starts("c")]).toEqual([2, 3, 3]);
});

test("a sibling that ends before its turn to be stopped is not one more failure", async () => {
  const { environment, probe, givenUp, start } = createHouse();
  const children = [probe.child("a"), probe.child("b"), probe.child("c", { stopMs: 10 })];
  const supervisor = await start({ strategy: "one_for_all", intensity: 1, children });
  probe.take();
  probe.exit("b");
  await environment.advance(5);
  probe.exit("a");
  await environment.advance(50);
  expect(probe.take()).toEqual(["stop c", "start a", "start b", "start c"]);
  expect(givenUp).toEqual([]);
  expect(supervisor.counts()).toEqual({ specs: 3, active: 3, restarting: 0 });
});

test("a child that ends before its siblings have started is seen to afterwards", async () => {
  const { environment, probe, start } = createHouse();
  const children = [probe.child("a"), probe.child("slow", { startMs: 10 })];
  const starting = start({ children });
  await environment.advance(5);
  probe.exit("a");
  await environment.advance(5);
  const supervisor = await starting;
  await environment.settle();
  expect(supervisor.which().map((child) => child.state)).toEqual(["running", "running"]);
  expect(probe.running("a")).toBe(2);
});

test("a child that ends before it has said that it started has not started", async () => {
  const { start } = createHouse();
  const child = specOf("brief", (onExit) => {
    onExit({ kind: "normal" });
    return Promise.resolve({ stop: () => Promise.resolve(), kill: () => undefined });
  });
  const rejected = await start({ children: [child] }).catch((error: unknown) => error);
  expect(rejected).toHaveProperty("cause.message", "ended (normal) before it had started");
});

test("A13 children that wait for their restart are listed and counted as such", async () => {
  const { environment, probe, start } = createHouse();
  const backoff = { minMs: 100, maxMs: 100, jitter: 0, resetAfterMs: 1_000 };
  const children = ["a", "b", "c"].map((id) => probe.child(id));
  const supervisor = await start({ backoff, children });
  probe.exit("a");
  probe.exit("b");
  await environment.settle();
  expect(supervisor.counts()).toEqual({ specs: 3, active: 1, restarting: 2 });
  const states = supervisor.which().map((child) => child.state);
  expect(states).toEqual(["restarting", "restarting", "running"]);
  await environment.advance(100);
  expect(supervisor.counts()).toEqual({ specs: 3, active: 3, restarting: 0 });
});

test("A15 restarts wait longer and longer, and start over after a long run", async () => {
  const { environment, probe, events, start } = createHouse();
  const backoff = { minMs: 10, maxMs: 1_000, jitter: 0.2, resetAfterMs: 5_000 };
  await start({ backoff, intensity: 12, periodMs: 60_000, children: [probe.child("a")] });
  for (let n = 0; n < 10; n++) {
    probe.exit("a");
    await environment.advance(1_200);
  }
  await environment.advance(5_000);
  probe.exit("a");
  await environment.settle();
  const delaysMs = events.flatMap((event) =>
    event.kind === "child_restarting" ? [event.afterMs] : [],
  );
  const expectedMs = [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000, 1_000, 10];
  expect(delaysMs).toHaveLength(expectedMs.length);
  for (const [index, delayMs] of delaysMs.entries()) {
    const middleMs = expectedMs[index] ?? 0;
    expect(Math.abs(delayMs - middleMs)).toBeLessThanOrEqual(middleMs * 0.2);
  }
  expect(new Set(delaysMs.slice(7, 10)).size).toBe(3);
});

test("A15 it fails after the last restart that the intensity allows", async () => {
  const { environment, probe, givenUp, start } = createHouse();
  const backoff = { minMs: 10, maxMs: 100, jitter: 0, resetAfterMs: 5_000 };
  const child = probe.child("a", { startFails: (count) => count > 0 });
  await start({ backoff, intensity: 4, periodMs: 60_000, children: [child] });
  probe.exit("a");
  await environment.advance(1_000);
  expect(probe.starts("a")).toBe(5);
  expect(givenUp).toHaveLength(1);
  expect(environment.pendingTimers()).toBe(0);
});

function createHouse(): House {
  const environment = createVirtualEnvironment(7);
  const events: SupervisorEvent[] = [];
  const givenUp: Error[] = [];
  return {
    environment,
    probe: createProbe(environment),
    events,
    givenUp,
    start: (fields) =>
      startSupervisor(
        {
          id: "sup",
          strategy: "one_for_one",
          intensity: 3,
          periodMs: 5_000,
          children: [],
          ...fields,
        },
        environment,
        {
          onEvent: (event) => events.push(event),
          onGiveUp: (error) => givenUp.push(error),
        },
      ),
  };
}

function specOf(id: string, start: ChildSpec["start"]): ChildSpec {
  return { id, restart: "permanent", shutdown: 100, start };
}
