/**
 * Times of a cluster that go together, and times that do not. Each refusal must name both settings.
 */

import { describe, expect, test } from "bun:test";

import { LEASE_SETTINGS } from "../../actors/stores/postgres/shard-lease.ts";
import { contradictoryCluster } from "./cluster-settings.ts";

describe("times of a cluster", () => {
  test("go together by default", () => {
    expect(contradictoryCluster(LEASE_SETTINGS)).toEqual([]);
  });

  test.each([
    [{ beatMs: 500, silentMs: 1_500 }, 0],
    [{ beatMs: 501, silentMs: 1_500 }, 1],
    [{ beatMs: 5_000, silentMs: 1_000 }, 1],
  ])("of %j have %d contradictions", (times, count) => {
    const found = contradictoryCluster(times);
    expect(found).toHaveLength(count);
    for (const line of found) expect(line).toContain("cluster.beatMs");
  });
});
