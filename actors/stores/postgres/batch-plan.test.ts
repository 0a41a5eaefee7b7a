/**
 * What a batch becomes, as a table: what was read or is assumed on one side, answers and writes on
 * the other. That the answers are those of a store is the business of the store's suite.
 */

import { describe, expect, test } from "bun:test";

import type { UnitOfWork } from "../unit-of-work.ts";
import type { KnownState } from "./batch-plan.ts";

import { idAt, orderOf, rowOf, timerOf } from "../store.suite.ts";
import { EMPTY_UNIT } from "../unit-of-work.ts";
import { batchParameters } from "./batch-parameters.ts";
import { markName, planBatch, reachOf, rowName } from "./batch-plan.ts";

const unit = (parts: Partial<UnitOfWork>): UnitOfWork => ({ ...EMPTY_UNIT, ...parts });
const mark = (number: number) => ({ group: "g", messageId: idAt(number) });
const entry = (orderId: string, version: number) => {
  return { orderId, version, type: "t", atMs: 1, data: new Uint8Array(1) };
};
const NOTHING: KnownState = {
  marks: new Set(),
  letters: new Set(),
  versions: new Map(),
  timelines: new Map(),
};
const COMMITTED = { kind: "committed" } as const;

describe("a plan that assumes", () => {
  test("takes every unit at its word, and writes down the condition", () => {
    const plan = planBatch([
      unit({ rows: [rowOf("b", 7), rowOf("a", 0)], deadLettersRemoved: [9], inbox: [mark(1)] }),
    ]);
    expect(plan.outcomes).toEqual([COMMITTED]);
    expect(plan.rows).toMatchObject([
      { key: "a", from: 0, to: 1 },
      { key: "b", from: 7, to: 8 },
    ]);
    expect([plan.letters, plan.marks]).toEqual([[9], [mark(1)]]);
  });

  test("refuses what units before it have made impossible", () => {
    const plan = planBatch([
      unit({ rows: [rowOf("a", 3)], deadLettersRemoved: [9], inbox: [mark(1)] }),
      unit({ rows: [rowOf("a", 3)] }),
      unit({ inbox: [mark(2), mark(1)], rows: [rowOf("b", 0)] }),
      unit({ deadLettersRemoved: [9] }),
      unit({ rows: [rowOf("a", 4), rowOf("c", 1)] }),
    ]);
    expect(plan.outcomes).toEqual([
      COMMITTED,
      { kind: "conflict", table: "stock", key: "a", version: 4 },
      { kind: "duplicate", messageIds: [idAt(1)] },
      { kind: "conflict", table: "dead_letters", key: "9", version: 0 },
      COMMITTED,
    ]);
    // Several writes of a row are one, from the version that the database must have.
    expect(plan.rows).toMatchObject([
      { key: "a", from: 3, to: 5 },
      { key: "c", from: 1, to: 2 },
    ]);
  });
});

describe("a plan from what was read", () => {
  test("refuses what does not fit it", () => {
    const known: KnownState = {
      marks: new Set([markName(mark(1))]),
      letters: new Set([9]),
      versions: new Map([[rowName("stock", "a"), 3]]),
      timelines: new Map([["o", 2]]),
    };
    const plan = planBatch(
      [
        unit({ inbox: [mark(1)] }),
        unit({ rows: [rowOf("a", 2)] }),
        unit({ rows: [rowOf("b", 1)] }),
        unit({ deadLettersRemoved: [8] }),
        unit({ timeline: [entry("o", 2)] }),
        unit({ rows: [rowOf("a", 3)], timeline: [entry("o", 3)], deadLettersRemoved: [9] }),
        unit({ timeline: [entry("o", 3)] }),
      ],
      known,
    );
    expect(plan.outcomes).toEqual([
      { kind: "duplicate", messageIds: [idAt(1)] },
      { kind: "conflict", table: "stock", key: "a", version: 3 },
      { kind: "conflict", table: "stock", key: "b", version: 0 },
      { kind: "conflict", table: "dead_letters", key: "8", version: 0 },
      { kind: "conflict", table: "orders", key: "o", version: 2 },
      COMMITTED,
      { kind: "conflict", table: "orders", key: "o", version: 3 },
    ]);
    expect([plan.marks, plan.rows.length, plan.entries.length]).toEqual([[], 1, 1]);
  });

  test("reads each thing once, by table and in order of key", () => {
    const reach = reachOf([
      unit({ rows: [rowOf("b", 0), orderOf("o", 0)], inbox: [mark(1)], timeline: [entry("o", 1)] }),
      unit({ rows: [rowOf("a", 0), rowOf("b", 1)], inbox: [mark(1)], deadLettersRemoved: [4] }),
    ]);
    expect(reach.marks).toEqual([mark(1)]);
    expect(reach.letters).toEqual([4]);
    expect([...reach.keys]).toEqual([
      ["stock", ["a", "b"]],
      ["orders", ["o"]],
    ]);
    expect(reach.orderIds).toEqual(["o"]);
  });
});

test("what is written is sorted, so that all writers lock in one order", () => {
  const plan = planBatch(
    [
      unit({
        rows: [rowOf("z", 0), rowOf("b", 0, "x", "payments"), rowOf("m", 0), orderOf("o", 0)],
        inbox: [mark(3), mark(1)],
        timeline: [entry("p", 1), entry("o", 1)],
        timersStarted: [timerOf("t2", 1, "x"), timerOf("t1", 1, "x")],
        timersCancelled: ["t4", "t3", "t2"],
      }),
    ],
    NOTHING,
  );
  expect(plan.rows.map(({ table, key }) => `${table} ${key}`)).toEqual([
    "orders o",
    "payments b",
    "stock m",
    "stock z",
  ]);
  expect(plan.marks).toEqual([mark(1), mark(3)]);
  expect(plan.entries.map(({ orderId }) => orderId)).toEqual(["o", "p"]);
  expect(plan.timersStarted.map(({ id }) => id)).toEqual(["t1", "t2"]);
  expect(plan.timersEnded).toEqual(["t3", "t4"]);
});

test("the parameters say where the new and the changed rows of each table end", () => {
  const known = { ...NOTHING, versions: new Map([[rowName("stock", "s"), 4]]) };
  const rows = [orderOf("o", 0), rowOf("s", 4), rowOf("r", 0), rowOf("n", 0, "x", "notifications")];
  const plan = planBatch([unit({ rows })], known);
  const identity = { writerId: idAt(1), batch: 8, relayId: undefined, nowMs: 86_400_500 };
  const parameters = batchParameters(plan, identity);
  expect(parameters.slice(0, 5)).toEqual([idAt(1), "8", null, "86400500", "86400000"]);
  expect(parameters.slice(8, 12)).toEqual([
    "{1,1,1,1,2,3,3,3,3,3,3,3,3,3,4,4}",
    '{"o","r","s","n"}',
    "{0,0,4,0}",
    "{1,1,5,1}",
  ]);
});
