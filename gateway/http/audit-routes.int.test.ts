/** The audit from the frame to the answer: recorded in a real file, searched and verified. */

import { afterAll, expect, test } from "bun:test";

import { systemEnvironment } from "../../runtime/system-environment.ts";
import { filledAudit, removeAudits, tamper } from "../../actors/audit/audit.fixture.ts";
import { openAuditReads } from "../../actors/audit/audit-reads.ts";
import { auditRoutes } from "./audit-routes.ts";
import { createDoor } from "./endpoint.ts";
import { createRouteCounters } from "./http-counters.ts";
import { ORIGIN, sender } from "./testing/api-client.ts";

afterAll(removeAudits);

const ORDERS = 30;

function openApi(directory: string) {
  const environment = systemEnvironment;
  const audit = openAuditReads({ directory, environment });
  const routes = auditRoutes({ audit, limits: { bodyBytes: 1_000, jsonDepth: 4 } });
  const door = createDoor({ environment, inFlightMax: 4 });
  return sender((request) => {
    const { pathname } = new URL(request.url);
    const route = routes.find(({ path, method }) => path === pathname && method === request.method);
    if (route === undefined) throw new Error(`no route for ${request.method} ${pathname}`);
    return door.serve(route, createRouteCounters(route.method, route.path), request, {});
  }, ORIGIN);
}

interface Page {
  readonly records: readonly { readonly seq: number; readonly type: string }[];
  readonly nextCursor?: string;
}

test("an order's history is found by its customer and a word, page by page", async () => {
  const { directory, count } = filledAudit(ORDERS);
  const send = openApi(directory);
  const seqs: number[] = [];
  let cursor = "";
  do {
    const { status, json } = await send("GET", `/v1/audit?customerId=customer-1&limit=7${cursor}`);
    expect(status).toBe(200);
    const page = json as Page;
    seqs.push(...page.records.map(({ seq }) => seq));
    cursor = page.nextCursor === undefined ? "" : `&cursor=${page.nextCursor}`;
  } while (cursor !== "");
  expect(seqs).toHaveLength(count / 3);
  expect(seqs).toEqual(seqs.toSorted((one, other) => other - one));

  const found = await send("GET", "/v1/audit?customerId=customer-1&q=angstrom%20berl*&limit=1");
  expect(found.json).toMatchObject({
    records: [{ type: "order.created", data: { paymentMethod: { type: "card" } } }],
  });
  expect(found.text).not.toMatch(/secret(one|two|three|four)/);
});

test("the head and a verified chain agree, until somebody changes a record", async () => {
  const { directory, count } = filledAudit(ORDERS);
  const send = openApi(directory);
  const { json: head } = await send("GET", "/v1/audit/head");
  expect(head).toEqual({ count, hash: expect.stringMatching(/^[0-9a-f]{64}$/) });
  const verify = () => send("POST", "/admin/audit/verify", { body: { fromSeq: 1 } });
  expect((await verify()).json).toEqual({ ok: true, verified: count, upTo: count, head });
  tamper(directory, (handle) => handle.run("UPDATE records SET customer_id = 'me' WHERE seq = 9"));
  expect((await verify()).json).toMatchObject({
    ok: false,
    verified: 8,
    problem: { seq: 9, fault: "altered" },
  });
});
