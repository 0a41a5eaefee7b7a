/** `verify` on real files: whatever is done to a row by SQL is found, at its place. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { Database } from "bun:sqlite";
import { cpSync } from "node:fs";

import * as fc from "fast-check";

import { filledAudit, makeAuditDirectory, readsOf, removeAudits, tamper } from "./audit.fixture.ts";
import { auditPath } from "./audit-database.ts";

afterAll(removeAudits);

const ORDERS = 6;
const COUNT = ORDERS * 5;
const EVERYTHING = { fromSeq: 1, recordsMax: 10_000, budgetMs: 60_000 };
const COLUMNS = {
  identity: "randomblob(16)",
  topic: "topic || '!'",
  part: "part + 1",
  sequence: "sequence + 1",
  type: "type + 1",
  order_id: "coalesce(order_id, '') || '!'",
  customer_id: "CASE WHEN customer_id IS NULL THEN '' ELSE NULL END",
  at: "at - 1",
  stored_at: "stored_at + 1",
  fault: "CASE WHEN fault IS NULL THEN '' ELSE NULL END",
  prev: "randomblob(32)",
  hash: "randomblob(32)",
  frame: "randomblob(length(frame))",
} as const;
const seq = fc.integer({ min: 1, max: COUNT });
const column = fc.constantFrom(...(Object.keys(COLUMNS) as (keyof typeof COLUMNS)[]));

let pristine = "";
beforeAll(() => void (pristine = filledAudit(ORDERS).directory));

/** What verifying a copy finds after `work` was done to it. */
async function verdictAfter(work: (handle: Database) => void, range = EVERYTHING) {
  const directory = makeAuditDirectory();
  cpSync(auditPath(pristine), auditPath(directory));
  tamper(directory, work);
  const reads = readsOf(directory);
  try {
    return await reads.verify(range);
  } finally {
    reads.close();
  }
}

test("an audit that nobody touched is whole", async () => {
  const verdict = await verdictAfter(() => undefined);
  expect(verdict).toMatchObject({ verified: COUNT, upToSeq: COUNT, head: { count: COUNT } });
  expect(verdict).not.toHaveProperty("problem");
  expect(verdict).not.toHaveProperty("nextSeq");
});

test("any column of any record that is altered is found at that record", async () => {
  await fc.assert(
    fc.asyncProperty(seq, column, async (at, name) => {
      const { problem } = await verdictAfter((handle) =>
        handle.run(`UPDATE records SET ${name} = ${COLUMNS[name]} WHERE seq = ?`, [at]),
      );
      expect(problem).toMatchObject({ seq: at, fault: "altered" });
    }),
    { numRuns: 60 },
  );
});

test("any run of records that is removed is found where it began", async () => {
  await fc.assert(
    fc.asyncProperty(seq, fc.integer({ min: 0, max: 5 }), async (at, length) => {
      const { problem, verified } = await verdictAfter((handle) =>
        handle.run("DELETE FROM records WHERE seq BETWEEN ? AND ?", [at, at + length]),
      );
      const isTail = at + length >= COUNT;
      expect(problem).toMatchObject({ seq: at, fault: isTail ? "tail_cut" : "removed" });
      expect(verified).toBe(at - 1);
    }),
    { numRuns: 30 },
  );
});

test("any two records that change places are found at the first", async () => {
  await fc.assert(
    fc.asyncProperty(seq, seq, async (one, other) => {
      fc.pre(one !== other);
      const { problem } = await verdictAfter((handle) => {
        handle.run("UPDATE records SET seq = -1 WHERE seq = ?", [one]);
        handle.run("UPDATE records SET seq = ? WHERE seq = ?", [one, other]);
        handle.run("UPDATE records SET seq = ? WHERE seq = -1", [other]);
      });
      expect(problem).toMatchObject({ seq: Math.min(one, other), fault: "moved" });
    }),
    { numRuns: 30 },
  );
});

test("a record put in, with all behind it moved on, is found at its place", async () => {
  await fc.assert(
    fc.asyncProperty(seq, async (at) => {
      const { problem } = await verdictAfter((handle) => {
        handle.run("UPDATE records SET seq = -seq - 1 WHERE seq >= ?", [at]);
        handle.run("UPDATE records SET seq = -seq WHERE seq < 0");
        handle.run(copyOf(at === 1 ? 2 : 1, at));
      });
      expect(problem?.seq).toBe(at);
    }),
    { numRuns: 20 },
  );
});

function copyOf(source: number, target: number): string {
  return `INSERT INTO records SELECT ${target}, randomblob(16), topic, part, sequence, type,
    order_id, customer_id, at, stored_at, fault, prev, hash, frame
    FROM records WHERE seq = ${source}`;
}

describe("at the ends", () => {
  test("a record behind the last one is found", async () => {
    const { problem } = await verdictAfter((handle) => handle.run(copyOf(COUNT, COUNT + 1)));
    expect(problem).toMatchObject({ seq: COUNT + 1, fault: "inserted" });
  });

  test("a record before the first one is found", async () => {
    const { problem } = await verdictAfter((handle) => handle.run(copyOf(1, 0)));
    expect(problem).toMatchObject({ seq: 0, fault: "inserted" });
  });

  test("a head whose hash was changed is found", async () => {
    const { problem } = await verdictAfter((handle) =>
      handle.run("UPDATE head SET hash = randomblob(32)"),
    );
    expect(problem).toMatchObject({ seq: COUNT, fault: "head_mismatch" });
  });

  test("everything removed, with the head left, is found", async () => {
    const { problem } = await verdictAfter((handle) => handle.run("DELETE FROM records"));
    expect(problem).toMatchObject({ seq: 1, fault: "tail_cut" });
  });

  test("a head that is gone is damage", async () => {
    expect(verdictAfter((handle) => handle.run("DELETE FROM head"))).rejects.toMatchObject({
      code: "DATA_DAMAGED",
    });
  });

  test("a tail cut with a head to match is the one thing only an anchor shows", async () => {
    const verdict = await verdictAfter((handle) => {
      handle.run("DELETE FROM records WHERE seq > 20");
      handle.run("UPDATE head SET count = 20, hash = (SELECT hash FROM records WHERE seq = 20)");
    });
    expect(verdict.problem).toBeUndefined();
    expect(verdict.head.count).toBe(20);
  });
});

describe("in slices", () => {
  test("goes on where it stopped and comes to the same end", async () => {
    const reads = readsOf(pristine);
    let fromSeq: number | undefined = 1;
    const slices: number[] = [];
    while (fromSeq !== undefined) {
      const { verified, nextSeq, problem } = await reads.verify({
        fromSeq,
        recordsMax: 7,
        budgetMs: 60_000,
      });
      expect(problem).toBeUndefined();
      slices.push(verified);
      fromSeq = nextSeq;
    }
    expect(slices).toEqual([7, 7, 7, 7, 2]);
  });

  test("makes progress however small its budget", async () => {
    const reads = readsOf(pristine);
    const { verified } = await reads.verify({ fromSeq: 1, recordsMax: 10_000, budgetMs: 0 });
    expect(verified).toBeGreaterThan(0);
  });

  test("finds that the record it goes on from is gone", async () => {
    const range = { ...EVERYTHING, fromSeq: 11 };
    const { problem } = await verdictAfter(
      (handle) => handle.run("DELETE FROM records WHERE seq = 10"),
      range,
    );
    expect(problem).toMatchObject({ seq: 11 });
  });

  test("from beyond the end looks at the end only", async () => {
    const range = { ...EVERYTHING, fromSeq: 10_000 };
    expect(await verdictAfter(() => undefined, range)).toMatchObject({ verified: 0, upToSeq: 0 });
  });
});

test("while there is no audit, it is empty and whole", async () => {
  const reads = readsOf(makeAuditDirectory());
  expect(await reads.verify(EVERYTHING)).toMatchObject({ verified: 0, head: { count: 0 } });
  expect(await reads.head()).toEqual({ count: 0, hash: new Uint8Array(32) });
  expect(await reads.search({ limit: 10 })).toEqual({ records: [] });
});
