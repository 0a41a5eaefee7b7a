/**
 * What the fraud check promises whatever it keeps its rows in: one verdict per order, each order
 * counted once, and no order of a window missed by whoever asks at the same time.
 */

import { expect, test } from "bun:test";

import type { Environment } from "../../runtime/environment.ts";
import type { Store } from "../stores/unit-of-work.ts";
import type { FraudCheck, FraudOrder, Verdict } from "./fraud-check.ts";
import type { FraudThresholds } from "./thresholds.ts";

import { isShopError } from "../../runtime/errors.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { createFraudCheck } from "./embedded-fraud-check.ts";
import { fraudOrder } from "./fraud-order.suite.ts";
import { customerKeyOf, decodeCustomer } from "./fraud-profile.ts";
import { createInlineScorer } from "./score-batch.ts";
import { FRAUD_SETTINGS, FRAUD_THRESHOLDS } from "./thresholds.ts";

const { signal } = new AbortController();
const PASS: Verdict = { decision: "pass", score: 0, rules: [] };
/** Longer than any machine takes; what is too slow is a failure of its own. */
const TIMEOUT_MS = 30_000;

export interface FraudWorld {
  readonly environment: Environment;
  /** A store without any rows, as one process has it. */
  newStore(): Promise<{
    readonly store: Store;
    /** The same rows through another process's eyes. */
    readonly other: Store;
  }>;
}

/** Registers the cases on the stores of `world`. */
export function testFraudCheck(name: string, world: FraudWorld): void {
  async function setUp(thresholds: Partial<FraudThresholds> = {}) {
    const { store, other } = await world.newStore();
    const open = (on: Store): FraudCheck =>
      createFraudCheck({
        store: on,
        environment: world.environment,
        scorer: createInlineScorer({ ...FRAUD_THRESHOLDS, ...thresholds }),
        settings: { ...FRAUD_SETTINGS, timeoutMs: TIMEOUT_MS, gatherMs: 2 },
      });
    const recent = async (customerId = "ada"): Promise<number> => {
      const [row] = await store.load("fraud", [customerKeyOf(customerId)]);
      return row === undefined ? 0 : decodeCustomer(row.data).recentMs.length;
    };
    return { store, here: open(store), there: open(other), recent };
  }

  test(`${name}: an ordinary order passes, and is counted`, async () => {
    const { here, recent } = await setUp();
    expect(await here.check(fraudOrder(), signal)).toEqual(PASS);
    expect(await recent()).toBe(1);
  });

  test(`${name}: an order keeps its verdict, in any process, and is counted once`, async () => {
    const customer = { windowMs: 3_600_000, ordersMax: 2 };
    const { here, there, recent } = await setUp({ customer, blockScore: 40 });
    for (const order of ordersOf(3)) await here.check(order, signal);
    expect(await there.check(fraudOrder({ orderId: "o0" }), signal)).toEqual(PASS);
    const blocked = { decision: "block", score: 40, rules: ["customer_velocity"] } as const;
    expect(await there.check(fraudOrder({ orderId: "o2" }), signal)).toEqual(blocked);
    expect(await recent()).toBe(3);
  });

  test(`${name}: an order asked about by two has one verdict and is counted once`, async () => {
    const { here, there, recent } = await setUp();
    const answers = [here, there].map((each) => each.check(fraudOrder(), signal));
    expect(await Promise.all(answers)).toEqual([PASS, PASS]);
    expect(await recent()).toBe(1);
  });

  test(`${name}: two who race for one customer miss no order of the window`, async () => {
    const customer = { windowMs: 3_600_000, ordersMax: 40 };
    const { here, there, recent } = await setUp({ customer, blockScore: 40 });
    const decisions = await Promise.all(
      [here, there].map(async (check, at) => {
        const found: string[] = [];
        for (let round = 0; round < 8; round++) {
          const orders = ordersOf(5, `${at}-${round}-`);
          found.push(...(await Promise.all(orders.map((order) => decisionOn(check, order)))));
        }
        return found;
      }),
    );
    expect(await recent()).toBe(80);
    expect(decisions.flat().filter((decision) => decision === "pass")).toHaveLength(40);
  });

  test(`${name}: a commit under an old version writes nothing at all`, async () => {
    const { store } = await setUp();
    const write = (key: string, expectedVersion: number) => ({
      table: "fraud" as const,
      key,
      expectedVersion,
      data: Uint8Array.of(0, 58, 255, expectedVersion),
    });
    const unit = (...rows: ReturnType<typeof write>[]) => ({
      ...EMPTY_UNIT,
      rows,
    });
    expect(await store.commit(unit(write("a", 0)), [])).toEqual({ kind: "committed" });
    const refused = await store.commit(unit(write("b", 0), write("a", 0)), []);
    expect(refused).toMatchObject({ kind: "conflict", key: "a", version: 1 });
    expect(await store.load("fraud", ["b"])).toEqual([undefined]);
    expect(await store.commit(unit(write("b", 0), write("a", 1)), [])).toEqual({
      kind: "committed",
    });
    const [a, b] = await store.load("fraud", ["a", "b"]);
    expect([a?.version, b?.version]).toEqual([2, 1]);
    expect(Uint8Array.from(a?.data ?? [])).toEqual(Uint8Array.of(0, 58, 255, 1));
  });
}

/** Who is told that others were faster asks again. */
async function decisionOn(check: FraudCheck, order: FraudOrder): Promise<string> {
  for (;;) {
    try {
      return (await check.check(order, signal)).decision;
    } catch (error) {
      if (!isShopError(error, "CHECK_UNAVAILABLE")) throw error;
    }
  }
}

function ordersOf(count: number, prefix = "o"): readonly FraudOrder[] {
  return Array.from({ length: count }, (_, at) => fraudOrder({ orderId: `${prefix}${at}` }));
}
