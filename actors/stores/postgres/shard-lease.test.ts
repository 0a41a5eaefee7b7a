/**
 * Who may judge others by their silence: only those who have been heard long enough themselves. And
 * who asks for a beat gets one that sees what was done before.
 */

import { describe, expect, test } from "bun:test";

import type { BeatRun } from "./shard-lease.ts";
import type { LeaseRows } from "./shard-lease-rows.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { afterBeat, mayJudge, openShardLease } from "./shard-lease.ts";

const SETTINGS = { beatMs: 2_000, silentMs: 10_000 };

function afterBeats(...atMs: readonly number[]): boolean {
  let run: BeatRun | undefined;
  for (const nowMs of atMs) run = afterBeat(run, nowMs, SETTINGS);
  return run !== undefined && mayJudge(run, SETTINGS);
}

describe("a shard judges the silence of others", () => {
  test.each([
    ["never before its first beat", [], false],
    ["not when it has just come", [0], false],
    ["not after a few beats", [0, 2_000, 4_000, 6_000, 8_000], false],
    [
      "once it was regular for as long as others may be silent",
      [0, 2_000, 5_000, 9_000, 10_000],
      true,
    ],
    ["not when it was silent itself in between", [0, 2_000, 4_000, 9_500, 11_000], false],
    ["not after an outage of everybody", [0, 4_000, 8_000, 12_000, 60_000], false],
    ["again some time after an outage", [0, 60_000, 62_000, 66_000, 70_000], true],
  ] as const)("%s", (_name, beats, judges) => {
    expect(afterBeats(...beats)).toBe(judges);
  });
});

describe("a beat that is asked for", () => {
  test("sees what was fenced before, also when another had begun already", async () => {
    let fenced: readonly string[] = [];
    const looked = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    let looks = 0;
    const rows: LeaseRows = {
      register: async () => [],
      beat: async () => true,
      silent: async () => [],
      fence: async (id) => {
        fenced = [id];
        return true;
      },
      adopt: async () => {
        const found = fenced;
        if (++looks === 2) {
          looked.resolve();
          await held.promise;
        }
        return found;
      },
      forget: async () => [],
      retire: async () => undefined,
    };
    const seen: (readonly string[])[] = [];
    const lease = await openShardLease({
      environment: createVirtualEnvironment(),
      rows,
      process: "p",
      shard: 0,
      onFenced: () => undefined,
      onAdopted: (relayIds) => seen.push(relayIds),
    });
    const early = lease.beat();
    await looked.promise;
    await lease.fence(["dead"], "a test");
    const asked = [lease.beat(), lease.beat()];
    held.resolve();
    await Promise.all([early, ...asked]);
    expect(seen).toContainEqual(["dead"]);
    await lease.close();
  });
});
