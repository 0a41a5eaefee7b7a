/**
 * Places, numbers and hashes of records in chains, and what is found wrong with them. No server has
 * a part in it.
 */

import { describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import type { AuditDocument } from "./audit-document.ts";

import { createTestFeed } from "../audit.fixture.ts";
import { readEntry } from "../audit-entry.ts";
import { indexEndMs, indexOf, recordOf, reduced, unpacked } from "./audit-document.ts";
import { latest } from "./chain-store.ts";
import { inOrder, linkEntries, stateOf, unchainedWrite } from "./entry-linker.ts";
import { headOf } from "./joint-head.ts";
import { judgeEnds, judgeLink } from "./link-judge.ts";
import { CHAIN_START, follows, nextSeq, seqAt } from "./record-chain.ts";

const NAMING = { prefix: "audit", period: "month" } as const;
const feed = createTestFeed();
/** Of one partition, in order. */
const entries = Array.from({ length: 12 }, (_, index) =>
  readEntry({ ...(feed.order(index)[0] ?? feed.record("orders", new Uint8Array())), partition: 0 }),
).map((entry, index) => ({ ...entry, sequence: index + 1 }));
const whole = linkEntries(entries, CHAIN_START, new Map(), NAMING);
const documents = whole.writes.map(({ document }) => document);

test("whoever takes a chain on anywhere comes to the same documents", () => {
  fc.assert(
    fc.property(fc.nat(11), fc.nat(11), (one, other) => {
      const [from, to] = [Math.min(one, other), Math.max(one, other)];
      const before = documents[from - 1];
      const state = before === undefined ? CHAIN_START : stateOf(before);
      const { writes, end } = linkEntries(entries.slice(from, to + 1), state, new Map(), NAMING);
      expect(writes).toEqual(whole.writes.slice(from, to + 1));
      expect(end.place).toBe(to + 1);
    }),
  );
});

test("what is there already is not written, and is gone on from", () => {
  const known = new Map(whole.writes.slice(0, 7).map(({ id, document }) => [id, document]));
  known.delete("orders/0/3");
  const linked = linkEntries(entries, CHAIN_START, known, NAMING);
  expect(linked.writes.map(({ id }) => id)).toEqual(
    [3, 8, 9, 10, 11, 12].map((sequence) => `orders/0/${sequence}`),
  );
  expect(linked).toMatchObject({ repeats: 6, conflicts: 0, end: whole.end });
});

test("a record twice in one batch is written once", () => {
  const twice = inOrder([...entries.slice(4), ...entries]);
  const linked = linkEntries(twice, CHAIN_START, new Map(), NAMING);
  expect(linked.writes).toEqual(whole.writes);
  expect(linked.repeats).toBe(8);
});

test("another message at a place that is taken is kept outside of the chain", () => {
  const stranger = { ...(entries[5] ?? entries[0]), sequence: 3 } as (typeof entries)[number];
  const known = new Map(whole.writes.map(({ id, document }) => [id, document]));
  const { writes, conflicts, end } = linkEntries([stranger], CHAIN_START, known, NAMING);
  expect(writes).toEqual([unchainedWrite(stranger, NAMING)]);
  expect(writes[0]?.document.chain).toBeUndefined();
  expect(conflicts).toBe(1);
  expect(end.place).toBe(3);
});

test("numbers rise within a chain, even when the clock was set back", () => {
  const state = { ...CHAIN_START, seq: seqAt(feed.environment.nowMs(), "a/0") };
  expect(nextSeq(state, "a/0", 0)).toBe(state.seq + 1);
  expect(Number.isSafeInteger(seqAt(Number.MAX_SAFE_INTEGER, "a/0") + 1_000_000)).toBe(true);
  expect(seqAt(-5, "a/0")).toBeGreaterThanOrEqual(1);
});

test("only the record right behind the last known is gone on with unseen", () => {
  expect(follows(undefined, 1)).toBe(false);
  expect(follows({ ...CHAIN_START, sequence: 4 }, 5)).toBe(true);
  expect(follows({ ...CHAIN_START, sequence: 4 }, 4)).toBe(false);
  expect(follows({ ...CHAIN_START, sequence: 4 }, 6)).toBe(false);
});

test("a chain goes on from its head when its records have gone, not when it is read again", () => {
  const [, second, third] = documents;
  if (second === undefined || third === undefined) throw new Error("too few");
  const head = stateOf(third);
  expect(latest(undefined, head, 4)).toEqual(head);
  expect(latest(second, head, 4)).toEqual(head);
  expect(latest(second, head, 3)).toEqual(stateOf(second));
  expect(latest(undefined, head, 1)).toEqual(CHAIN_START);
});

test("an index follows from the time alone, and tells when its period is over", () => {
  const storedAtMs = Date.UTC(2026, 10, 26, 9);
  expect(indexOf(NAMING, storedAtMs)).toBe("audit-2026.11.01");
  expect(indexOf({ ...NAMING, period: "day" }, storedAtMs)).toBe("audit-2026.11.26");
  expect(indexOf(NAMING, 8.64e15)).toBe("audit-2099.12.01");
  expect(indexOf(NAMING, -1)).toBe("audit-2020.01.01");
  expect(indexEndMs(NAMING, "audit-2026.12.01")).toBe(Date.UTC(2027, 0, 1));
  expect(indexEndMs({ ...NAMING, period: "day" }, "audit-2026.12.31")).toBe(Date.UTC(2027, 0, 1));
  expect(indexEndMs(NAMING, "audit-other-2026.12.01")).toBeUndefined();
  expect(indexEndMs(NAMING, "audit_state")).toBeUndefined();
});

test("a reduced document is the same record", () => {
  for (const document of documents) {
    const back = unpacked(reduced(document));
    expect(recordOf(back, 1)).toEqual(recordOf(document, 1));
    expect(JSON.stringify(reduced(document))).not.toContain('"texts"');
  }
  expect(unpacked({ ...reduced(documents[0] as AuditDocument), packed: "?" }).frame).toBe("");
});

describe("a walk", () => {
  const heads = new Map([["orders/0", whole.end]]);

  /** Walks `found` in order, from the first. */
  function walk(found: readonly AuditDocument[], floor = 1) {
    const states = new Map<string, ReturnType<typeof stateOf>>();
    for (const document of found) {
      const problem = judgeLink(states.get("orders/0"), floor, document);
      if (problem !== undefined) return problem;
      states.set("orders/0", stateOf(document));
    }
    return judgeEnds(states, heads, new Map([["orders/0", floor]]));
  }

  const changed = (place: number, change: Partial<AuditDocument>) =>
    documents.map((document) => (document.place === place ? { ...document, ...change } : document));

  test("over what was written finds nothing wrong", () => {
    expect(walk(documents)).toBeUndefined();
  });

  test.each([
    ["at", { at: 1 }],
    ["orderId", { orderId: "order-x" }],
    ["frame", { frame: "AAAA" }],
    ["sequence", { sequence: 99 }],
    ["seq", { seq: 77 }],
    ["prev", { prev: "AAAA" }],
    ["chain", { chain: "orders/1" }],
    ["fault", { fault: "BAD_PAYLOAD" }],
  ] as const)("finds a changed %s", (_name, change) => {
    expect(walk(changed(5, change))?.fault).toBe("altered");
  });

  test("finds each record that is not there, and names the chain and the place", () => {
    for (const { place } of documents) {
      const problem = walk(documents.filter((one) => one.place !== place));
      expect(problem?.fault).toBe(place === 12 ? "tail_cut" : "removed");
      expect(problem?.detail).toStartWith(`orders/0, place ${place}: `);
    }
  });

  test("finds two records that changed places", () => {
    const [third, fourth] = [documents[2], documents[3]];
    if (third === undefined || fourth === undefined) throw new Error("too few");
    const swapped = documents.with(2, { ...fourth, place: 3 }).with(3, { ...third, place: 4 });
    expect(walk(swapped)).toMatchObject({ fault: "moved" });
  });

  test("believes what went for its age, and nothing more", () => {
    expect(walk(documents.slice(4), 5)).toBeUndefined();
    expect(walk(documents.slice(5), 5)?.fault).toBe("removed");
    expect(walk([], 13)).toBeUndefined();
    expect(walk([], 12)?.fault).toBe("tail_cut");
  });
});

test("the joint head depends on every chain, and not on their order", () => {
  const [one, other] = [documents[0], documents[1]].map((document) =>
    document === undefined ? CHAIN_START : stateOf(document),
  );
  if (one === undefined || other === undefined) throw new Error("too few");
  const head = headOf(
    new Map([
      ["a/0", one],
      ["b/0", other],
    ]),
  );
  expect(
    headOf(
      new Map([
        ["b/0", other],
        ["a/0", one],
      ]),
    ),
  ).toEqual(head);
  expect(head.count).toBe(3);
  expect(headOf(new Map([["a/0", one]])).hash).not.toEqual(head.hash);
});
