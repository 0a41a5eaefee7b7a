/**
 * What a client may believe after which answers, on a shop that answers from a script.
 *
 * No sockets: the shop client is a function, and the waits between tries are zero.
 */

import { describe, expect, test } from "bun:test";

import { ShopError } from "../runtime/errors.ts";
import { createOrderPlan } from "./order-plan.ts";
import { createSubmitter } from "./submitter.ts";
import type { Outcome } from "./evidence.ts";
import type { PostAnswer, ShopClient } from "./shop-client.ts";

type Scripted = PostAnswer | ShopError;

const CUT = new ShopError("INDETERMINATE", "the connection was cut", "later");
const CLOSED = new ShopError("CLOSED", "connection refused", "later");
const BUSY: PostAnswer = { kind: "busy", reason: "503 saturated", retryAfterMs: 0 };
const BROKEN: PostAnswer = { kind: "failed", reason: "500 internal", detail: "" };
const WRONG: PostAnswer = { kind: "refused", reason: "422 invalid-request", detail: "" };

function accepted(id: string): PostAnswer {
  const order = {
    id,
    customerId: "c",
    items: [],
    status: "pending",
    paymentStatus: "pending",
    inventoryStatus: "pending",
    totalMinor: 5,
    currency: "USD",
    version: 1,
  };
  return { kind: "accepted", order };
}

async function submitTo(script: readonly Scripted[], twinEvery = 0, deadlineMs = 5_000) {
  const keys: string[] = [];
  let next = 0;
  const client: Pick<ShopClient, "postOrder"> = {
    async postOrder(order) {
      keys.push(order.idempotencyKey);
      const answer = script[Math.min(next++, script.length - 1)] ?? CLOSED;
      if (answer instanceof ShopError) throw answer;
      return answer;
    },
  };
  const submitter = createSubmitter({
    // Only `postOrder` is called by the submitter.
    client: client as ShopClient,
    plan: createOrderPlan({ seed: 1, runId: "r", ordersExpected: 1 }),
    deadlineMs,
    retryMinMs: 0,
    retryMaxMs: 0,
    twinEvery,
  });
  await submitter.submit(0, performance.now());
  const outcome: Outcome | undefined = submitter.attempts[0]?.outcome;
  return { outcome, keys, failures: submitter.failures, open: submitter.oldestOpenMs() };
}

describe("an order's outcome", () => {
  test("is acknowledged by a 2xx, at whichever try, always under the same key", async () => {
    const { outcome, keys, failures, open } = await submitTo([
      CLOSED,
      CUT,
      BUSY,
      BROKEN,
      accepted("a"),
    ]);
    expect(outcome).toEqual({ kind: "acknowledged", orderIds: ["a"], totalMinor: 5 });
    expect(keys).toHaveLength(5);
    expect(new Set(keys).size).toBe(1);
    expect([...failures.values()]).toEqual([1, 1, 1, 1]);
    expect(open).toBe(Infinity);
  });

  test("is ambiguous when a try was cut and none got its 2xx", async () => {
    const { outcome } = await submitTo([CUT, CLOSED], 0, 50);
    expect(outcome?.kind).toBe("ambiguous");
  });

  test("is ambiguous when a cut try is followed by a 4xx", async () => {
    const { outcome } = await submitTo([CUT, WRONG]);
    expect(outcome?.kind).toBe("ambiguous");
  });

  test("is refused when every try was shed or never sent", async () => {
    const { outcome } = await submitTo([CLOSED, BUSY], 0, 50);
    expect(outcome?.kind).toBe("refused");
  });

  test("is refused at once by a 4xx", async () => {
    const { outcome, keys } = await submitTo([WRONG]);
    expect(outcome?.kind).toBe("refused");
    expect(keys).toHaveLength(1);
  });

  test("names both orders when twins under one key were given two", async () => {
    const { outcome } = await submitTo([accepted("a"), accepted("b")], 1);
    expect(outcome).toMatchObject({ kind: "acknowledged", orderIds: ["a", "b"] });
  });

  test("names one order when twins were given the same", async () => {
    const { outcome, keys } = await submitTo([accepted("a")], 1);
    expect(outcome).toMatchObject({ kind: "acknowledged", orderIds: ["a"] });
    expect(keys).toHaveLength(2);
  });
});
