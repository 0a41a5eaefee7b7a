/** Searching real files: every combination of conditions, page by page, within its bounds. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { Database } from "bun:sqlite";

import * as fc from "fast-check";

import type { AuditQuery } from "./audit-query.ts";
import type { AuditReads } from "./audit-reads.ts";
import type { AuditView } from "./audit-view.ts";

import {
  createTestFeed,
  filledAudit,
  openAudit,
  orderCreated,
  readsOf,
  removeAudits,
  tamper,
} from "./audit.fixture.ts";
import { auditPath } from "./audit-database.ts";
import {
  READ_CHUNK_RECORDS,
  SCAN_RECORDS_MAX,
  SCAN_SHARDS_MAX,
  WORDS_SHARD_RECORDS,
} from "./audit-limits.ts";
import { parseTerms } from "./audit-query.ts";
import { openAuditReads } from "./audit-reads.ts";

afterAll(removeAudits);

const ORDERS = 60;
let reads: AuditReads;
let all: readonly AuditView[];

beforeAll(async () => {
  reads = readsOf(filledAudit(ORDERS).directory);
  all = await everything({});
});

function termsOf(text: string) {
  const terms = parseTerms(text);
  if ("refused" in terms) throw new Error(terms.refused);
  return terms;
}

/** All pages of a query, one after the other. */
async function everything(query: Partial<AuditQuery>, from = reads): Promise<AuditView[]> {
  const found: AuditView[] = [];
  let beforeSeq: number | undefined;
  do {
    const place = beforeSeq === undefined ? {} : { beforeSeq };
    const page = await from.search({ limit: 50, ...query, ...place });
    expect(page.records.length).toBeLessThanOrEqual(query.limit ?? 50);
    found.push(...page.records);
    if (page.nextBeforeSeq !== undefined && beforeSeq !== undefined) {
      expect(page.nextBeforeSeq).toBeLessThan(beforeSeq);
    }
    beforeSeq = page.nextBeforeSeq;
  } while (beforeSeq !== undefined);
  return found;
}

const seqs = (records: readonly AuditView[]) => records.map(({ seq }) => seq);

test("without conditions every record is there, newest first", () => {
  expect(seqs(all)).toEqual(Array.from({ length: ORDERS * 5 }, (_, index) => ORDERS * 5 - index));
});

test("a record says what happened, to what, when and because of what", () => {
  const [paid] = all.filter(({ type }) => type === "payment.processed");
  const created = all.find(
    ({ orderId, type }) => orderId === paid?.orderId && type === "order.created",
  );
  expect(paid).toMatchObject({
    topic: "payments",
    orderId: "order-59",
    customerId: "customer-2",
    correlationId: created?.id,
    causationId: created?.id,
    data: { amountMinor: 2_100, status: "completed", gateway: "standard" },
  });
  expect(paid?.hash).toMatch(/^[0-9a-f]{64}$/);
  expect(paid?.atMs).toBeGreaterThan(created?.atMs ?? Infinity);
});

const query: fc.Arbitrary<Partial<AuditQuery>> = fc.record(
  {
    limit: fc.integer({ min: 1, max: 60 }),
    orderId: fc.constantFrom("order-3", "order-41", "nobody"),
    customerId: fc.constantFrom("customer-0", "customer-2", "nobody"),
    type: fc.constantFrom(1, 3, 6, 0),
    fromMs: fc.nat(ORDERS * 5).map((index) => all[index]?.atMs ?? 0),
    toMs: fc.nat(ORDERS * 5).map((index) => all[index]?.atMs ?? 0),
    terms: fc
      .constantFrom("berlin", "ref3", '"der pariser"', "zoe angst*", "simulated", "ref* standard")
      .map((text) => termsOf(text)),
  },
  { requiredKeys: [] },
);

const TYPES = new Map([
  [1, "order.created"],
  [3, "order.shipped"],
  [6, "payment.processed"],
]);
const TEXTS: Readonly<Record<string, RegExp>> = {
  berlin: /berlin/i,
  ref3: /\bref3\b/,
  "der pariser": /\bder pariser\b/i,
  "zoe angst": /zoë ångst/i,
  simulated: /simulated/,
  "ref standard": /standard.*\bref|\bref.*standard/,
};

/** What a query means, said in another way: by looking at everything. */
function meant(asked: Partial<AuditQuery>): readonly AuditView[] {
  const words = asked.terms?.map((term) => term.words.join(" ")).join(" ");
  return all.filter(
    ({ orderId, customerId, type, atMs, data }) =>
      (asked.orderId === undefined || orderId === asked.orderId) &&
      (asked.customerId === undefined || customerId === asked.customerId) &&
      (asked.type === undefined || type === TYPES.get(asked.type)) &&
      (asked.fromMs === undefined || atMs >= asked.fromMs) &&
      (asked.toMs === undefined || atMs < asked.toMs) &&
      (words === undefined || TEXTS[words]?.test(JSON.stringify(data)) === true),
  );
}

test("any combination of conditions gives what a look at everything gives", async () => {
  await fc.assert(
    fc.asyncProperty(query, async (asked) => {
      expect(seqs(await everything(asked))).toEqual(seqs(meant(asked)));
    }),
    { numRuns: 200 },
  );
});

test("pages are stable: what is recorded in between moves nothing", async () => {
  const feed = createTestFeed();
  const { directory, projection } = openAudit();
  projection.apply(feed.batch([...feed.order(1), ...feed.order(2)]));
  const growing = readsOf(directory);
  const first = await growing.search({ limit: 4 });
  projection.apply(feed.batch(feed.order(3)));
  const { nextBeforeSeq = 0 } = first;
  const second = await growing.search({ limit: 4, beforeSeq: nextBeforeSeq });
  expect([...seqs(first.records), ...seqs(second.records)]).toEqual([10, 9, 8, 7, 6, 5, 4, 3]);
});

test("a full last page says that it is the last", async () => {
  expect(await reads.search({ limit: 5, orderId: "order-3" })).not.toHaveProperty("nextBeforeSeq");
  expect(await reads.search({ limit: 4, orderId: "order-3" })).toHaveProperty("nextBeforeSeq");
  const terms = termsOf("ref3");
  expect(await reads.search({ limit: 1, terms })).not.toHaveProperty("nextBeforeSeq");
});

describe("secrets", () => {
  test.each(["secretone", "secrettwo", "secretthree", "secretfour", "49301234567"])(
    "%s is not found",
    async (word) => {
      expect(await everything({ terms: termsOf(word) })).toEqual([]);
    },
  );

  test("are not in the file of words", () => {
    const { directory } = filledAudit(1);
    tamper(directory, (handle) => {
      handle.run("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, words_0, row)");
      const terms = handle.prepare<{ term: string }, []>("SELECT term FROM temp.terms").all();
      const text = terms.map(({ term }) => term).join(" ");
      expect(text).toContain("berlin");
      expect(text).not.toMatch(/secret|tok|fp|example|493/);
    });
  });
});

describe("within bounds", () => {
  test("a rare match is found by going on, over pages that are empty", async () => {
    const feed = createTestFeed();
    const { directory, projection } = openAudit();
    projection.apply(feed.batch([feed.event(orderCreated("rare", "c"))]));
    const count = SCAN_RECORDS_MAX + 100;
    const { environment } = feed;
    const many = Array.from({ length: count }, () =>
      feed.event({ type: "reservation.lapsed", orderId: "o" }),
    );
    projection.apply(feed.batch(many));
    const endMs = environment.nowMs() + 1;
    const slow = readsOf(directory);
    // By time alone no index leads to a type.
    const asked = { limit: 10, type: 1, customerId: "c", toMs: endMs };
    expect(seqs((await slow.search(asked)).records)).toEqual([1]);
    const byOrder = await slow.search({ limit: 10, orderId: "o", type: 3 });
    expect(byOrder.records).toEqual([]);
    expect(byOrder.nextBeforeSeq).toBeGreaterThan(1);
    expect(await everything({ orderId: "o", type: 3 }, slow)).toEqual([]);
  });

  test("others get their turn between two chunks", async () => {
    const feed = createTestFeed();
    const { directory, projection } = openAudit();
    const lapse = () => feed.event({ type: "reservation.lapsed", orderId: "o" });
    projection.apply(feed.batch(Array.from({ length: READ_CHUNK_RECORDS * 4 }, lapse)));
    let turns = 0;
    const defer = (callback: () => void) => {
      turns++;
      queueMicrotask(callback);
    };
    const polite = openAuditReads({ directory, environment: { monotonicMs: () => 0, defer } });
    await polite.search({ limit: 10, orderId: "o", type: 3 });
    expect(turns).toBe(3);
    await polite.verify({ fromSeq: 1, recordsMax: 10_000, budgetMs: 1_000 });
    expect(turns).toBe(7);
  });

  test("words are found on both sides of a table's end, and many tables further back", async () => {
    const feed = createTestFeed();
    const { directory, projection } = openAudit();
    projection.apply(feed.batch(feed.order(1)));
    projection.close();
    // As if so many records had been written in between.
    const skipTo = (count: number) =>
      tamper(directory, (handle) => handle.run("UPDATE head SET count = ?", [count]));
    skipTo(WORDS_SHARD_RECORDS - 1);
    const { projection: second } = openAudit(directory);
    second.apply(feed.batch(feed.order(2)));
    second.close();
    skipTo(WORDS_SHARD_RECORDS * (SCAN_SHARDS_MAX + 3));
    const { projection: third } = openAudit(directory);
    third.apply(feed.batch(feed.order(3)));
    const far = readsOf(directory);
    const edge = WORDS_SHARD_RECORDS;
    const terms = termsOf("ref2");
    expect(seqs(await everything({ terms }, far))).toEqual([edge + 2]);
    expect(seqs(await everything({ terms: termsOf("berlin"), orderId: "order-2" }, far))).toEqual([
      edge,
    ]);
    const simulated = await everything({ terms: termsOf("simulated") }, far);
    expect(simulated.map(({ orderId }) => orderId)).toEqual(["order-3", "order-2", "order-1"]);
    const first = await far.search({ limit: 10, terms: termsOf("ref1") });
    expect(first.records).toEqual([]);
    expect(first.nextBeforeSeq).toBeGreaterThan(1);
    expect(seqs(await everything({ terms: termsOf("ref1") }, far))).toEqual([3]);
  });

  test("words in a file of format 1 are found where that format has them", async () => {
    const feed = createTestFeed();
    const { directory, projection } = openAudit();
    projection.apply(feed.batch(feed.order(1)));
    projection.close();
    const farSeq = 3 * WORDS_SHARD_RECORDS;
    tamper(directory, (handle) => {
      handle.run("PRAGMA user_version = 1");
      handle.run("UPDATE head SET count = ?", [farSeq]);
    });
    const { projection: second } = openAudit(directory);
    second.apply(feed.batch(feed.order(2)));
    second.maintain(0, 1);
    const old = readsOf(directory);
    expect(seqs(await everything({ terms: termsOf("ref2") }, old))).toEqual([farSeq + 3]);
    const found = await old.search({ limit: 10, terms: termsOf("simulated") });
    expect(found.records.map(({ orderId }) => orderId)).toEqual(["order-2", "order-1"]);
    tamper(directory, (handle) => {
      const names = handle.prepare("SELECT name FROM sqlite_schema WHERE name GLOB 'words_[0-9]*'");
      expect(names.values().map(String)).not.toContain("words_3");
      expect(names.values().map(String)).toContain("words_0");
    });
  });

  test("a page of large records ends before its bytes run out", async () => {
    const feed = createTestFeed();
    const { directory, projection } = openAudit();
    const places = Array.from({ length: 1_000 }, (_, index) => index);
    const large = () =>
      feed.event({
        type: "user.behavior",
        batchId: feed.environment.newId(),
        baseMs: 1,
        offsetMs: places,
        events: places.map((place) => `${place}-${"x".repeat(50)}`),
        event: places,
        customers: places.map((place) => `${place}-${"y".repeat(100)}`),
        customer: places,
        products: places.map((place) => `${place}-${"z".repeat(100)}`),
        product: places,
      });
    projection.apply(feed.batch(Array.from({ length: 10 }, large)));
    const page = await readsOf(directory).search({ limit: 200 });
    expect(page.records.length).toBeGreaterThan(0);
    expect(page.records.length).toBeLessThan(10);
    expect(await everything({ limit: 200 }, readsOf(directory))).toHaveLength(10);
  });
});

test("an index that was tampered with cannot invent an answer", async () => {
  const { directory } = filledAudit(2);
  tamper(directory, (handle) => {
    handle.run("INSERT INTO words_0 (rowid, text) VALUES (9, 'conspiracy')");
    handle.run("INSERT INTO words_0 (rowid, text) VALUES (99, 'conspiracy')");
  });
  const tampered = readsOf(directory);
  expect((await tampered.search({ limit: 5, terms: termsOf("conspiracy") })).records).toEqual([]);
});

test("after close every read is refused", async () => {
  const { directory } = filledAudit(1);
  const closing = readsOf(directory);
  await closing.head();
  closing.close();
  closing.close();
  expect(closing.head()).rejects.toMatchObject({ code: "CLOSED" });
});

test("reading changes nothing in the file", async () => {
  const { directory } = filledAudit(1);
  const looking = readsOf(directory);
  await looking.search({ limit: 5 });
  const handle = new Database(auditPath(directory), { readonly: true });
  expect(handle.prepare("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
  handle.close(true);
  looking.close();
});
