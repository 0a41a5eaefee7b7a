/**
 * Escalation: each level gives up in its turn, and the root ends the process.
 *
 * On a virtual clock; the exit of the process is a function that notes its code.
 */

import { expect, test } from "bun:test";

import { createVirtualEnvironment } from "../virtual-environment.ts";
import { createProbe, CRASH } from "./probe-children.suite.ts";
import { superviseRoot, supervisorChild } from "./supervision-tree.ts";
import { startSupervisor } from "./supervisor.ts";

import type { ChildSpec, SupervisorSpec } from "./child.ts";
import type { Supervisor } from "./supervisor.ts";

test("A09 a child that never restarts: each level gives up, then the process", async () => {
  const environment = createVirtualEnvironment();
  const probe = createProbe(environment);
  const gaveUp: string[] = [];
  const codes: number[] = [];
  const onEvent = (event: { readonly kind: string }, id: string): void => {
    if (event.kind === "gave_up") gaveUp.push(id);
  };
  const bad = probe.child("bad", { startFails: (count) => count > 0 });
  const inner = supervisorChild(family("inner", [bad]), environment, { onEvent });
  const middle = supervisorChild(family("middle", [inner]), environment, { onEvent });
  const root = family("root", [probe.child("base"), middle]);
  await superviseRoot(root, environment, (code) => codes.push(code), { onEvent });
  probe.exit("bad");
  await environment.advance(5_000);
  expect(gaveUp).toEqual(["inner", "middle", "root"]);
  expect(codes).toEqual([1]);
  // Two restarts in inner; a refused start is a failed start of inner, and of middle, twice each.
  expect(probe.starts("bad")).toBe(1 + 2 + 2 + 2);
  expect(probe.record.at(-1)).toBe("stop base");
});

test("A09 the outer supervisor starts an inner one again, with all its children", async () => {
  const environment = createVirtualEnvironment();
  const probe = createProbe(environment);
  const codes: number[] = [];
  const incarnations: Supervisor[] = [];
  const inner = supervisorChild(
    family("inner", [probe.child("a"), probe.child("b")]),
    environment,
    {
      onStart: (supervisor) => incarnations.push(supervisor),
    },
  );
  await superviseRoot(family("root", [inner]), environment, (code) => codes.push(code));
  for (let crash = 0; crash < 3; crash++) {
    probe.exit("a");
    await environment.settle();
  }
  expect([probe.running("a"), probe.running("b")]).toEqual([4, 2]);
  expect(incarnations).toHaveLength(2);
  expect(incarnations[1]?.counts()).toEqual({ specs: 2, active: 2, restarting: 0 });
  expect(codes).toEqual([]);
});

test("a root whose first start fails rejects and does not exit by itself", async () => {
  const environment = createVirtualEnvironment();
  const probe = createProbe(environment);
  const codes: number[] = [];
  const inner = supervisorChild(
    family("inner", [probe.child("a"), probe.child("b", { startFails: () => true })]),
    environment,
  );
  const rejected = await superviseRoot(family("root", [inner]), environment, (code) =>
    codes.push(code),
  ).catch((error: unknown) => error);
  expect(String(rejected)).toContain("child inner did not start");
  expect(String(rejected)).toContain("child b did not start");
  expect(probe.take()).toEqual(["start a", "start b", "stop a"]);
  expect(codes).toEqual([]);
});

test("stopping the root stops the whole tree in reverse order and does not exit", async () => {
  const environment = createVirtualEnvironment();
  const probe = createProbe(environment);
  const codes: number[] = [];
  const inner = supervisorChild(family("inner", [probe.child("b"), probe.child("c")]), environment);
  const children = [probe.child("a"), inner, probe.child("d")];
  const root = await superviseRoot(family("root", children), environment, (code) =>
    codes.push(code),
  );
  probe.take();
  await root.stop();
  expect(probe.take()).toEqual(["stop d", "stop c", "stop b", "stop a"]);
  expect(codes).toEqual([]);
});

test("a stop that was asked for while the tree gives up is not an exit", async () => {
  const environment = createVirtualEnvironment();
  const probe = createProbe(environment);
  const codes: number[] = [];
  const children = [probe.child("slow", { stopMs: 100 }), probe.child("a")];
  const spec = { ...family("root", children), intensity: 0 };
  const root = await superviseRoot(spec, environment, (code) => codes.push(code));
  probe.exit("a", CRASH);
  const stopped = root.stop();
  await environment.advance(100);
  await stopped;
  expect(codes).toEqual([]);
});

test("an inner supervisor that hangs in its start is abandoned with its children", async () => {
  const environment = createVirtualEnvironment();
  const probe = createProbe(environment);
  const hanging = family("inner", [probe.child("a"), probe.child("h", { startMs: "never" })]);
  const root = await startSupervisor(family("root", []), environment);
  const child = supervisorChild(hanging, environment, { shutdownMs: 200 });
  const rejected = root.startChild(child).catch(String);
  const stopped = root.stop();
  await environment.advance(200);
  await stopped;
  expect(await rejected).toContain("was stopped while it started");
  expect(probe.take()).toEqual(["start a", "start h", "kill a"]);
  expect(probe.running("a")).toBe(0);
});

test.each([1, 2])("a start that is abandoned right after child %i fails", async (count) => {
  const environment = createVirtualEnvironment();
  const probe = createProbe(environment);
  const abandonment = new AbortController();
  let started = 0;
  const children = ["a", "b"].map((id) => probe.child(id));
  const rejected = await startSupervisor(family("inner", children), environment, {
    abandoned: abandonment.signal,
    onEvent(event) {
      if (event.kind !== "child_started" || ++started !== count) return;
      void Promise.resolve().then(() => abandonment.abort());
    },
  }).catch((error: unknown) => error);
  expect(rejected).toMatchObject({ code: "CLOSED" });
  expect(probe.starts("b")).toBe(count - 1);
  expect([probe.running("a"), probe.running("b")]).toEqual([0, 0]);
});

test("a nested supervisor has time for all its children by default", () => {
  const environment = createVirtualEnvironment();
  const probe = createProbe(environment);
  const children = [
    probe.child("a", { shutdown: 2_000 }),
    probe.child("b", { shutdown: "brutal" }),
    probe.child("c", { shutdown: 500 }),
  ];
  expect(supervisorChild(family("inner", children), environment)).toMatchObject({
    id: "inner",
    restart: "permanent",
    shutdown: 3_500,
  });
});

function family(id: string, children: readonly ChildSpec[]): SupervisorSpec {
  return { id, strategy: "one_for_one", intensity: 2, periodMs: 5_000, children };
}
