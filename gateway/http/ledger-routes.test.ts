/**
 * The ledger over HTTP: filters, totals, and what is refused.
 */

import { describe, expect, test } from "bun:test";
import { Value } from "@sinclair/typebox/value";

import type { LedgerRow } from "../../actors/contracts/order-state.ts";

import { ledgerRoutes } from "./ledger-routes.ts";
import { LEDGER_EXAMPLE, LedgerSchema } from "./ledger-schemas.ts";
import { Problem } from "./problem.ts";

function rowOf(group: string, topic: string, partition: number, imbalance?: string): LedgerRow {
  const counts = { published: 5, acked: 2, dead: 1, inFlight: 1, parked: 1, waiting: 1 };
  const row = { group, topic, partition, ...counts, redriven: 0 };
  return imbalance === undefined ? row : { ...row, imbalance };
}

const ROWS = [
  rowOf("payment", "orders", 2),
  rowOf("order", "payments", 0),
  rowOf("payment", "orders", 1, "5 sent, but 4 received"),
  rowOf("order", "inventory", 0),
];

async function get(query: string, rows: readonly LedgerRow[] = ROWS): Promise<unknown> {
  const [route] = ledgerRoutes({ ledger: { read: () => Promise.resolve(rows) } });
  const request = new Request(`http://shop.test/admin/ledger${query}`);
  const answer = await route?.endpoint({ request, params: {}, correlationId: "c" });
  if (answer === undefined) throw new Error("no route");
  if (answer instanceof Problem) return answer;
  const body: unknown = JSON.parse(await answer.text());
  expect(Value.Check(LedgerSchema, body)).toBe(true);
  return body;
}

const places = (body: unknown): unknown =>
  (body as { rows: LedgerRow[] }).rows.map(
    ({ group, topic, partition }) => `${group} ${topic}/${partition}`,
  );

describe("the ledger", () => {
  test("has all rows in order, their sums by group, and says whether it balances", async () => {
    const body = await get("");
    expect(places(body)).toEqual([
      "order inventory/0",
      "order payments/0",
      "payment orders/1",
      "payment orders/2",
    ]);
    expect(body).toMatchObject({
      balanced: false,
      totals: [
        { group: "order", published: 10, acked: 4, dead: 2, inFlight: 2, waiting: 2 },
        { group: "payment", published: 10 },
      ],
    });
    expect(await get("", ROWS.slice(0, 2))).toMatchObject({ balanced: true });
  });

  test.each([
    ["?group=payment", ["payment orders/1", "payment orders/2"]],
    ["?topic=payments", ["order payments/0"]],
    ["?imbalanced=true", ["payment orders/1"]],
    ["?imbalanced=false&group=payment", ["payment orders/2"]],
    ["?group=shipping", []],
    ["?group=unmatched&topic=outbox.unmatched", []],
  ])("%s shows what was asked for", async (query, expected) => {
    const body = await get(query);
    expect(places(body)).toEqual(expected);
    expect(body).toMatchObject({ balanced: false });
  });

  test.each([
    ["?group=payments", "group", "must be one of order, payment"],
    ["?topic=x", "topic", "must be one of orders, payments"],
    ["?imbalanced=yes", "imbalanced", "must be one of true, false"],
    ["?group=order&group=payment", "group", "is given twice"],
    ["?shard=1", "shard", "is not known; known are group, topic, imbalanced"],
    ["?group=", "group", "is empty"],
  ])("%s is refused, naming what is allowed", async (query, parameter, detail) => {
    const problem = await get(query);
    if (!(problem instanceof Problem)) throw new Error("it was answered");
    expect(problem.kind).toBe("invalid_request");
    expect(problem.errors[0]?.parameter).toBe(parameter);
    expect(problem.errors[0]?.detail).toStartWith(detail);
  });

  test("keeps to its length and loses nothing of the sums", async () => {
    const many = Array.from({ length: 6_000 }, (_, at) => rowOf("order", "payments", at));
    const body = (await get("", many)) as { rows: LedgerRow[]; totals: { published: number }[] };
    expect(body.rows).toHaveLength(4_097);
    expect(body.rows[0]?.partition).toBe(-1);
    expect(body.totals[0]?.published).toBe(30_000);
  });

  test("has an example that fits its schema", () => {
    expect(Value.Check(LedgerSchema, LEDGER_EXAMPLE)).toBe(true);
  });
});
