/** Reads that are opened by who asks first: who waits with whom, and what is refused how long. */

import { describe, expect, test } from "bun:test";

import type { AuditHead } from "../actors/audit/audit-chain.ts";
import type { AuditReads } from "../actors/audit/audit-reads.ts";

import { ShopError } from "../runtime/errors.ts";
import { createVirtualEnvironment } from "../runtime/virtual-environment.ts";
import { absentFrom, lateAudit, RETRY_AFTER_MS } from "./late-reads.ts";

const HEAD: AuditHead = { count: 3, hash: new Uint8Array(32) };
const WRONG = new ShopError("SERVER_UNUSABLE", "elasticsearch.url: nothing at 10.0.0.7", "never");

function setUp() {
  const environment = createVirtualEnvironment();
  const openings: PromiseWithResolvers<AuditReads>[] = [];
  const logged: string[] = [];
  let closes = 0;
  const opened: AuditReads = {
    head: () => Promise.resolve(HEAD),
    search: () => Promise.resolve({ records: [] }),
    verify: () => Promise.resolve({ verified: 0, upToSeq: 0, head: HEAD }),
    close: () => void closes++,
  };
  const reads = lateAudit({
    environment,
    what: "the audit",
    setting: "elasticsearch.url",
    open() {
      const opening = Promise.withResolvers<AuditReads>();
      openings.push(opening);
      return opening.promise;
    },
    onLog: (_level, text) => void logged.push(text),
  });
  return { environment, openings, logged, opened, reads, closes: () => closes };
}

describe("late reads", () => {
  test("open nothing before they are asked, and once for all who ask", async () => {
    const { openings, opened, reads } = setUp();
    expect(openings).toHaveLength(0);
    const both = Promise.all([reads.head(), reads.search({ limit: 1 })]);
    openings[0]?.resolve(opened);
    expect(await both).toEqual([HEAD, { records: [] }]);
    await reads.head();
    expect(openings).toHaveLength(1);
  });

  test("say what is missing and no address, at once for a while, and then try again", async () => {
    const { environment, openings, logged, opened, reads } = setUp();
    const refusal = { code: "READS_UNAVAILABLE", retry: "later" };
    const asked = reads.head();
    openings[0]?.reject(WRONG);
    await expect(asked).rejects.toMatchObject(refusal);
    const atOnce = reads.head();
    expect(openings).toHaveLength(1);
    await expect(atOnce).rejects.toThrow(/the audit, see elasticsearch\.url$/);
    expect(logged).toEqual([expect.stringContaining("10.0.0.7")]);
    await environment.advance(RETRY_AFTER_MS);
    const again = reads.head();
    expect(openings).toHaveLength(2);
    openings[1]?.resolve(opened);
    expect(await again).toBe(HEAD);
  });

  test("close what they have opened, also what is opened later, and answer nobody", async () => {
    const { environment, openings, opened, reads, closes } = setUp();
    const asked = reads.head();
    reads.close();
    openings[0]?.resolve(opened);
    await asked;
    await environment.settle();
    expect(closes()).toBe(1);
    await expect(reads.head()).rejects.toMatchObject({ code: "CLOSED" });
  });
});

test("what no setting of this process can reach is refused for good", async () => {
  const absent = absentFrom("audit", "audit.store = elasticsearch");
  const refusal = { code: "READS_UNAVAILABLE", retry: "never" };
  await expect(absent()).rejects.toMatchObject(refusal);
  await expect(absent()).rejects.toThrow(/roles .* audit\.store = elasticsearch/);
});
