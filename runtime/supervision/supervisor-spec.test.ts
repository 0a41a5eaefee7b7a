/**
 * A03: a specification that cannot be kept is refused before anything starts, naming the field.
 *
 * The types refuse most of this already; configuration and plain JavaScript do not see types.
 */

import { expect, test } from "bun:test";

import { ShopError } from "../errors.ts";
import { createVirtualEnvironment } from "../virtual-environment.ts";
import { createProbe } from "./probe-children.suite.ts";
import { startSupervisor } from "./supervisor.ts";

import type { SupervisorSpec } from "./child.ts";

type Change = Readonly<Record<string, unknown>>;

const BACKOFF = { minMs: 10, maxMs: 1_000, jitter: 0.2, resetAfterMs: 5_000 };

test.each<[string, Change]>([
  ["id", { id: "" }],
  ["strategy", { strategy: "one_for_two" }],
  ["intensity", { intensity: Infinity }],
  ["intensity", { intensity: -1 }],
  ["intensity", { intensity: 1.5 }],
  ["intensity", { intensity: undefined }],
  ["periodMs", { periodMs: 0 }],
  ["periodMs", { periodMs: Number.NaN }],
  ["periodMs", { periodMs: 3_000_000_000 }],
  ["perodMs", { perodMs: 5_000 }],
  ["children", { children: "a" }],
  ["backoff", { backoff: 10 }],
  ["backoff: minMs", { backoff: { ...BACKOFF, minMs: 0 } }],
  ["backoff: maxMs", { backoff: { ...BACKOFF, maxMs: 9 } }],
  ["backoff: jitter", { backoff: { ...BACKOFF, jitter: 1.1 } }],
  ["backoff: resetAfterMs", { backoff: { ...BACKOFF, resetAfterMs: -1 } }],
  ["backoff: factor", { backoff: { ...BACKOFF, factor: 2 } }],
])("A03 a supervisor's bad %s is refused by name: %j", async (field, change) => {
  const { refusal, record } = await refuse(change, {});
  expect(refusal.code).toBe("BAD_CONFIGURATION");
  expect(refusal.message).toContain(`${field}: `);
  expect(record).toEqual([]);
});

test.each<[string, Change]>([
  ["id", { id: 7 }],
  ["id", { id: "a" }],
  ["restart", { restart: "always" }],
  ["shutdown", { shutdown: -10 }],
  ["shutdown", { shutdown: Infinity }],
  ["shutdown", { shutdown: "infinity" }],
  ["start", { start: "a function" }],
  ["shutdwn", { shutdwn: 100 }],
])("A03 a child's bad %s is refused by name: %j", async (field, change) => {
  const { refusal, record } = await refuse({}, change);
  expect(refusal.code).toBe("BAD_CONFIGURATION");
  expect(refusal.message).toContain(`${field}: `);
  expect(record).toEqual([]);
});

test("A03 a bad dynamic child is refused and changes nothing", async () => {
  const environment = createVirtualEnvironment();
  const probe = createProbe(environment);
  const supervisor = await startSupervisor(specWith([probe.child("a")]), environment);
  const bad = { ...probe.child("b"), shutdown: -10 };
  const refused = await supervisor.startChild(bad).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "BAD_CONFIGURATION" });
  expect(supervisor.which()).toEqual([{ id: "a", state: "running", restarts: 0 }]);
});

async function refuse(
  ofSupervisor: Change,
  ofChild: Change,
): Promise<{ readonly refusal: ShopError; readonly record: readonly string[] }> {
  const environment = createVirtualEnvironment();
  const probe = createProbe(environment);
  const children = [probe.child("a"), { ...probe.child("b"), ...ofChild }];
  const spec = { ...specWith(children), ...ofSupervisor };
  const refusal = await startSupervisor(spec, environment).then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(refusal instanceof ShopError)) throw new Error(`not refused: ${String(refusal)}`);
  return { refusal, record: probe.record };
}

function specWith(children: SupervisorSpec["children"]): SupervisorSpec {
  return { id: "sup", strategy: "one_for_one", intensity: 3, periodMs: 5_000, children };
}
