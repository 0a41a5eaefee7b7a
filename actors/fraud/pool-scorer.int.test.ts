/**
 * The real scoring pool: threads that answer, hang, die and end, and a shard that outlives them.
 */

import { afterEach, expect, test } from "bun:test";

import type { Scorer, ScoringTask } from "./score-batch.ts";

import { systemEnvironment } from "../../runtime/system-environment.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { createFraudCheck } from "./embedded-fraud-check.ts";
import { fraudOrder } from "./fraud-order.suite.ts";
import { createPoolScorer } from "./pool-scorer.ts";
import { createBatchScorer } from "./score-batch.ts";
import { FRAUD_SETTINGS, FRAUD_THRESHOLDS } from "./thresholds.ts";

const { signal } = new AbortController();
const HOSTILE = new URL("hostile-scorer.fixture.ts", import.meta.url);
const deny = { ...FRAUD_THRESHOLDS.deny, cards: ["fp9"] };
const THRESHOLDS = { ...FRAUD_THRESHOLDS, deny };

const open: Scorer[] = [];
afterEach(async () => {
  for (const scorer of open.splice(0)) await scorer.close();
});

function createScorer(changes: Partial<Parameters<typeof createPoolScorer>[0]> = {}): Scorer {
  const scorer = createPoolScorer({
    environment: systemEnvironment,
    thresholds: THRESHOLDS,
    ...changes,
  });
  open.push(scorer);
  return scorer;
}

function taskOf(orderId: string): ScoringTask {
  return { nowMs: 1_700_000_000_000, orders: [fraudOrder({ orderId })], profiles: [] };
}

test("a batch scored on the pool comes out as it does in place", async () => {
  const score = createBatchScorer(THRESHOLDS);
  const scorer = createScorer();
  const orders = ["fp1", "fp9"].map((card, at) => fraudOrder({ orderId: `o${at}`, card }));
  const first: ScoringTask = { ...taskOf("o"), orders };
  const scored = await scorer.score(first, signal);
  expect(scored).toEqual(score(first));
  expect(scored.verdicts[1]).toEqual({ decision: "block", score: 100, rules: ["deny_card"] });
  const second: ScoringTask = { ...first, profiles: scored.profiles };
  expect(await scorer.score(second, signal)).toEqual(score(second));
});

test("a thread that hangs is ended with its batch, and the next batch gets another", async () => {
  const scorer = createScorer({ worker: HOSTILE });
  await scorer.score(taskOf("fine"), signal);
  const controller = new AbortController();
  const hanging = scorer.score(taskOf("hang"), controller.signal);
  controller.abort();
  expect(hanging).rejects.toMatchObject({ code: "CHECK_UNAVAILABLE", retry: "later" });
  const { verdicts } = await scorer.score(taskOf("fine"), signal);
  expect(verdicts).toHaveLength(1);
});

for (const fate of ["exit", "throw"]) {
  test(`a batch whose scoring ends in "${fate}" is held, and the next is scored`, async () => {
    const scorer = createScorer({ worker: HOSTILE });
    const failing = scorer.score(taskOf(fate), signal);
    expect(failing).rejects.toMatchObject({ code: "CHECK_UNAVAILABLE", retry: "later" });
    const { verdicts } = await scorer.score(taskOf("fine"), signal);
    expect(verdicts).toHaveLength(1);
  });
}

test("a thread that fails between two batches is reported and replaced", async () => {
  const trouble = Promise.withResolvers<string>();
  const scorer = createScorer({ worker: HOSTILE, onTrouble: trouble.resolve });
  await scorer.score(taskOf("fail later"), signal);
  expect(await trouble.promise).toContain("failed between two batches");
  const { verdicts } = await scorer.score(taskOf("fine"), signal);
  expect(verdicts).toHaveLength(1);
});

test("a worker that cannot be loaded holds its batches", async () => {
  const scorer = createScorer({ worker: new URL("no-such-worker.ts", import.meta.url) });
  const failing = scorer.score(taskOf("o1"), AbortSignal.timeout(2_000));
  expect(failing).rejects.toMatchObject({ code: "CHECK_UNAVAILABLE" });
});

test("closing while the first thread still starts is orderly, and final", async () => {
  const scorer = createScorer();
  const score = scorer.score(taskOf("o1"), signal).catch((error: unknown) => error);
  await scorer.close();
  await scorer.close();
  await score;
  const late = scorer.score(taskOf("o2"), signal);
  expect(late).rejects.toMatchObject({ code: "CLOSED" });
});

test("the whole check holds an order while its pool hangs and passes it afterwards", async () => {
  const store = createMemoryStore({ environment: systemEnvironment });
  const pool = createScorer({ worker: HOSTILE });
  let scoring: Promise<unknown> = Promise.resolve();
  const check = createFraudCheck({
    store,
    environment: systemEnvironment,
    scorer: {
      ...pool,
      score(...task) {
        const scored = pool.score(...task);
        scoring = scored;
        return scored;
      },
    },
    settings: { ...FRAUD_SETTINGS, timeoutMs: 1_500 },
  });
  // A thread may take longer to start than a check may take: no check is the first to use one.
  await pool.score(taskOf("fine"), signal);
  await check.check(fraudOrder({ orderId: "fine" }), signal);
  const held = check.check(fraudOrder({ orderId: "hang" }), signal);
  expect(held).rejects.toMatchObject({ code: "CHECK_UNAVAILABLE" });
  expect(store.rows("fraud").map(({ key }) => key)).not.toContain("order:hang");
  // The thread that hung is gone by the time its batch was given up.
  await scoring.catch(() => undefined);
  await pool.score(taskOf("fine"), signal);
  const deadline = AbortSignal.timeout(20_000);
  for (;;) {
    deadline.throwIfAborted();
    const verdict = await check
      .check(fraudOrder({ orderId: "o2" }), signal)
      .catch((error: unknown) => error);
    if (verdict instanceof Error) continue;
    expect(verdict).toMatchObject({ decision: "pass" });
    break;
  }
  await check.close();
});

test("a pool does not keep its process alive, nor the thread that it belongs to", async () => {
  const path = new URL("scoring-process.fixture.ts", import.meta.url).pathname;
  const child = Bun.spawn([process.execPath, path], { stdout: "pipe", stderr: "pipe" });
  const [text, errors, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  expect([text.trim(), errors, code]).toEqual(["pass", "", 0]);
});
