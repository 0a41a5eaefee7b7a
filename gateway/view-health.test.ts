/** When a view is well and when it is not: a table over what was counted. */

import { expect, test } from "bun:test";

import type { Sample } from "../runtime/threads/counter-page.ts";

import { viewHealth } from "./view-health.ts";

const LAG_DEGRADED_MS = 10_000;
const CHECKED_MS = 5;

function healthOf(counted: {
  readonly failing?: number;
  readonly lagSeconds?: number;
  readonly lagRecords?: number;
  readonly isRunning?: boolean;
}) {
  const sample = (name: string, view: string, value: number): Sample => ({
    kind: "gauge",
    name: `shopstream_view_${name}`,
    help: "",
    labels: { view },
    value,
  });
  const samples = [
    sample("failing", "analytics", 1),
    sample("lag_seconds", "analytics", 900),
    sample("failing", "audit", counted.failing ?? 0),
    sample("lag_seconds", "audit", counted.lagSeconds ?? 0),
    sample("lag_records", "audit", counted.lagRecords ?? 7),
  ];
  const isRunning = counted.isRunning ?? true;
  const options = { samples, isRunning, lagDegradedMs: LAG_DEGRADED_MS, checkedMs: CHECKED_MS };
  return viewHealth("audit", options);
}

test("a view that works and keeps up is up, whatever another one does", () => {
  expect(healthOf({ lagSeconds: 2 })).toEqual({
    name: "audit",
    status: "up",
    latencyMs: 2_000,
    errorRate: 0,
    lastCheckedMs: CHECKED_MS,
  });
  expect(healthOf({ lagSeconds: 10 }).status).toBe("up");
});

test("a view that is late, fails or does not run is degraded and says which, and how far", () => {
  const late = healthOf({ lagSeconds: 10.5 });
  expect(late).toMatchObject({ status: "degraded", errorRate: 0 });
  expect(late.detail).toBe("it is late: 7 records behind, the oldest of them 10.5 s");
  const failing = healthOf({ failing: 1 });
  expect(failing).toMatchObject({ status: "degraded", errorRate: 1 });
  expect(failing.detail).toContain("its last try failed");
  const gone = healthOf({ isRunning: false });
  expect(gone).toMatchObject({ status: "degraded", errorRate: 1 });
  expect(gone.detail).toContain("does not run");
});

test("a view of which nobody knows how far it is says no number", () => {
  expect(healthOf({ failing: 1, lagRecords: 0 }).detail).toBe("its last try failed");
  expect(healthOf({ failing: 1, lagRecords: 3, lagSeconds: 4 }).detail).toBe(
    "its last try failed: 3 records behind, the oldest of them 4 s",
  );
});
