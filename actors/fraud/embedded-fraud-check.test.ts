/**
 * The fraud check over a store in memory: batches, races between shards, repeats, and everything
 * that may go wrong, none of which is an approval.
 */

import { describe, expect, test } from "bun:test";

import type { StoreStep } from "../stores/memory-store.ts";
import type { VerdictReport } from "./embedded-fraud-check.ts";
import type { FraudCheck, FraudOrder, Verdict } from "./fraud-check.ts";
import type { Scorer, ScoringTask } from "./score-batch.ts";
import type { FraudSettings, FraudThresholds } from "./thresholds.ts";

import { isShopError, ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { createFraudCheck } from "./embedded-fraud-check.ts";
import { fraudOrder } from "./fraud-order.suite.ts";
import { customerKeyOf, decodeCustomer } from "./fraud-profile.ts";
import { createInlineScorer } from "./score-batch.ts";
import { FRAUD_SETTINGS, FRAUD_THRESHOLDS } from "./thresholds.ts";

const { signal } = new AbortController();
const { timeoutMs, gatherMs, batchMax } = FRAUD_SETTINGS;
const PASS: Verdict = { decision: "pass", score: 0, rules: [] };

function setUp(
  options: { readonly thresholds?: Partial<FraudThresholds>; readonly jitterMs?: number } = {},
) {
  const environment = createVirtualEnvironment();
  const faults = new Map<StoreStep, ShopError[]>();
  const tasks: ScoringTask[] = [];
  const reports: VerdictReport[] = [];
  const counts = { commits: 0, loads: 0 };
  const pause = (delayMs: number) =>
    new Promise<void>((resolve) => void environment.startTimer(delayMs, resolve));
  const store = createMemoryStore({
    environment,
    onStep: async (step) => {
      if (step === "before_commit") counts.commits++;
      if (step === "before_load") counts.loads++;
      const fault = faults.get(step)?.shift();
      if (fault !== undefined) throw fault;
      if (options.jitterMs !== undefined) await pause(environment.random() * options.jitterMs);
    },
  });
  const inline = createInlineScorer({ ...FRAUD_THRESHOLDS, ...options.thresholds });
  const scorer = {
    score: inline.score,
    close: inline.close,
  };
  const shard = (settings: Partial<FraudSettings> = {}): FraudCheck =>
    createFraudCheck({
      store,
      environment,
      scorer: {
        score(task, aborted) {
          tasks.push(task);
          return scorer.score(task, aborted);
        },
        close: () => scorer.close(),
      },
      settings: { ...FRAUD_SETTINGS, ...settings },
      onVerdict: (report) => void reports.push(report),
    });
  const check = shard();
  /** The outcome once `waitMs` have passed. */
  async function ask(order: FraudOrder, asked = check, waitMs = 1_000): Promise<unknown> {
    const answer = asked.check(order, signal).catch((error: unknown) => error);
    await environment.advance(waitMs);
    return await answer;
  }
  const recent = (customerId = "ada") => {
    const row = store.rows("fraud").find(({ key }) => key === customerKeyOf(customerId));
    return row === undefined ? 0 : decodeCustomer(row.data).recentMs.length;
  };
  return { environment, faults, tasks, reports, counts, store, scorer, shard, check, ask, recent };
}

function ordersOf(count: number, changes: Partial<FraudOrder> = {}): readonly FraudOrder[] {
  return Array.from({ length: count }, (_, at) => fraudOrder({ orderId: `o${at}`, ...changes }));
}

/** Never answers, unless it is told to stop. */
function hang(_task: ScoringTask, aborted: AbortSignal): ReturnType<Scorer["score"]> {
  const { promise, reject } = Promise.withResolvers<never>();
  aborted.addEventListener("abort", () => {
    reject(new ShopError("CHECK_UNAVAILABLE", "took too long", "later"));
  });
  return promise;
}

describe("orders that come together", () => {
  test("are one load, one scoring and one commit", async () => {
    const { check, environment, counts, tasks, reports } = setUp();
    const answers = Promise.all(ordersOf(20).map((order) => check.check(order, signal)));
    await environment.advance(gatherMs);
    expect(await answers).toEqual(Array.from({ length: 20 }, () => PASS));
    expect(counts).toEqual({ commits: 1, loads: 1 });
    expect(tasks).toHaveLength(1);
    expect(reports).toHaveLength(20);
    expect(reports[0]).toEqual({ ...PASS, durationMs: gatherMs });
  });
  test("are taken in batches of a bounded size", async () => {
    const { check, environment, tasks } = setUp();
    const orders = ordersOf(2 * batchMax + 1);
    const answers = Promise.all(orders.map((order) => check.check(order, signal)));
    await environment.advance(3 * gatherMs);
    await answers;
    expect(tasks.map((task) => task.orders.length)).toEqual([batchMax, batchMax, 1]);
  });
  test("are not gathered any longer once the batch is full", async () => {
    const { check, environment } = setUp();
    const answers = Promise.all(ordersOf(batchMax).map((order) => check.check(order, signal)));
    await environment.settle();
    expect(await answers).toHaveLength(batchMax);
  });
  test("of one customer see each other", async () => {
    const customer = { windowMs: 60_000, ordersMax: 2 };
    const { check, environment } = setUp({ thresholds: { customer, blockScore: 40 } });
    const answers = Promise.all(ordersOf(4).map((order) => check.check(order, signal)));
    await environment.advance(gatherMs);
    const decisions = (await answers).map(({ decision }) => decision);
    expect(decisions).toEqual(["pass", "pass", "block", "block"]);
  });
  test("leave no timer behind when they are answered and the check is closed", async () => {
    const { check, environment, ask } = setUp();
    await ask(fraudOrder());
    await check.close();
    expect(environment.pendingTimers()).toBe(0);
  });
});

describe("an order that is asked about again", () => {
  test("gets the verdict it got, though the rules would say otherwise by now", async () => {
    const customer = { windowMs: 60_000, ordersMax: 2 };
    const { ask, shard, recent, reports } = setUp({ thresholds: { customer, blockScore: 40 } });
    for (const order of ordersOf(3)) await ask(order);
    expect(await ask(fraudOrder({ orderId: "o0" }))).toEqual(PASS);
    const blocked = { decision: "block", score: 40, rules: ["customer_velocity"] };
    expect(await ask(fraudOrder({ orderId: "o2" }), shard(), 600_000)).toEqual(blocked);
    expect(recent()).toBe(3);
    expect(reports).toHaveLength(3);
  });
  test("while its first question is open shares the answer and is counted once", async () => {
    const { check, environment, recent } = setUp();
    const answers = [check.check(fraudOrder(), signal), check.check(fraudOrder(), signal)];
    await environment.advance(gatherMs);
    expect(await Promise.all(answers)).toEqual([PASS, PASS]);
    expect(recent()).toBe(1);
  });
  test("of two shards at once is counted once and has one verdict", async () => {
    const { check, shard, environment, recent, reports } = setUp({ jitterMs: 3 });
    const answers = [check, shard()].map((each) => each.check(fraudOrder(), signal));
    await environment.advance(1_000);
    expect(await Promise.all(answers)).toEqual([PASS, PASS]);
    expect(recent()).toBe(1);
    expect(reports).toHaveLength(1);
  });
  test("after a commit whose outcome was unclear is counted once", async () => {
    const { ask, faults, recent } = setUp();
    faults.set("after_commit", [new ShopError("INDETERMINATE", "no answer", "later")]);
    expect(await ask(fraudOrder())).toEqual(PASS);
    expect(recent()).toBe(1);
  });
});

describe("shards racing for one customer", () => {
  async function race(decisionsMax: number) {
    const customer = { windowMs: 3_600_000, ordersMax: 100 };
    const racing = setUp({ jitterMs: 3, thresholds: { customer, blockScore: 40 } });
    const { environment, shard } = racing;
    let held = 0;
    const decisions: string[] = [];
    const work = [0, 1, 2, 3].map(async (at) => {
      const check = shard({ decisionsMax });
      for (let each = 0; each < 10; each++) {
        const orders = ordersOf(5).map((order) => ({
          ...order,
          orderId: `${at}-${each}-${order.orderId}`,
        }));
        await Promise.all(
          orders.map(async (order) => {
            for (;;) {
              try {
                decisions.push((await check.check(order, signal)).decision);
                return;
              } catch (error) {
                if (!isShopError(error, "CHECK_UNAVAILABLE")) throw error;
                held++;
              }
            }
          }),
        );
      }
    });
    await environment.advance(120_000);
    await Promise.all(work);
    return { ...racing, decisions, held };
  }

  test("miss no order of the window: exactly those beyond it are blocked", async () => {
    const { decisions, recent, counts } = await race(40);
    expect(recent()).toBe(200);
    expect(decisions.filter((decision) => decision === "pass")).toHaveLength(100);
    expect(decisions.filter((decision) => decision === "block")).toHaveLength(100);
    // They did race: some commits were refused.
    expect(counts.commits).toBeGreaterThan(4 * 10);
  });
  test("hold their orders after a bounded number of defeats, and still miss none", async () => {
    const { decisions, recent, held } = await race(1);
    expect(held).toBeGreaterThan(0);
    expect(recent()).toBe(200);
    expect(decisions.filter((decision) => decision === "pass")).toHaveLength(100);
  });
});

describe("a check that cannot tell", () => {
  test("holds the order when scoring hangs, and passes it once scoring is back", async () => {
    const { ask, scorer, recent, reports, store } = setUp();
    const { score } = scorer;
    scorer.score = hang;
    expect(await ask(fraudOrder(), undefined, timeoutMs - 1 + gatherMs)).toMatchObject({
      code: "CHECK_UNAVAILABLE",
      retry: "later",
    });
    expect(store.rows("fraud")).toHaveLength(0);
    scorer.score = score;
    // It is back before the batch that hangs is given up, whose failure is not its own.
    expect(await ask(fraudOrder())).toEqual(PASS);
    expect(recent()).toBe(1);
    expect(reports).toHaveLength(1);
  });
  test("holds those that wait behind a batch that hangs no longer than any other", async () => {
    const { check, environment, scorer } = setUp();
    scorer.score = () => new Promise(() => {});
    const outcomes: string[] = [];
    const [first, second] = ordersOf(2);
    if (first === undefined || second === undefined) throw new Error("no orders");
    const ask = (order: FraudOrder) =>
      check.check(order, signal).then(
        ({ decision }) => void outcomes.push(decision),
        (error: ShopError) => void outcomes.push(`${order.orderId} ${error.code}`),
      );
    const answers = [ask(first)];
    await environment.advance(1_000);
    answers.push(ask(second));
    await environment.advance(timeoutMs - 1_000);
    expect(outcomes).toEqual(["o0 CHECK_UNAVAILABLE"]);
    await environment.advance(1_000);
    await Promise.all(answers);
    expect(outcomes).toEqual(["o0 CHECK_UNAVAILABLE", "o1 CHECK_UNAVAILABLE"]);
  });
  test("holds the order whatever breaks, and forgets nothing and invents nothing", async () => {
    const broken = new ShopError("STORAGE_FAULT", "broken", "later");
    for (const step of ["before_load", "before_commit"] as const) {
      const { ask, faults, recent } = setUp();
      faults.set(step, [broken]);
      expect(await ask(fraudOrder())).toBe(broken);
      expect(recent()).toBe(0);
      expect(await ask(fraudOrder())).toEqual(PASS);
    }
    const { ask, scorer } = setUp();
    const dead = new ShopError("CHECK_UNAVAILABLE", "the pool is gone", "later");
    scorer.score = () => Promise.reject(dead);
    expect(await ask(fraudOrder())).toBe(dead);
  });
  test("holds the orders of a damaged row alone, not those that came with them", async () => {
    const { check, environment, store } = setUp();
    const { load } = store;
    store.load = async (table, keys) => {
      if (keys.includes("order:o3")) throw new ShopError("DATA_DAMAGED", "order:o3", "never");
      return await load(table, keys);
    };
    const answers = Promise.allSettled(ordersOf(9).map((order) => check.check(order, signal)));
    await environment.advance(gatherMs);
    const statuses = (await answers).map(({ status }) => status);
    expect(statuses.flatMap((status, at) => (status === "rejected" ? [at] : []))).toEqual([3]);
    expect((await answers)[3]).toMatchObject({ reason: { code: "DATA_DAMAGED" } });
  });
  test("refuses more orders than it has room for", async () => {
    const { shard, environment } = setUp();
    const check = shard({ waitingMax: 2 });
    const outcomes = Promise.allSettled(ordersOf(3).map((order) => check.check(order, signal)));
    await environment.advance(gatherMs);
    const statuses = (await outcomes).map(({ status }) => status);
    expect(statuses).toEqual(["fulfilled", "fulfilled", "rejected"]);
    expect((await outcomes)[2]).toMatchObject({ reason: { code: "CHECK_UNAVAILABLE" } });
  });
  test("gives the verdict that came too late to whoever asks next", async () => {
    const { ask, scorer, reports } = setUp();
    const { score } = scorer;
    const gate = Promise.withResolvers<void>();
    scorer.score = async (task, aborted) => {
      await gate.promise;
      return await score(task, aborted);
    };
    expect(await ask(fraudOrder(), undefined, timeoutMs)).toMatchObject({
      code: "CHECK_UNAVAILABLE",
    });
    gate.resolve();
    expect(await ask(fraudOrder())).toEqual(PASS);
    expect(reports).toHaveLength(1);
  });
});

describe("a check that is closed", () => {
  test("refuses what waits, what is under way and what comes", async () => {
    const { check, environment, scorer, store } = setUp();
    scorer.score = hang;
    const [first, second, third] = ordersOf(3);
    if (first === undefined || second === undefined || third === undefined) throw new Error("none");
    const underWay = check.check(first, signal).catch((error: unknown) => error);
    await environment.advance(gatherMs);
    const waiting = check.check(second, signal).catch((error: unknown) => error);
    await check.close();
    const late = check.check(third, signal).catch((error: unknown) => error);
    for (const answer of [underWay, waiting, late]) {
      expect(await answer).toMatchObject({ code: "CLOSED" });
    }
    await environment.advance(timeoutMs);
    expect(store.rows("fraud")).toEqual([]);
    expect(environment.pendingTimers()).toBe(0);
  });
  test("by its consumer takes no new order", async () => {
    const aborted = AbortSignal.abort();
    const answer = setUp().check.check(fraudOrder(), aborted);
    expect(answer).rejects.toMatchObject({ code: "CLOSED" });
  });
});
