/**
 * The OpenAPI document against the application it describes, and the page that shows it.
 *
 * A route, an answer or an example that the document gets wrong is a failure here; so is anything
 * that would make a browser load from another origin.
 */

import { describe, expect, test } from "bun:test";

import { FormatRegistry, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

import {
  HealthSchema,
  NewOrderSchema,
  OrderPageSchema,
  OrderSchema,
  PendingSchema,
  ProblemSchema,
  StockChangeSchema,
  StockSchema,
  TimelineSchema,
} from "./api-schemas.ts";
import {
  AnalyticsRealtimeSchema,
  AnalyticsRowsSchema,
  EventsAcceptedSchema,
  NewEventsSchema,
} from "./analytics-schemas.ts";
import { AUDIT_SCHEMAS } from "./audit-schemas.ts";
import { DEAD_LETTER_SCHEMAS } from "./dead-letter-schemas.ts";
import { LEDGER_SCHEMAS } from "./ledger-schemas.ts";
import { NotificationLedgerSchema } from "./notification-schemas.ts";
import { NEW_ORDER, openShop } from "./testing/api-client.ts";

type Json = Readonly<Record<string, unknown>>;

interface MediaType {
  readonly schema: { readonly $ref?: string };
  readonly example?: unknown;
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}
interface Operation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly parameters: readonly {
    readonly name: string;
    readonly in: string;
    readonly required: boolean;
  }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, MediaType>> };
  readonly responses: Readonly<
    Record<
      string,
      { readonly description: string; readonly content?: Readonly<Record<string, MediaType>> }
    >
  >;
}
interface Document {
  readonly openapi: string;
  readonly info: { readonly title: string; readonly version: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Json>> };
}

const OPERATIONS = [
  "GET /admin/dead-letters",
  "GET /admin/dead-letters/jobs/{id}",
  "GET /admin/dead-letters/summary",
  "GET /admin/dead-letters/{id}",
  "GET /admin/ledger",
  "GET /health",
  "GET /live",
  "GET /metrics",
  "GET /ready",
  "GET /v1/analytics/query",
  "GET /v1/analytics/realtime",
  "GET /v1/audit",
  "GET /v1/audit/head",
  "GET /v1/inventory/{productId}",
  "GET /v1/orders",
  "GET /v1/orders/{id}",
  "GET /v1/orders/{id}/events",
  "GET /v1/orders/{id}/notifications",
  "POST /admin/audit/verify",
  "POST /admin/dead-letters/discard",
  "POST /admin/dead-letters/redrive",
  "POST /admin/dead-letters/{id}/discard",
  "POST /admin/dead-letters/{id}/redrive",
  "POST /v1/events",
  "POST /v1/orders",
  "POST /v1/orders/{id}/cancel",
  "PUT /v1/inventory/{productId}",
];

const SCHEMAS = {
  Health: HealthSchema,
  NewOrder: NewOrderSchema,
  Order: OrderSchema,
  OrderPage: OrderPageSchema,
  Pending: PendingSchema,
  Problem: ProblemSchema,
  Stock: StockSchema,
  StockChange: StockChangeSchema,
  Timeline: TimelineSchema,
  ...AUDIT_SCHEMAS,
  NotificationLedger: NotificationLedgerSchema,
  ...LEDGER_SCHEMAS,
  ...DEAD_LETTER_SCHEMAS,
  NewEvents: NewEventsSchema,
  EventsAccepted: EventsAcceptedSchema,
  AnalyticsRealtime: AnalyticsRealtimeSchema,
  AnalyticsRows: AnalyticsRowsSchema,
} as const;

FormatRegistry.Set("date-time", (text) => new Date(text).toISOString() === text);

async function readDocument(): Promise<Document> {
  const { send } = openShop();
  const { json } = await send("GET", "/openapi.json");
  return json as Document; // its shape is what this file tests
}

function operationsOf(document: Document): readonly (readonly [string, Operation])[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(
      ([method, operation]) => [`${method.toUpperCase()} ${path}`, operation] as const,
    ),
  );
}

describe("the document", () => {
  test("is OpenAPI 3.1 and has every operation, each under a name of its own", async () => {
    const document = await readDocument();
    expect(document.openapi).toMatch(/^3\.1\.\d+$/);
    expect(document.info).toMatchObject({ title: "ShopStream", version: "1" });
    const operations = operationsOf(document);
    expect(operations.map(([name]) => name).sort()).toEqual(OPERATIONS);
    const ids = operations.map(([, { operationId }]) => operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [, operation] of operations) {
      expect(operation.summary).toBeString();
      expect(operation.tags).toHaveLength(1);
    }
  });

  test("declares every parameter of a path, and only those", async () => {
    for (const [name, { parameters }] of operationsOf(await readDocument())) {
      const inPath = parameters.filter((parameter) => parameter.in === "path");
      expect(inPath.map((parameter) => `{${parameter.name}}`)).toEqual(
        name.match(/\{\w+\}/g) ?? [],
      );
      for (const parameter of inPath) expect(parameter.required).toBe(true);
      expect(new Set(parameters.map((one) => `${one.in} ${one.name}`)).size).toBe(
        parameters.length,
      );
    }
  });

  test("has no reference to a schema that is not there, and no schema nobody uses", async () => {
    const document = await readDocument();
    const found = JSON.stringify(document).match(/#\/components\/schemas\/\w+/g) ?? [];
    const names = new Set(found.map((reference) => reference.split("/").at(-1) ?? ""));
    expect([...names].sort()).toEqual(Object.keys(document.components.schemas).sort());
  });

  test("has schemas that are JSON Schema 2020-12 and say what the checks check", async () => {
    const { components } = await readDocument();
    for (const [name, schema] of Object.entries(SCHEMAS)) {
      const written: unknown = JSON.parse(JSON.stringify(schema));
      expect(components.schemas[name] as unknown).toEqual(written);
    }
    const types = JSON.stringify(components).match(/"type":"(\w+)"/g) ?? [];
    const known = ["array", "boolean", "integer", "number", "object", "string", "null"];
    for (const type of new Set(types)) expect(known).toContain(type.slice(8, -1));
  });

  test("describes every response, every error as a problem, with examples that fit", async () => {
    for (const [name, operation] of operationsOf(await readDocument())) {
      expect(Object.keys(operation.responses)).toContain("500");
      for (const [status, response] of Object.entries(operation.responses)) {
        expect(status).toMatch(/^[2-5]\d\d$/);
        expect(response.description).toBeString();
        const isError = Number(status) >= 400 && !(name === "GET /health" && status === "503");
        if (isError)
          expect(Object.keys(response.content ?? {})).toEqual(["application/problem+json"]);
        checkExamples(`${name} ${status}`, response.content ?? {});
      }
      checkExamples(`${name} request`, operation.requestBody?.content ?? {});
    }
  });

  test("lists every status and every problem that the application gives", async () => {
    const documented = new Map(operationsOf(await readDocument()));
    for (const { name, status, problem } of await everyAnswer()) {
      const responses = documented.get(name)?.responses ?? {};
      expect([name, Object.keys(responses)]).toEqual([
        name,
        expect.arrayContaining([String(status)]),
      ]);
      if (problem === undefined) continue;
      const { examples = {} } = responses[status]?.content?.["application/problem+json"] ?? {};
      expect([name, Object.keys(examples)]).toEqual([name, expect.arrayContaining([problem])]);
    }
  });
});

function checkExamples(where: string, content: Readonly<Record<string, MediaType>>): void {
  for (const [type, { schema, example, examples = {} }] of Object.entries(content)) {
    const values = [
      ...(example === undefined ? [] : [example]),
      ...Object.values(examples).map((one) => one.value),
    ];
    expect([where, type, values.length > 0]).toEqual([where, type, true]);
    for (const value of values) {
      const name = (schema.$ref ?? "").split("/").at(-1) ?? "";
      // Another test holds that every reference is to one of these.
      const expected = name === "" ? Type.String() : SCHEMAS[name as keyof typeof SCHEMAS];
      expect([where, [...Value.Errors(expected, value)]]).toEqual([where, []]);
    }
  }
}

interface Answered {
  readonly name: string;
  readonly status: number;
  /** The kind of the problem, if it is one. */
  readonly problem: string | undefined;
}

/** What a client can provoke. */
async function everyAnswer(): Promise<readonly Answered[]> {
  const { send, shop } = openShop({ bodyBytes: 4096 });
  const seen: Answered[] = [];
  const ask = async (name: string, ...[method, path, options]: Parameters<typeof send>) => {
    const reply = await send(method, path, options);
    const problem = /urn:shopstream:problem:([a-z-]+)/.exec(reply.text)?.[1]?.replaceAll("-", "_");
    seen.push({ name, status: reply.status, problem });
    return reply;
  };
  const create = "POST /v1/orders";
  const key = { "idempotency-key": "k" };
  const placed = await ask(create, "POST", "/v1/orders", { body: NEW_ORDER, headers: key });
  const { id } = placed.json as { id: string }; // Order
  await ask(create, "POST", "/v1/orders", {
    body: { ...NEW_ORDER, currency: "EUR" },
    headers: key,
  });
  await ask(create, "POST", "/v1/orders", { body: "{" });
  await ask(create, "POST", "/v1/orders", { body: "x".repeat(5000) });
  await ask(create, "POST", "/v1/orders", {
    body: "{}",
    headers: { "content-type": "text/plain" },
  });
  const cancel = "POST /v1/orders/{id}/cancel";
  shop.deliver(id);
  for (const one of [id, "nope", "%ZZ"]) await ask(cancel, "POST", `/v1/orders/${one}/cancel`);
  await ask(cancel, "POST", `/v1/orders/${id}/cancel`, { body: { x: 1 } });
  for (const one of [id, "nope", "%ZZ"]) {
    await ask("GET /v1/orders/{id}", "GET", `/v1/orders/${one}`);
    await ask("GET /v1/orders/{id}/events", "GET", `/v1/orders/${one}/events`);
  }
  const streamed = { accept: "text/event-stream", "last-event-id": "99" };
  await ask("GET /v1/orders/{id}/events", "GET", `/v1/orders/${id}/events`, { headers: streamed });
  for (const query of ["", "?limit=0", "?cursor=x"]) {
    await ask("GET /v1/orders", "GET", `/v1/orders${query}`);
  }
  const stock = "/v1/inventory/s";
  const put = "PUT /v1/inventory/{productId}";
  const matches = [{}, {}, { "if-match": '"1"' }, { "if-match": '"1"' }, { "if-match": "1" }];
  for (const headers of matches) await ask(put, "PUT", stock, { body: { available: 1 }, headers });
  await ask(put, "PUT", stock, { body: { available: "1" } });
  for (const path of [stock, "/v1/inventory/none", "/v1/inventory/%ZZ"]) {
    await ask("GET /v1/inventory/{productId}", "GET", path);
  }
  await ask("GET /v1/inventory/{productId}", "GET", stock, { headers: { "if-none-match": '"2"' } });
  shop.beforeCommand = () => Promise.reject(new Error("secret"));
  await ask(create, "POST", "/v1/orders", { body: NEW_ORDER });
  for (const isReady of [true, false]) {
    shop.isReady = isReady;
    shop.paymentStatus = isReady ? "up" : "down";
    for (const path of ["/live", "/ready", "/health", "/metrics"]) {
      await ask(`GET ${path}`, "GET", path);
    }
  }
  return seen;
}

describe("the page", () => {
  test("is served with everything it loads, from here", async () => {
    const { send } = openShop();
    const page = await send("GET", "/docs");
    expect(page.headers.get("content-type")).toStartWith("text/html");
    const loaded = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url]) => url ?? "");
    expect(loaded).toEqual([
      "/docs/favicon.png",
      "/docs/swagger-ui.css",
      "/openapi.json",
      "/docs/swagger-ui.js",
      "/docs/start.js",
    ]);
    for (const path of loaded) {
      const reply = await send("GET", path);
      expect(reply.status).toBe(200);
      expect(reply.text.length).toBeGreaterThan(50);
    }
    const start = await send("GET", "/docs/start.js");
    expect(start.text).toContain('url: "/openapi.json"');
    expect(start.text).toContain("validatorUrl: null");
  });

  test("lets a browser load from no other origin, and run no script of the document", async () => {
    const { send } = openShop();
    const page = await send("GET", "/docs");
    const policy = page.headers.get("content-security-policy") ?? "";
    const directives = new Map(
      policy
        .split("; ")
        .map((directive) => [directive.split(" ")[0], directive.split(" ").slice(1)]),
    );
    expect(directives.get("default-src")).toEqual(["'none'"]);
    expect(directives.get("script-src")).toEqual(["'self'"]);
    const allowed = ["'self'", "'none'", "'unsafe-inline'", "data:"];
    for (const source of [...directives.values()].flat()) expect(allowed).toContain(source);
    expect(page.text).not.toMatch(/https?:\/\/|src="\/\/|<script(?! src)/);
    const css = (await send("GET", "/docs/swagger-ui.css")).text;
    expect(css).not.toMatch(/@import|url\(\s*["']?(?!data:|["']?data:)/);
  });
});
