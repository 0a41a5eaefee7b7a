/**
 * The fraud check of a shard as configured: on, off, and with the thresholds that were set. Scored
 * in place; the pool has tests of its own.
 */

import { expect, test } from "bun:test";

import type { FraudThresholds } from "./thresholds.ts";
import type { ShardFraudSettings } from "./shard-fraud.ts";

import { InvariantError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { fraudOrder } from "./fraud-order.suite.ts";
import { createInlineScorer } from "./score-batch.ts";
import { createShardFraud } from "./shard-fraud.ts";
import { FRAUD_THRESHOLDS } from "./thresholds.ts";

const { signal } = new AbortController();
const SETTINGS: ShardFraudSettings = {
  ...FRAUD_THRESHOLDS,
  mode: "block",
  timeoutMs: 300,
  gatherMs: 7,
};

function setUp(changes: Partial<ShardFraudSettings>, createScorer = createInlineScorer) {
  const environment = createVirtualEnvironment();
  const store = createMemoryStore({ environment });
  const durationsMs: number[] = [];
  const check = createShardFraud(
    { ...SETTINGS, ...changes },
    {
      environment,
      store,
      createScorer,
      onVerdict: ({ durationMs }) => void durationsMs.push(durationMs),
      onLog: () => undefined,
    },
  );
  return { environment, check, durationsMs };
}

test("a shard whose check is off has none", () => {
  expect(setUp({ mode: "off" }).check).toBeUndefined();
});

test("a shard checks by the thresholds and in the time that were set", async () => {
  const deny = { ...FRAUD_THRESHOLDS.deny, customers: ["ada"] };
  const { check, environment, durationsMs } = setUp({ deny });
  const verdict = check?.check(fraudOrder(), signal);
  await environment.advance(7);
  expect(await verdict).toMatchObject({ decision: "block", rules: ["deny_customer"] });
  expect(durationsMs).toEqual([7]);
});

test("a shard holds an order whose verdict does not come in the time that was set", async () => {
  const silent = (thresholds: FraudThresholds) => ({
    ...createInlineScorer(thresholds),
    score: () => new Promise<never>(() => {}),
  });
  const { check, environment } = setUp({}, silent);
  const held = check?.check(fraudOrder(), signal).catch((error: unknown) => error);
  await environment.advance(300);
  expect(await held).toMatchObject({ code: "CHECK_UNAVAILABLE" });
});

test("a shard does not start with thresholds that contradict each other", () => {
  expect(() => setUp({ blockScore: 0 })).toThrow(InvariantError);
});
