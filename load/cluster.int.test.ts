/**
 * Two processes on a real Kafka and a real PostgreSQL: one is stopped, one is killed, one sleeps
 * through its session, and every order is looked at. Small figures; `bun load/cluster.ts` has the
 * large ones.
 */

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { ClusterTimes } from "./cluster-servers.ts";
import type { Scenario } from "./cluster-scenarios.ts";

import { whyMissing } from "../deploy/services/test-server.ts";
import { requireOrSkip } from "../runtime/testing/requirements.ts";
import { runCluster } from "./cluster-run.ts";

/** Longer than all that a broken run waits for: it is to end with its verdict. */
const TIMEOUT_MS = 900_000;
/** Who is gone is to be missed soon. */
const SHORT: ClusterTimes = { sessionMs: 3_000, beatMs: 500, silentMs: 3_000 };
/** Nobody is to be missed: not who leaves, and not who has the machine late. */
const LONG: ClusterTimes = { sessionMs: 10_000, beatMs: 1_000, silentMs: 10_000 };
const missing = (["kafka", "postgres"] as const).map(
  (name) => [name, whyMissing(name) ?? ""] as const,
);
const isThere = missing
  .map(([name, why]) => requireOrSkip(name, why === "", why))
  .every((each) => each);

const directory = mkdtempSync(join(tmpdir(), "cluster-test-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function run(scenario: Scenario) {
  return runCluster({
    scenario,
    directory: join(directory, scenario),
    processes: 2,
    ratePerSecond: 20,
    phaseMs: 2_000,
    slots: 8,
    seed: 1,
    runId: scenario,
    times: scenario === "leave" ? LONG : SHORT,
    restDeadlineMs: 60_000,
    command: [process.execPath, "gateway/main.ts"],
    log: () => undefined,
  });
}

describe.skipIf(!isThere)("a cluster of two processes", () => {
  test(
    "hands over what one has that stops in order: nobody is fenced and no commit is refused",
    async () => {
      const { verdict, recovery, lateCommits } = await run("leave");
      expect(verdict.violations).toEqual([]);
      expect(lateCommits).toBe(0);
      expect(recovery.movedMs).toBeDefined();
    },
    TIMEOUT_MS,
  );

  test(
    "loses nothing and doubles nothing when one is killed, and the other goes on with its slots",
    async () => {
      const { verdict, recovery } = await run("kill");
      expect(verdict.violations).toEqual([]);
      expect(verdict.counts.acknowledged).toBeGreaterThan(50);
      expect(recovery.movedMs).toBeDefined();
    },
    TIMEOUT_MS,
  );

  test(
    "fences one that was taken for dead, and takes it back when it wakes",
    async () => {
      const { verdict, marks } = await run("pause");
      expect(verdict.violations).toEqual([]);
      expect(marks).toHaveProperty("back");
    },
    TIMEOUT_MS,
  );
});
