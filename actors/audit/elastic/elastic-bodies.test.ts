/**
 * What is sent to the server and what is made of its answers, as data. Whether servers understand
 * it is tested with real ones.
 */

import { expect, test } from "bun:test";

import { parseTerms } from "../audit-query.ts";
import { ELASTIC_SETTINGS } from "./elastic-settings.ts";
import { ilmPolicy, ismPolicy, templateOf } from "./audit-indices.ts";
import { cutBulks, itemsOf, outcomeOf } from "./bulk-body.ts";
import { answerFailure, hostsOf, userOf } from "./elastic-failure.ts";
import { cutPage, pageBody, termCondition } from "./search-body.ts";
import { serverOf } from "./server-version.ts";

test.each([
  [{ status: 201 }, "stored"],
  [{ status: 200 }, "stored"],
  [{ status: 409, error: { type: "version_conflict_engine_exception" } }, "exists"],
  [{ status: 429, error: { type: "es_rejected_execution_exception" } }, "later"],
  [{ status: 503, error: { type: "unavailable_shards_exception" } }, "later"],
  [{ status: 403, error: { type: "cluster_block_exception" } }, "later"],
  [{ status: 400, error: { type: "mapper_parsing_exception" } }, "refused"],
  [{ status: 400, error: { type: "strict_dynamic_mapping_exception" } }, "refused"],
  [{ status: 400, error: { type: "document_parsing_exception" } }, "refused"],
  // The cluster is full of shards: nothing is wrong with the document.
  [{ status: 400, error: { type: "validation_exception" } }, "later"],
  [{ status: 0 }, "later"],
] as const)("an item that ended as %j is %s", (item, outcome) => {
  expect(outcomeOf(item)).toBe(outcome);
});

test("an answer to another number of items is no answer", () => {
  const answer = { errors: false, items: [{ create: { status: 201 } }] };
  expect(itemsOf(answer, 1)).toEqual([{ status: 201 }]);
  expect(() => itemsOf(answer, 2)).toThrow("1 answers to 2 items");
});

test("bulks keep their order and their bounds, and what is too large goes alone", () => {
  const pieces = [3, 3, 3, 20, 1, 1, 1].map((length) => ({ lines: "x".repeat(length) }));
  const lengths = cutBulks(pieces, 3, 7).map((bulk) => bulk.map(({ lines }) => lines.length));
  expect(lengths).toEqual([[3, 3], [3], [20], [1, 1, 1]]);
});

test("a disk that is full is told from a server that is busy", () => {
  const reason = "index [a] blocked by: [FORBIDDEN/12/index read-only / allow delete (api)];";
  const full = answerFailure(403, { type: "cluster_block_exception", reason });
  expect(full).toMatchObject({ code: "STORAGE_FULL", retry: "later" });
  expect(answerFailure(503, {})).toMatchObject({ code: "STORAGE_FAULT", retry: "later" });
});

test.each([
  ["berlin", { match_phrase: { texts: "berlin" } }],
  ['"der Pariser"', { match_phrase: { texts: "der pariser" } }],
  ["ang*", { prefix: { texts: "ang" } }],
])("the words %s are asked for as %j", (text, condition) => {
  const terms = parseTerms(text);
  if ("refused" in terms) throw new Error(terms.refused);
  expect(terms.map(termCondition)).toEqual([condition]);
});

test("what is asked for reaches the server as values only", () => {
  const nasty = '"}},{"match_all":{}}';
  const body = pageBody({ limit: 5, orderId: nasty, customerId: nasty, beforeSeq: 9 }, ["o"]);
  expect(body).toMatchObject({
    query: {
      bool: {
        filter: [
          { range: { seq: { lt: 9 } } },
          { term: { orderId: nasty } },
          { bool: { should: [{ term: { customerId: nasty } }, { terms: { orderId: ["o"] } }] } },
        ],
      },
    },
  });
});

const numbered = (...seqs: readonly number[]) => seqs.map((seq) => ({ seq, chars: 4 }));

test("a page ends between numbers, and never within one", () => {
  expect(cutPage(numbered(9, 8, 7), 3, 10)).toEqual({ taken: 3 });
  expect(cutPage(numbered(9, 8, 7), 2, 10)).toEqual({ taken: 2, nextBeforeSeq: 8 });
  expect(cutPage(numbered(9, 8, 8, 7), 2, 10)).toEqual({ taken: 1, nextBeforeSeq: 9 });
  expect(cutPage(numbered(8, 8, 7), 1, 10)).toEqual({ taken: 2, nextBeforeSeq: 8 });
  expect(cutPage(numbered(), 1, 10)).toEqual({ taken: 0 });
  // As many as were asked for: there may be more.
  expect(cutPage(numbered(9, 8), 2, 2)).toEqual({ taken: 2, nextBeforeSeq: 8 });
});

test("a page has a bound in bytes, but at least one record", () => {
  const huge = [9, 8, 7].map((seq) => ({ seq, chars: 1_000_000 }));
  expect(cutPage(huge, 50, 60)).toEqual({ taken: 1, nextBeforeSeq: 9 });
});

test.each([
  [{ version: { number: "7.17.29" } }, "elasticsearch"],
  [{ version: { number: "8.19.2" } }, "elasticsearch"],
  [{ version: { number: "2.19.1", distribution: "opensearch" } }, "opensearch"],
  [{ version: { number: "7.10.2", distribution: "opensearch" } }, "opensearch"],
] as const)("the greeting %j is of %s", (greeting, product) => {
  expect(serverOf(greeting, "host").product).toBe(product);
});

test.each([{ version: { number: "7.9.3" } }, { version: {} }, "hello", undefined, { version: 1 }])(
  "the greeting %j is refused",
  (greeting) => {
    expect(() => serverOf(greeting, "host:9200")).toThrow("elasticsearch.url: the server at host");
  },
);

test("of an address only hosts and user are told", () => {
  const url = "https://me%40shop:secret@one:9200/path,http://two";
  expect(hostsOf(url)).toBe("one:9200,two");
  expect(userOf(url)).toBe("me@shop");
  expect(userOf("http://host:9200")).toBe("");
});

test("acknowledged means synced, whatever the server's defaults", () => {
  const text = JSON.stringify(templateOf(ELASTIC_SETTINGS, false));
  expect(text).toContain('"index.translog.durability":"request"');
  expect(text).toContain('"dynamic":"strict"');
  expect(text).not.toContain("lifecycle");
});

test("an index that nobody searches is not refreshed, and indexes what is looked for alone", () => {
  const template = templateOf(ELASTIC_SETTINGS, false);
  // An interval, even the server's own, would have it refreshed for nobody.
  expect(JSON.stringify(template)).not.toContain("refresh_interval");
  expect(template).toMatchObject({
    template: {
      mappings: {
        properties: {
          seq: { type: "long" },
          place: { type: "long", index: false },
          orderId: { type: "keyword", doc_values: false },
          content: { type: "keyword", index: false },
        },
      },
    },
  });
});

test("a lifecycle lets go later than whoever feeds the audit has noted it", () => {
  const settings = { ...ELASTIC_SETTINGS, retentionDays: 90 };
  expect(JSON.stringify(templateOf(settings, true))).toContain("index.lifecycle.name");
  expect(JSON.stringify(ilmPolicy(settings))).toContain('"min_age":"123d"');
  expect(JSON.stringify(ismPolicy(settings))).toContain('"min_index_age":"123d"');
});
