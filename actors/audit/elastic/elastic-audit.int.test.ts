/**
 * The audit on real servers of both products: the same answers as the embedded audit, once each,
 * whoever feeds it and however often; what was acknowledged survives the server's death.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import type { ServiceName, TestServer } from "../../../deploy/services/test-server.ts";
import type { FeedRecord } from "../../brokers/feed.ts";
import type { AuditQuery } from "../audit-query.ts";
import type { AuditReads } from "../audit-reads.ts";
import type { AuditView } from "../audit-view.ts";
import type { ElasticLink } from "./elastic-link.ts";
import type { ElasticSettings } from "./elastic-settings.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { isShopError } from "../../../runtime/errors.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { createTestFeed, openAudit, readsOf, removeAudits } from "../audit.fixture.ts";
import { parseTerms } from "../audit-query.ts";
import {
  closeAll,
  everything,
  freshSettings,
  openTestLink,
  openTestReads,
  openTestSink,
} from "./elastic.fixture.ts";
import { recordsPattern } from "./audit-indices.ts";

const WHOLE = { fromSeq: 1, recordsMax: 1_000_000, budgetMs: 60_000 };
const ORDERS = 30;

function termsOf(text: string) {
  const terms = parseTerms(text);
  if ("refused" in terms) throw new Error(terms.refused);
  return terms;
}

/** A record without its places in chains, which differ from one audit to the other. */
function contentOf({ seq: _seq, hash: _hash, ...content }: AuditView) {
  return content;
}

/** What the embedded audit has of the same records. */
function embeddedReads(records: readonly FeedRecord[]): AuditReads {
  const { directory, projection } = openAudit();
  projection.apply({ records, cursor: "end" });
  projection.close();
  return readsOf(directory);
}

const query: fc.Arbitrary<Partial<AuditQuery>> = fc.record(
  {
    limit: fc.integer({ min: 1, max: 60 }),
    orderId: fc.constantFrom("order-3", "order-21", "nobody"),
    customerId: fc.constantFrom("customer-0", "customer-2", "nobody"),
    type: fc.constantFrom(1, 3, 6, 0),
    fromMs: fc.nat(ORDERS * 5),
    toMs: fc.nat(ORDERS * 5),
    terms: fc
      .constantFrom("berlin", "ref3", '"der pariser"', "zoe angst*", "simulated", "ref* standard")
      .map((text) => termsOf(text)),
  },
  { requiredKeys: [] },
);

/** From here on the index is searched as it is, unless somebody asks for more. */
async function neverRefresh(link: ElasticLink, settings: ElasticSettings): Promise<void> {
  const path = `/${recordsPattern(settings)}/_settings`;
  await link.ask({ method: "PUT", path, body: { "index.refresh_interval": "-1" } });
}

const PRODUCTS: readonly ServiceName[] = ["elasticsearch", "opensearch"];

describe.each(PRODUCTS)("the audit on %s", (product) => {
  const missing = whyMissing(product);
  const available = requireOrSkip(product, missing === undefined, missing ?? "");

  describe.skipIf(!available)("a server of its own", () => {
    let server: TestServer;
    beforeAll(async () => {
      server = await startTestServer(product);
    });
    afterAll(async () => {
      await closeAll();
      removeAudits();
      await server.dispose();
    });

    /** A sink that has taken `records`, and readers that see all of them. */
    async function filled(records: readonly FeedRecord[]) {
      const settings = freshSettings(server.url);
      const { sink, counts } = await openTestSink(settings);
      const reads = await openTestReads(settings);
      const { link, refresh } = await openTestLink(settings);
      if (records.length > 0) await sink.append(records);
      await refresh();
      return { settings, sink, counts, reads, link, refresh };
    }

    test("any query is answered as the embedded audit answers it", async () => {
      const feed = createTestFeed();
      const orders = Array.from({ length: ORDERS }, (_, number) => feed.order(number)).flat();
      const again = orders.slice(3, 9).map(({ topic, bytes, partition }) => {
        feed.environment.jumpWallClock(1_000);
        return feed.record(topic, bytes, partition);
      });
      const broken = feed.record("orders", new Uint8Array([1, 2, 3]));
      const records = [...orders, ...again, broken];
      const { reads } = await filled(records);
      const embedded = embeddedReads(records);
      const startMs = orders[0]?.storedAtMs ?? 0;
      await fc.assert(
        fc.asyncProperty(query, async ({ fromMs, toMs, ...asked }) => {
          const times = {
            ...(fromMs === undefined ? {} : { fromMs: startMs + fromMs * 1_000 }),
            ...(toMs === undefined ? {} : { toMs: startMs + toMs * 1_000 }),
          };
          const [found, wanted] = await Promise.all([
            everything(reads, { ...asked, ...times }),
            everything(embedded, { ...asked, ...times }),
          ]);
          expect(found.map(contentOf)).toEqual(wanted.map(contentOf));
        }),
        {
          numRuns: 60,
          examples: [
            [{}],
            [{ limit: 1, customerId: "customer-0" }],
            [{ limit: 7, terms: termsOf("berlin") }],
            [{ type: 0 }],
          ],
        },
      );
    });

    test("a record that comes again, from another member too, changes nothing", async () => {
      const feed = createTestFeed();
      const records = [...feed.order(1), ...feed.order(2)];
      const { sink, counts, reads, settings } = await filled(records);
      const before = await reads.head();
      const other = await openTestSink(settings);
      await other.sink.append(records);
      await Promise.all([sink.append(records), other.sink.append(records)]);
      expect(await reads.head()).toEqual(before);
      expect(before.count).toBe(10);
      expect(counts[0]).toMatchObject({ recorded: 10, repeats: 0 });
      expect(counts[1]).toMatchObject({ recorded: 0, repeats: 10 });
      expect(other.counts[0]).toMatchObject({ recorded: 0, repeats: 10, conflicts: 0 });
      expect(await reads.verify(WHOLE)).toMatchObject({ verified: 10 });
    });

    test("members who take partitions from each other keep one chain", async () => {
      const feed = createTestFeed();
      // Neither by itself nor by a head is anything found while they take turns.
      const settings = freshSettings(server.url, { sealMs: 60_000 });
      const reads = await openTestReads(settings);
      const { link } = await openTestLink(settings);
      const members = [await openTestSink(settings), await openTestSink(settings)];
      const given: FeedRecord[] = [];
      for (let round = 0; round < 12; round++) {
        const again = round % 3 === 0 ? given.slice(-7) : [];
        const records = [...feed.order(round), ...again];
        given.push(...records.slice(0, 5));
        // Straight after the other, with no time to be found by a search.
        await members[round % 2]?.sink.append(records);
        if (round === 0) await neverRefresh(link, settings);
      }
      for (const { sink } of members) await sink.maintain(0);
      const { problem, verified, head } = await reads.verify(WHOLE);
      expect(problem).toBeUndefined();
      expect(head.count).toBe(60);
      expect(verified).toBe(60);
    });

    test("what was stored is found in time, though the server refreshes nothing", async () => {
      const feed = createTestFeed();
      const settings = freshSettings(server.url, { refreshMs: 100 });
      const { sink } = await openTestSink(settings);
      const reads = await openTestReads(settings);
      const { link } = await openTestLink(settings);
      await sink.append(feed.order(0));
      await neverRefresh(link, settings);
      for (let order = 1; order <= 3; order++) {
        await sink.append(feed.order(order));
        await Bun.sleep(settings.refreshMs);
        const page = await reads.search({ limit: 5, orderId: `order-${order}` });
        expect(page.records).toHaveLength(5);
      }
    });

    test("members who feed the same at once store it once, in whole chains", async () => {
      const feed = createTestFeed();
      const records = Array.from({ length: 40 }, (_, number) => feed.order(number)).flat();
      const { settings, reads, refresh } = await filled([]);
      const members = await Promise.all([1, 2, 3].map(() => openTestSink(settings)));
      await Promise.all(
        members.map(async ({ sink }, index) => {
          const size = 17 + 6 * index;
          for (let at = 0; at < records.length; at += size) {
            await sink.append(records.slice(at, at + size));
          }
        }),
      );
      for (const { sink } of members) await sink.append(records.slice(-1));
      for (const { sink } of members) await sink.maintain(0);
      await refresh();
      expect(await everything(reads)).toHaveLength(200);
      const verdict = await reads.verify(WHOLE);
      expect(verdict).toMatchObject({ verified: 200, head: { count: 200 } });
      expect(verdict.problem).toBeUndefined();
    });

    test("a walk in slices ends where one walk ends", async () => {
      const feed = createTestFeed();
      const records = Array.from({ length: 30 }, (_, number) => feed.order(number)).flat();
      const { reads } = await filled(records);
      let fromSeq: number | undefined = 1;
      let verified = 0;
      while (fromSeq !== undefined) {
        const slice = await reads.verify({ fromSeq, recordsMax: 37, budgetMs: 60_000 });
        expect(slice.problem).toBeUndefined();
        verified += slice.verified;
        fromSeq = slice.nextSeq;
      }
      expect(verified).toBe(150);
    });

    test.each([
      ["altered", { at: 1 }, "altered"],
      ["removed", undefined, "removed"],
      ["moved", { place: 7 }, "removed"],
    ])("a record that was %s is named", async (_what, change, fault) => {
      const feed = createTestFeed();
      const records = [1, 2, 3, 4].flatMap((number) => feed.order(number));
      const { reads, link, refresh, settings } = await filled(records);
      const victims = (await everything(reads)).filter(
        ({ topic, partition }) => topic === "orders" && partition === records[0]?.partition,
      );
      const victim = victims.at(-1);
      if (victim === undefined) throw new Error("there is no record");
      const id = encodeURIComponent(`orders/${victim.partition}/${victim.sequence}`);
      const index = `${settings.prefix}-2*`;
      const found = await link.ask<{ readonly hits: { readonly hits: readonly Stored[] } }>({
        method: "POST",
        path: `/${index}/_search`,
        body: { query: { ids: { values: [decodeURIComponent(id)] } } },
      });
      const [stored] = found.body.hits.hits;
      if (stored === undefined) throw new Error("there is no document");
      const { _index: where, _source: source } = stored;
      const path = `/${where}/_doc/${id}`;
      if (change === undefined) await link.ask({ method: "DELETE", path });
      else await link.ask({ method: "PUT", path, body: { ...source, ...change } });
      await refresh();
      expect((await reads.verify(WHOLE)).problem?.fault as string).toBe(fault);
    });

    test("records cut off at the end are missed by the sealed head", async () => {
      const feed = createTestFeed();
      const { reads, link, refresh, settings } = await filled(feed.order(1));
      const [last] = await everything(reads);
      if (last === undefined) throw new Error("there is no record");
      const id = encodeURIComponent(`${last.topic}/${last.partition}/${last.sequence}`);
      const [year, month] = new Date(last.storedAtMs).toISOString().split("-");
      const path = `/${settings.prefix}-${year}.${month}.01/_doc/${id}`;
      await link.ask({ method: "DELETE", path });
      await refresh();
      expect((await reads.verify(WHOLE)).problem).toMatchObject({ fault: "tail_cut" });
    });

    test("records whose sequences mean nothing are kept once, outside of the chains", async () => {
      const feed = createTestFeed();
      const settings = freshSettings(server.url);
      const { sink, counts } = await openTestSink(settings, (topic) => topic !== "orders");
      const records = feed.order(1);
      await sink.append(records);
      const moved = records.map((record) => ({ ...record, sequence: record.sequence + 90 }));
      await sink.append(moved.filter(({ topic }) => topic === "orders"));
      const { refresh } = await openTestLink(settings);
      await refresh();
      const reads = await openTestReads(settings);
      const ofOrders = records.filter(({ topic }) => topic === "orders").length;
      expect(counts[0]).toMatchObject({ recorded: 5, unchained: ofOrders });
      expect(counts[1]).toMatchObject({ recorded: 0, repeats: ofOrders });
      expect(await reads.head()).toMatchObject({ count: 5 - ofOrders, unchained: ofOrders });
      expect(await everything(reads)).toHaveLength(5);
    });

    test("a topic that was made anew loses no record to the one before", async () => {
      const { sink, reads, refresh, counts } = await filled(createTestFeed().order(1));
      const feed = createTestFeed();
      // So that the ids of its messages are other ones.
      for (let ids = 0; ids < 50; ids++) feed.environment.newId();
      await sink.append(feed.order(1, "customer-9"));
      await sink.append(feed.order(1, "customer-9"));
      await refresh();
      expect(counts.map(({ conflicts }) => conflicts)).toEqual([0, 5, 0]);
      expect(await everything(reads)).toHaveLength(15);
      expect((await reads.verify(WHOLE)).problem).toBeUndefined();
    });

    test("a record never takes the place of another, even one that came unseen", async () => {
      const feed = createTestFeed();
      const [first, second, other] = [1, 2, 3].map((number) => feed.order(number)[0]);
      if (first === undefined || second === undefined || other === undefined) {
        throw new Error("there is no order");
      }
      const at = (record: FeedRecord, sequence: number) => ({ ...record, partition: 0, sequence });
      const { sink, counts, reads, refresh, settings } = await filled([at(first, 1)]);
      await (await openTestSink(settings)).sink.append([at(second, 2)]);
      await sink.append([at(other, 2)]);
      await sink.append([at(other, 3)]);
      await refresh();
      expect(counts.map(({ conflicts }) => conflicts)).toEqual([0, 1, 0]);
      const found = (await everything(reads)).map(({ orderId }) => orderId);
      expect(found.toSorted()).toEqual(["order-1", "order-2", "order-3"]);
      expect(await reads.verify(WHOLE)).toMatchObject({ verified: 3, head: { count: 3 } });
    });

    test("old indices go, and the chains that began in them are still whole", async () => {
      const feed = createTestFeed();
      const old = [...feed.order(1), ...feed.order(2)];
      feed.environment.jumpWallClock(100 * 86_400_000);
      const recent = [...feed.order(1), ...feed.order(2), ...feed.order(3)];
      const settings = freshSettings(server.url, { retentionDays: 30 });
      const { sink } = await openTestSink(settings);
      await sink.append(old);
      await sink.append(recent);
      await sink.maintain(feed.environment.nowMs());
      const { refresh } = await openTestLink(settings);
      await refresh();
      const reads = await openTestReads(settings);
      expect(await everything(reads)).toHaveLength(15);
      const verdict = await reads.verify(WHOLE);
      expect(verdict.problem).toBeUndefined();
      expect(verdict).toMatchObject({ verified: 15, head: { count: 25 } });
      const next = await openTestSink(settings);
      await next.sink.append(feed.order(4));
      await refresh();
      expect((await reads.verify(WHOLE)).problem).toBeUndefined();
    });

    test("a record that the server cannot map is kept without holding up the rest", async () => {
      const feed = createTestFeed();
      const settings = freshSettings(server.url);
      const { sink, counts, logs } = await openTestSink(settings);
      const { link, refresh } = await openTestLink(settings);
      const records = [...feed.order(1), feed.record("orders", new Uint8Array([9]), 1)];
      const day = new Date(records[0]?.storedAtMs ?? 0).toISOString().slice(0, 7);
      await link.ask({
        method: "PUT",
        path: `/${settings.prefix}-${day.replace("-", ".")}.01`,
        body: { mappings: { properties: { fault: { type: "integer" } } } },
      });
      await sink.append(records);
      await refresh();
      expect(counts[0]).toMatchObject({ recorded: 6, reduced: 1, refused: 0 });
      expect(logs.join("\n")).toContain("1 records reduced");
      const reads = await openTestReads(settings);
      const faults = (await everything(reads)).map(({ fault }) => fault);
      expect(faults.filter((fault) => fault !== undefined)).toHaveLength(1);
      expect(faults).toHaveLength(6);
      expect(await reads.verify(WHOLE)).toMatchObject({ verified: 6, head: { count: 6 } });
    });

    test("nothing of what must stay hidden leaves the process", async () => {
      const feed = createTestFeed();
      const { link, settings } = await filled(feed.order(1));
      const { body } = await link.ask<{ readonly hits: { readonly hits: readonly Stored[] } }>({
        method: "POST",
        path: `/${recordsPattern(settings)}/_search`,
        body: { size: 100 },
      });
      const kept = body.hits.hits
        .map(({ _source: source }) => {
          const frame = Buffer.from(source["frame"] ?? "", "base64").toString("latin1");
          return `${JSON.stringify(source)} ${frame}`;
        })
        .join("\n");
      expect(body.hits.hits).toHaveLength(5);
      expect(kept.toLowerCase()).not.toMatch(/secretone|secrettwo|secretthree|secretfour/);
    });
  });
});

interface Stored {
  readonly _index: string;
  readonly _source: Readonly<Record<string, string>>;
}

const KILL_TIMEOUT_MS = 180_000;

describe.each(PRODUCTS)("a server of %s that dies", (product) => {
  const missing = whyMissing(product);
  const available = requireOrSkip(product, missing === undefined, missing ?? "");

  test.skipIf(!available)(
    "has everything that was acknowledged when it is back",
    async () => {
      const server = await startTestServer(product);
      try {
        const settings = freshSettings(server.url, { requestTimeoutMs: 5_000 });
        const { sink } = await openTestSink(settings);
        const feed = createTestFeed();
        const acknowledged: FeedRecord[] = [];
        let isDead: Promise<void> | undefined;
        for (let number = 0; number < 60; number++) {
          const records = [1, 2, 3, 4].flatMap((part) => feed.order(4 * number + part));
          if (number === 20) isDead = server.kill().then(() => server.start());
          for (;;) {
            try {
              await sink.append(records);
              acknowledged.push(...records);
              break;
            } catch (error) {
              if (!isShopError(error, "STORAGE_FAULT", "STORAGE_FULL")) throw error;
              await isDead;
              // A connection that is down refuses at once; it must get a turn to come back.
              await Bun.sleep(50);
            }
          }
        }
        await sink.maintain(0);
        const { refresh } = await openTestLink(settings);
        await refresh();
        const reads = await openTestReads(settings);
        const there = new Set(
          (await everything(reads, { limit: 200 })).map(
            ({ topic, partition, sequence }) => `${topic}/${partition}/${sequence}`,
          ),
        );
        const lost = acknowledged.filter(
          ({ topic, partition, sequence }) => !there.has(`${topic}/${partition}/${sequence}`),
        );
        expect(lost).toEqual([]);
        expect(there.size).toBe(1_200);
        expect((await reads.verify(WHOLE)).problem).toBeUndefined();
      } finally {
        await closeAll();
        await server.dispose();
      }
    },
    KILL_TIMEOUT_MS,
  );
});
