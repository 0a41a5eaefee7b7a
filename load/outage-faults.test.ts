/**
 * The plan of a run of outages: repeated by its seed, within its bounds, with everything in it.
 */

import { expect, test } from "bun:test";

import { planOutages, VICTIMS } from "./outage-faults.ts";

const TERMS = { count: 200, victims: VICTIMS, pauseMsMax: 2_000, awayMsMax: 6_000 };

test("the same seed takes the same things away in the same order, another seed others", () => {
  expect(planOutages({ ...TERMS, seed: 7 })).toEqual(planOutages({ ...TERMS, seed: 7 }));
  expect(planOutages({ ...TERMS, seed: 7 })).not.toEqual(planOutages({ ...TERMS, seed: 8 }));
});

test("every victim is taken away, in both ways, with and without a broken shard", () => {
  const plan = planOutages({ ...TERMS, seed: 1 });
  expect(new Set(plan.map(({ victim }) => victim))).toEqual(new Set(VICTIMS));
  const servers = plan.filter(({ victim }) => victim !== "shop");
  expect(new Set(servers.map(({ how }) => how))).toEqual(new Set(["kill", "silence"]));
  expect(new Set(servers.map(({ shardFault }) => shardFault))).toEqual(
    new Set([undefined, "throw", "reject", "exit", "spin"]),
  );
  for (const { afterMs, awayMs, shardShare } of plan) {
    expect(afterMs).toBeWithin(20, 2_001);
    expect(awayMs).toBeWithin(0, 6_001);
    expect(shardShare).toBeWithin(0, 1);
  }
});

test("the shop itself is killed and started again at once, with nothing else broken", () => {
  const plan = planOutages({ ...TERMS, seed: 1, victims: ["shop"] });
  expect(plan).toHaveLength(TERMS.count);
  const facts = plan.map(({ victim, how, awayMs, shardFault }) => [
    victim,
    how,
    awayMs,
    shardFault,
  ]);
  expect(new Set(facts.map((each) => JSON.stringify(each)))).toEqual(
    new Set([JSON.stringify(["shop", "kill", 0, undefined])]),
  );
});
