/** The audit over HTTP: what a query becomes, what a record is shown as, what is refused. */

import { describe, expect, test } from "bun:test";

import type { AuditQuery } from "../../actors/audit/audit-query.ts";
import type { AuditPage } from "../../actors/audit/audit-reads.ts";
import type { VerifyRange } from "../../actors/audit/audit-verify.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { auditRoutes } from "./audit-routes.ts";
import { createDoor } from "./endpoint.ts";
import { createRouteCounters } from "./http-counters.ts";
import { ORIGIN, sender } from "./testing/api-client.ts";

const HASH = new Uint8Array(32).fill(171);
const HEX = "ab".repeat(32);
const RECORD = {
  seq: 7,
  id: "0199a5a2-7c1e-7000-8000-3f6f5d6f2a10",
  type: "order.created",
  topic: "orders",
  partition: 1,
  sequence: 2,
  atMs: 1_759_397_400_000,
  storedAtMs: 1_759_397_400_004,
  frameBytes: 300,
  hash: HEX,
};
const AT = { at: "2025-10-02T09:30:00.000Z", storedAt: "2025-10-02T09:30:00.004Z" };

/** The routes on an audit that remembers what it was asked. */
function openAuditApi(page: AuditPage = { records: [] }, problemSeq?: number, failure?: Error) {
  const environment = createVirtualEnvironment();
  const queries: AuditQuery[] = [];
  const ranges: VerifyRange[] = [];
  const head = { count: 7, hash: HASH };
  const routes = auditRoutes({
    limits: { bodyBytes: 1_000, jsonDepth: 4 },
    audit: {
      head: () => Promise.resolve(head),
      search(query) {
        queries.push(query);
        return failure === undefined ? Promise.resolve(page) : Promise.reject(failure);
      },
      verify(range) {
        ranges.push(range);
        const problem = { seq: problemSeq ?? 0, fault: "altered", detail: "x" } as const;
        return Promise.resolve({
          verified: 3,
          upToSeq: 3,
          head,
          ...(problemSeq === undefined ? { nextSeq: 4 } : { problem }),
        });
      },
    },
  });
  const door = createDoor({ environment, inFlightMax: 4 });
  const send = sender((request) => {
    const { pathname } = new URL(request.url);
    const route = routes.find(({ path, method }) => path === pathname && method === request.method);
    if (route === undefined) throw new Error(`no route for ${request.method} ${pathname}`);
    return door.serve(route, createRouteCounters(route.method, route.path), request, {});
  }, ORIGIN);
  const search = (query: string) => send("GET", `/v1/audit?${query}`);
  return { send, search, queries, ranges };
}

describe("searching", () => {
  test("an audit that this process cannot read is 503 and says what is missing", async () => {
    const detail = "this process has no audit: see audit.store";
    const failure = new ShopError("READS_UNAVAILABLE", detail, "never");
    const { status, json } = await openAuditApi(undefined, 0, failure).search("");
    expect(status).toBe(503);
    expect(json).toMatchObject({ type: "urn:shopstream:problem:unavailable", detail });
  });

  test("why a server cannot be used, with hosts and users, is told to the log alone", async () => {
    const text = 'rabbitmq.url: 10.0.0.7:5672 refuses user "admin"';
    const failure = new ShopError("SERVER_UNUSABLE", text, "later");
    const { status, json } = await openAuditApi(undefined, 0, failure).search("");
    expect(status).toBe(500);
    expect(JSON.stringify(json)).not.toMatch(/10\.0\.0\.7|admin/);
  });

  test("says when the newest may be missing, and nothing of it otherwise", async () => {
    const { json } = await openAuditApi({ records: [], isStale: true }).search("");
    expect(json).toEqual({ records: [], newestMissing: true });
    expect((await openAuditApi().search("")).json).not.toHaveProperty("newestMissing");
  });

  test("without parameters asks for the newest page", async () => {
    const { send, queries } = openAuditApi();
    const reply = await send("GET", "/v1/audit");
    expect(reply.status).toBe(200);
    expect(reply.json).toEqual({ records: [] });
    expect(queries).toEqual([{ limit: 50 }]);
  });

  test("hands every condition on", async () => {
    const { search, queries } = openAuditApi();
    const query =
      "orderId=o-1&customerId=c-1&type=payment.processed&limit=200" +
      "&from=2025-10-02T09:30:00Z&to=2025-10-02T12:00:00.5%2B02:00&q=ada%20berl*";
    expect((await search(query)).status).toBe(200);
    expect(queries).toEqual([
      {
        limit: 200,
        orderId: "o-1",
        customerId: "c-1",
        type: 6,
        fromMs: 1_759_397_400_000,
        toMs: 1_759_399_200_500,
        terms: [
          { words: ["ada"], isPrefix: false },
          { words: ["berl"], isPrefix: true },
        ],
      },
    ]);
  });

  test("shows records with their times as text, and how to go on", async () => {
    const { search, queries } = openAuditApi({ records: [RECORD], nextBeforeSeq: 7 });
    const { json } = await search("limit=1");
    const { atMs: _at, storedAtMs: _stored, ...shown } = RECORD;
    expect(json).toEqual({ records: [{ ...shown, ...AT }], nextCursor: expect.any(String) });
    const { nextCursor } = json as { readonly nextCursor: string };
    await search(`cursor=${nextCursor}`);
    expect(queries.at(-1)).toEqual({ limit: 50, beforeSeq: 7 });
  });

  test.each([
    ["limit=0", "limit"],
    ["limit=201", "limit"],
    ["limit=1e2", "limit"],
    ["type=order.exploded", "type"],
    ["from=yesterday", "from"],
    ["from=2025-10-02", "from"],
    ["from=2025-02-29T00:00:00Z", "from"],
    ["to=2025-13-02T09:30:00Z", "to"],
    ["to=9999-12-31T23:30:00-01:00", "to"],
    ["from=2025-10-02T09:30:00Z&to=2025-10-02T09:30:00Z", "to"],
    ["customer=ada", "customer"],
    ["orderId=a&orderId=b", "orderId"],
    ["orderId=", "orderId"],
  ])("refuses %s and names the parameter", async (query, parameter) => {
    const { search, queries } = openAuditApi();
    const reply = await search(query);
    expect(reply.status).toBe(422);
    expect(reply.json).toMatchObject({ errors: [{ parameter }] });
    expect(queries).toEqual([]);
  });

  test("names the types there are", async () => {
    const { text } = await openAuditApi().search("type=nonsense");
    expect(text).toContain("order.created");
    expect(text).toContain("unreadable");
  });

  test.each(["%22open", "a*b", "ab*", "-", "x".repeat(201)])(
    "refuses %s as free text with what is allowed",
    async (q) => {
      const reply = await openAuditApi().search(`q=${q}`);
      expect(reply.status).toBe(400);
      expect(reply.json).toMatchObject({
        errors: [{ parameter: "q", detail: expect.stringContaining("allowed are words") }],
      });
    },
  );

  test.each(["x", "YXVkaXQ6MA", "YXVkaXQ6MTI=", "b3JkZXI6MTI", "YXVkaXQ6OTk5OTk5OTk5OTk5OTk5OQ"])(
    "refuses %s as a cursor",
    async (cursor) => {
      const reply = await openAuditApi().search(`cursor=${cursor}`);
      expect(reply.status).toBe(400);
      expect(reply.json).toMatchObject({ type: "urn:shopstream:problem:malformed-cursor" });
    },
  );
});

describe("the head", () => {
  test("is count and hash", async () => {
    const { json } = await openAuditApi().send("GET", "/v1/audit/head");
    expect(json).toEqual({ count: 7, hash: HEX });
  });

  test("takes no parameters", async () => {
    expect((await openAuditApi().send("GET", "/v1/audit/head?x=1")).status).toBe(422);
  });
});

describe("verifying", () => {
  test("starts at the first record when nothing is said", async () => {
    const { send, ranges } = openAuditApi();
    const { json } = await send("POST", "/admin/audit/verify");
    expect(json).toEqual({
      ok: true,
      verified: 3,
      upTo: 3,
      head: { count: 7, hash: HEX },
      next: 4,
    });
    expect(ranges).toEqual([{ fromSeq: 1, recordsMax: 20_000, budgetMs: 500 }]);
  });

  test("goes on where it is told, within what it is told", async () => {
    const { send, ranges } = openAuditApi();
    const body = { fromSeq: 4, recordsMax: 10, budgetMs: 20 };
    await send("POST", "/admin/audit/verify", { body });
    expect(ranges).toEqual([body]);
  });

  test("answers 200 with the problem when there is one", async () => {
    const { send } = openAuditApi(undefined, 4);
    const { status, json } = await send("POST", "/admin/audit/verify", { body: {} });
    expect(status).toBe(200);
    expect(json).toMatchObject({ ok: false, problem: { seq: 4, fault: "altered" } });
    expect(json).not.toHaveProperty("next");
  });

  test.each([
    { fromSeq: 0 },
    { fromSeq: "1" },
    { recordsMax: 1_000_001 },
    { budgetMs: 0 },
    { budgetMs: 5_001 },
    { from: 1 },
  ])("refuses %p", async (body) => {
    const { send, ranges } = openAuditApi();
    expect((await send("POST", "/admin/audit/verify", { body })).status).toBe(422);
    expect(ranges).toEqual([]);
  });
});
