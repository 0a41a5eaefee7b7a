/** The chain by itself: no two records hash alike, and every tampering has its name. */

import { describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import type { AuditRecord, ChainedRecord } from "./audit-record.ts";

import { judgeBounds, judgeEnd, judgeRecord } from "./audit-chain.ts";
import { GENESIS_HASH, recordHash } from "./audit-record.ts";

const bytes = fc.uint8Array({ maxLength: 40 });
const text = fc.string({ unit: "grapheme", maxLength: 12 });
const whole = fc.nat();
const record: fc.Arbitrary<AuditRecord> = fc.record({
  seq: fc.integer({ min: 1 }),
  identity: bytes,
  topic: text,
  partition: whole,
  sequence: whole,
  type: whole,
  orderId: fc.option(text),
  customerId: fc.option(text),
  atMs: whole,
  storedAtMs: whole,
  fault: fc.option(text),
  frame: bytes,
});

/** `records` chained from the beginning, at the seqs 1, 2, … */
function chain(records: readonly AuditRecord[]): readonly ChainedRecord[] {
  let prev: Uint8Array = GENESIS_HASH;
  return records.map((one, index) => {
    const placed = { ...one, seq: index + 1 };
    const chained = { ...placed, prev, hash: recordHash(prev, placed) };
    prev = chained.hash;
    return chained;
  });
}

test("two records have one hash only when they are equal", () => {
  fc.assert(
    fc.property(record, record, (one, other) => {
      const isSame = Bun.deepEquals(one, other);
      const isSameHash = Bun.deepEquals(
        recordHash(GENESIS_HASH, one),
        recordHash(GENESIS_HASH, other),
      );
      expect(isSameHash).toBe(isSame);
    }),
  );
});

test("what moves from one column into the next is another record", () => {
  const [base] = fc.sample(record, 1);
  const hashOf = (change: Partial<AuditRecord>) =>
    Buffer.from(recordHash(GENESIS_HASH, { ...base!, ...change })).toString("hex"); // `!`: one
  const hashes = [
    hashOf({ orderId: "ab", customerId: "c" }),
    hashOf({ orderId: "a", customerId: "bc" }),
    hashOf({ orderId: "abc", customerId: "" }),
    hashOf({ orderId: "abc", customerId: null }),
    hashOf({ orderId: "", customerId: "abc" }),
    hashOf({ orderId: null, customerId: "abc" }),
  ];
  expect(new Set(hashes).size).toBe(hashes.length);
});

test("a record larger than the scratch is hashed whole", () => {
  const [base] = fc.sample(record, 1);
  const frame = new Uint8Array(200_000);
  const before = recordHash(GENESIS_HASH, { ...base!, frame }); // `!`: one was asked for
  frame[199_999] = 1;
  expect(recordHash(GENESIS_HASH, { ...base!, frame })).not.toEqual(before); // `!`: as above
});

describe("the judgement", () => {
  const chained = chain(fc.sample(record, { numRuns: 4, seed: 7 }));
  const [first, second, third, fourth] = chained as [
    ChainedRecord,
    ChainedRecord,
    ChainedRecord,
    ChainedRecord,
  ];
  const place = { seq: 3, prev: second.hash };
  const rehashed = (one: ChainedRecord): ChainedRecord => ({
    ...one,
    hash: recordHash(one.prev, one),
  });

  test.each([
    ["the right record", third, undefined],
    ["another content", { ...third, topic: "other" }, "altered"],
    ["another hash", { ...third, hash: first.hash }, "altered"],
    ["another previous hash", { ...third, prev: first.hash }, "altered"],
    ["the next record", fourth, "removed"],
    ["the next record under this seq", { ...fourth, seq: 3 }, "moved"],
    [
      "a forged record that follows another one",
      rehashed({ ...third, prev: first.hash }),
      "replaced",
    ],
  ])("%s", (_what, found, fault) => {
    expect(judgeRecord(place, found)?.fault).toBe(fault as never);
  });

  test("a record rewritten with its hash betrays itself at the next one", () => {
    const forged = rehashed({ ...second, topic: "forged" });
    expect(judgeRecord({ seq: 2, prev: first.hash }, forged)).toBeUndefined();
    const problem = judgeRecord({ seq: 3, prev: forged.hash }, third);
    expect(problem).toMatchObject({ seq: 3, fault: "replaced" });
  });

  test("the end is where the head says, with its hash", () => {
    const end = { seq: 5, prev: fourth.hash };
    expect(judgeEnd(end, { count: 4, hash: fourth.hash })).toBeUndefined();
    expect(judgeEnd(end, { count: 4, hash: first.hash })?.fault).toBe("head_mismatch");
    expect(judgeEnd(end, { count: 5, hash: fourth.hash })).toMatchObject({
      seq: 5,
      fault: "tail_cut",
    });
  });

  test("nothing stands outside the places that the head knows", () => {
    const head = { count: 4, hash: fourth.hash };
    expect(judgeBounds(null, null, head)).toBeUndefined();
    expect(judgeBounds(1, 4, head)).toBeUndefined();
    expect(judgeBounds(0, 4, head)).toMatchObject({ seq: 0, fault: "inserted" });
    expect(judgeBounds(1, 5, head)).toMatchObject({ seq: 5, fault: "inserted" });
  });
});
