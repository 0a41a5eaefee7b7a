/**
 * The endpoints of behaviour and analytics over fakes: what is taken, what is refused, what is
 * shown.
 *
 * Commands are caught and answered by the test; figures are given. Every refusal is a problem.
 */

import { describe, expect, test } from "bun:test";

import type { TSchema } from "@sinclair/typebox";

import { FormatRegistry } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

import type { AnalyticsAnswer, AnalyticsQuery } from "../../actors/analytics/analytics-query.ts";
import type { RealtimeFigures } from "../../actors/analytics/realtime-figures.ts";
import type { ShopCommand } from "../../actors/contracts/messages.ts";
import type { CommandReply } from "../../actors/contracts/order-state.ts";
import type { Method } from "./endpoint.ts";

import { NO_FIGURES } from "../../actors/analytics/realtime-figures.ts";
import { RecordBehavior } from "../../actors/contracts/platform-messages.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { GET_REALTIME, QUERY_ANALYTICS, RECORD_EVENTS } from "./analytics-operations.ts";
import { analyticsRoutes } from "./analytics-routes.ts";
import {
  AnalyticsRealtimeSchema,
  AnalyticsRowsSchema,
  EventsAcceptedSchema,
  NewEventsSchema,
} from "./analytics-schemas.ts";
import { Problem } from "./problem.ts";

FormatRegistry.Set("date-time", (text) => new Date(text).toISOString() === text);

const HOUR_MS = 3_600_000;
const limits = { jsonDepth: 16, commandTimeoutMs: 5_000 };
const VIEWED = { event: "page.viewed", customerId: "ada" };

interface Fakes {
  readonly answer?: AnalyticsAnswer;
  readonly figures?: RealtimeFigures;
  readonly reply?: CommandReply;
  /** What one look at the figures takes. */
  readonly lookMs?: number;
}

function open({ answer, figures, reply, lookMs = 0 }: Fakes = {}) {
  const environment = createVirtualEnvironment();
  const sent: ShopCommand[] = [];
  const queries: AnalyticsQuery[] = [];
  let looks = 0;
  const routes = analyticsRoutes({
    environment: {
      ...environment,
      monotonicMs: () => environment.monotonicMs() + looks * lookMs,
    },
    limits,
    commands: {
      async send(command) {
        sent.push(command);
        if (command.type !== "behavior.record") return { kind: "ledger", rows: [] };
        const { type: _, ...fields } = command;
        RecordBehavior.check(fields);
        return reply ?? { kind: "recorded", events: command.offsetMs.length };
      },
    },
    analytics: {
      async query(query) {
        queries.push(query);
        return answer ?? { kind: "rows", rows: [] };
      },
      async realtime() {
        looks++;
        return figures ?? NO_FIGURES;
      },
    },
  });
  /** A `body` that is text is sent as it is. */
  async function call(method: Method, path: string, body?: unknown, key?: string) {
    const url = new URL(path, "http://shop.test");
    const route = routes.find((one) => one.method === method && one.path === url.pathname);
    const headers = new Headers({ "content-type": "application/json" });
    if (key !== undefined) headers.set("idempotency-key", key);
    const content = typeof body === "string" ? body : JSON.stringify(body);
    const init = body === undefined ? {} : { body: content };
    const request = new Request(url.href, { method, headers, ...init });
    const given = await route?.endpoint({ request, params: {}, correlationId: "c" });
    if (given instanceof Problem) {
      const { status, kind, errors } = given;
      return { status, kind, errors, text: "", json: undefined };
    }
    const shown = (await given?.text()) ?? "";
    const json: unknown = JSON.parse(shown);
    return { status: given?.status, kind: undefined, errors: [], text: shown, json };
  }
  return { environment, sent, queries, call, looks: () => looks };
}

describe("POST /v1/events", () => {
  test("sends one batch, timed on arrival where no time is given, and answers 202", async () => {
    const { call, sent, environment } = open();
    const at = "2023-11-14T22:13:20.250+00:00";
    const reply = await call("POST", "/v1/events", [VIEWED, { ...VIEWED, productId: "p", at }]);
    expect(reply).toMatchObject({ status: 202, json: { accepted: 2 } });
    const baseMs = environment.nowMs();
    const columns = { baseMs, offsetMs: [0, 250], events: ["page.viewed"], products: ["p"] };
    expect(sent).toMatchObject([{ type: "behavior.record", ...columns, product: [0, 1] }]);
    expect(sent[0]).not.toHaveProperty("fingerprint");
  });

  test("takes a thousand events and not one more, nor none", async () => {
    const { call, sent } = open();
    const batch = Array.from({ length: 1_000 }, () => VIEWED);
    expect(await call("POST", "/v1/events", batch)).toMatchObject({ status: 202 });
    for (const refused of [[...batch, VIEWED], [], {}, '"x"']) {
      expect((await call("POST", "/v1/events", refused)).kind).toBe("invalid_request");
    }
    expect(sent).toHaveLength(1);
  });

  test("takes a thousand long events, up to a body of one MiB", async () => {
    const { call, sent } = open();
    const at = "2023-11-14T22:13:20.250+00:00";
    const long = { event: "e".repeat(64), customerId: "c".repeat(128), at };
    const batch = Array.from({ length: 1_000 }, (_, number) => {
      return { ...long, productId: `${number}`.padStart(128, "p") };
    });
    expect(JSON.stringify(batch).length).toBeGreaterThan(400_000);
    expect(await call("POST", "/v1/events", batch)).toMatchObject({ status: 202 });
    const text = JSON.stringify([VIEWED]);
    const padded = (bytes: number) => text.padEnd(bytes, " ");
    expect((await call("POST", "/v1/events", padded(1_048_576))).status).toBe(202);
    expect((await call("POST", "/v1/events", padded(1_048_577))).kind).toBe("body_too_large");
    expect(sent).toHaveLength(2);
  });

  test("refuses a parameter, of which it knows none", async () => {
    const { call, sent } = open();
    const refused = await call("POST", "/v1/events?dryRun=true", [VIEWED]);
    expect(refused).toMatchObject({ status: 422, errors: [{ parameter: "dryRun" }] });
    expect(sent).toEqual([]);
  });

  test("gives a batch under a key the same name and fingerprint each time", async () => {
    const { call, sent } = open();
    await call("POST", "/v1/events", [VIEWED], "k-1");
    await call("POST", "/v1/events", [{ customerId: "ada", event: "page.viewed" }], "k-1");
    await call("POST", "/v1/events", [{ ...VIEWED, customerId: "bob" }], "k-1");
    await call("POST", "/v1/events", [VIEWED], "k-2");
    const [first, same, other, second] = sent.map((command) =>
      command.type === "behavior.record" ? [command.batchId, command.fingerprint] : [],
    );
    expect(same).toEqual(first ?? []);
    expect(other?.[0]).toBe(first?.[0]);
    expect(other?.[1]).not.toBe(first?.[1]);
    expect(second?.[0]).not.toBe(first?.[0]);
  });

  test("says of a batch what does not fit, and where", async () => {
    const { call, sent } = open();
    const places: readonly (readonly [unknown, string])[] = [
      [{ ...VIEWED, event: "" }, "#/1/event"],
      [{ ...VIEWED, event: "a\u0000" }, "#/1/event"],
      [{ ...VIEWED, colour: "red" }, "#/1/colour"],
      [{ event: "page.viewed" }, "#/1/customerId"],
      [{ ...VIEWED, at: "yesterday" }, "#/1/at"],
      [{ ...VIEWED, at: "2026-13-40T00:00:00Z" }, "#/1/at"],
      [{ ...VIEWED, at: "1969-12-31T23:59:59Z" }, "#/1/at"],
      [{ ...VIEWED, at: "2026-02-29T00:00:00Z" }, "#/1/at"],
      [{ ...VIEWED, at: "2026-04-31T23:30:00-02:00" }, "#/1/at"],
      [{ ...VIEWED, at: "9999-12-31T23:30:00-02:00" }, "#/1/at"],
    ];
    for (const [event, pointer] of places) {
      const refused = await call("POST", "/v1/events", [VIEWED, event]);
      expect(refused.status).toBe(422);
      expect(refused.errors.map((part) => part.pointer)).toContain(pointer);
    }
    expect((await call("POST", "/v1/events", [VIEWED], "not visible")).status).toBe(400);
    expect(sent).toHaveLength(0);
  });

  test("passes on what the shard refuses", async () => {
    const refusal = (code: "idempotency_mismatch" | "storage_unavailable") =>
      open({ reply: { kind: "refused", code, detail: "secret" } }).call("POST", "/v1/events", [
        VIEWED,
      ]);
    expect((await refusal("idempotency_mismatch")).status).toBe(422);
    expect((await refusal("storage_unavailable")).status).toBe(503);
  });
});

describe("GET /v1/analytics/realtime", () => {
  test("of a shop that has just begun has 24 empty hours, zeros, and no rates", async () => {
    const { call } = open();
    const { json } = await call("GET", "/v1/analytics/realtime");
    expect(json).toMatchObject({
      asOf: null,
      orders: 0,
      conversionRate: null,
      visitorConversionRate: null,
      currencies: [],
      topProducts: { byUnits: [], byRevenue: [] },
    });
    expect(json).toHaveProperty("hours.length", 24);
    expect(json).toHaveProperty("hours.23.start", "2023-11-14T22:00:00.000Z");
    expect(json).toHaveProperty("hours.0.conversionRate", null);
  });

  test("tells amounts apart by currency, with two places, and shares by count", async () => {
    const startMs = 1_699_999_200_000;
    const hour = (currency: string, count: number, sumMinor: number) => ({
      startMs,
      currency,
      count,
      sumMinor,
    });
    const { call } = open({
      figures: {
        ...NO_FIGURES,
        storedAtMs: startMs,
        orders: [hour("EUR", 2, 3_000), hour("USD", 2, 5_000)],
        revenue: [hour("USD", 2, 5_001), { ...hour("USD", 1, 2_000), startMs: startMs - HOUR_MS }],
        visitors: 16,
      },
    });
    const { json, text } = await call("GET", "/v1/analytics/realtime");
    expect(json).toMatchObject({
      orders: 4,
      payments: 3,
      conversionRate: 0.75,
      visitorConversionRate: 0.25,
      currencies: [
        { currency: "EUR", revenue: 0, averageOrderValue: null, orderValue: 30 },
        { currency: "USD", revenue: 70.01, averageOrderValue: 23.34, payments: 3 },
      ],
    });
    expect(json).toMatchObject({ asOf: "2023-11-14T22:00:00.000Z" });
    expect(text).toContain('"orderValue":30.00');
    expect(json).toHaveProperty("hours.22.payments", 1);
    expect(json).toHaveProperty("hours.22.conversionRate", null);
    expect(json).toHaveProperty("hours.23.conversionRate", 0.5);
  });

  test("looks once for all who ask within a quarter of a second", async () => {
    const { call, looks, environment } = open();
    await Promise.all([1, 2, 3].map(() => call("GET", "/v1/analytics/realtime")));
    await environment.advance(249);
    await call("GET", "/v1/analytics/realtime");
    expect(looks()).toBe(1);
    await environment.advance(1);
    await call("GET", "/v1/analytics/realtime");
    expect(looks()).toBe(2);
    expect((await call("GET", "/v1/analytics/realtime?x=1")).status).toBe(422);
  });

  test("is looked at for no more than a tenth of the time, however dear it is", async () => {
    const { call, looks, environment } = open({ lookMs: 200 });
    await call("GET", "/v1/analytics/realtime");
    await environment.advance(1_799);
    await call("GET", "/v1/analytics/realtime");
    expect(looks()).toBe(1);
    await environment.advance(1);
    await call("GET", "/v1/analytics/realtime");
    expect(looks()).toBe(2);
  });
});

describe("GET /v1/analytics/query", () => {
  const path = "/v1/analytics/query";

  test("asks for the last day by the hour unless told otherwise", async () => {
    const { call, queries, environment } = open();
    await call("GET", `${path}?metric=orders`);
    const toMs = Math.ceil(environment.nowMs() / HOUR_MS) * HOUR_MS;
    const defaults = { window: "hour", groupBy: "all" } as const;
    const range = { fromMs: toMs - 25 * HOUR_MS, toMs };
    expect(queries).toEqual([{ metric: "orders", ...range, ...defaults, aggregates: ["count"] }]);
  });

  test("takes every parameter, and rounds the range out to its windows", async () => {
    const { call, queries } = open();
    const range = "from=2026-01-31T09:30:20Z&to=2026-01-31T11:00:00%2B01:00";
    const rest = "granularity=minute&groupBy=size&aggregates=avg,p99&currency=EUR";
    expect((await call("GET", `${path}?metric=revenue&${range}&${rest}`)).status).toBe(200);
    expect(queries).toEqual([
      {
        metric: "revenue",
        fromMs: Date.parse("2026-01-31T09:30:00Z"),
        toMs: Date.parse("2026-01-31T10:00:00Z"),
        window: "minute",
        groupBy: "size",
        aggregates: ["avg", "p99"],
        currency: "EUR",
      },
    ]);
  });

  test("shows exactly what was asked for, amounts as decimals", async () => {
    const row = { startMs: 0, value: "new", currency: "USD", count: 3, sumMinor: 1_000 };
    const rows = [{ ...row, quantilesMinor: new Map([["p95", 550]] as const) }];
    const { call } = open({ answer: { kind: "rows", rows } });
    const asked = "metric=revenue&groupBy=segment&aggregates=count,sum,avg,p95";
    const { json, text } = await call("GET", `${path}?${asked}`);
    const start = "1970-01-01T00:00:00.000Z";
    const shown = { start, value: "new", currency: "USD", count: 3, sum: 10, avg: 3.33, p95: 5.5 };
    expect(json).toMatchObject({ metric: "revenue", groupBy: "segment", rows: [shown] });
    expect(text).toContain('"sum":10.00');
    const counts = await call("GET", `${path}?metric=shipments`);
    expect(counts.json).toHaveProperty("rows", [{ start, count: 3 }]);
  });

  test("refuses what it cannot answer, naming the parameter", async () => {
    const { call, queries } = open();
    const refusals = [
      ["", "metric"],
      ["metric=clicks", "metric"],
      ["metric=orders&groupBy=carrier", "groupBy"],
      ["metric=orders&groupBy=all", "groupBy"],
      ["metric=orders&aggregates=median", "aggregates"],
      ["metric=orders&aggregates=count,count", "aggregates"],
      ["metric=shipments&aggregates=sum", "aggregates"],
      ["metric=shipments&currency=USD", "currency"],
      ["metric=orders&currency=usd", "currency"],
      ["metric=orders&granularity=day", "granularity"],
      ["metric=orders&from=today", "from"],
      ["metric=orders&to=2026-02-30", "to"],
      ["metric=orders&to=2026-02-30T00:00:00Z", "to"],
      ["metric=orders&from=9999-12-31T22:00:00-03:00&to=9999-12-31T23:00:00-03:00", "to"],
      ["metric=orders&from=9999-12-31T23:00:00-01:00", "from"],
      ["metric=orders&to=9999-12-31T23:30:00Z", "to"],
      ["metric=orders&from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", "from"],
      ["metric=orders&limit=5", "limit"],
      ["metric=orders&metric=orders", "metric"],
    ] as const;
    for (const [query, parameter] of refusals) {
      const refused = await call("GET", `${path}?${query}`);
      expect([query, refused.status]).toEqual([query, 422]);
      expect(refused.errors.map((part) => part.parameter)).toEqual([parameter]);
    }
    expect(queries).toHaveLength(0);
  });

  test("names the bound that a question is over", async () => {
    for (const [what, limit] of [
      ["rows", 10_000],
      ["windows", 50_000],
    ] as const) {
      const { call } = open({ answer: { kind: "too_many", what, limit } });
      const refused = await call("GET", `${path}?metric=orders`);
      expect(refused.status).toBe(422);
      expect(refused.errors[0]?.detail).toContain(String(limit));
    }
  });
});

describe("the schemas", () => {
  const checkFit = (schema: TSchema, value: unknown) =>
    expect([...Value.Errors(schema, value)].map(({ path, message }) => [path, message])).toEqual(
      [],
    );

  test("fit the examples of the document", () => {
    const cases = [
      [RECORD_EVENTS, "202", EventsAcceptedSchema],
      [GET_REALTIME, "200", AnalyticsRealtimeSchema],
      [QUERY_ANALYTICS, "200", AnalyticsRowsSchema],
    ] as const;
    for (const [operation, status, schema] of cases) {
      const path = ["responses", status, "content", "application/json", "example"];
      expect(operation).toHaveProperty(path);
      checkFit(schema, valueAt(operation, path));
    }
    const body = ["requestBody", "content", "application/json", "example"];
    checkFit(NewEventsSchema, valueAt(RECORD_EVENTS, body));
  });

  test("fit what is answered, with and without figures", async () => {
    const startMs = 1_699_999_200_000;
    const hour = { startMs, currency: "USD", count: 2, sumMinor: 900 };
    const figures: RealtimeFigures = {
      storedAtMs: startMs,
      orders: [hour],
      revenue: [hour],
      topByUnits: [{ productId: "p", currency: "", count: 3, sumMinor: 0 }],
      topByRevenue: [{ productId: "p", currency: "USD", count: 2, sumMinor: 900 }],
      behavior: [{ event: "page.viewed", count: 1 }],
      visitors: 1,
    };
    for (const fakes of [{}, { figures }]) {
      const { json } = await open(fakes).call("GET", "/v1/analytics/realtime");
      checkFit(AnalyticsRealtimeSchema, json);
    }
    const row = { startMs: 0, value: "(other)", currency: "USD", count: 3, sumMinor: 1_000 };
    const rows = [{ ...row, quantilesMinor: new Map([["p50", 5]] as const) }];
    const { call } = open({ answer: { kind: "rows", rows } });
    const asked = "metric=payments&groupBy=status&aggregates=count,sum,avg,p50,p90,p95,p99";
    checkFit(AnalyticsRowsSchema, (await call("GET", `/v1/analytics/query?${asked}`)).json);
    const accepted = await call("POST", "/v1/events", [VIEWED]);
    checkFit(EventsAcceptedSchema, accepted.json);
  });
});

function valueAt(from: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, name) =>
      typeof value === "object" && value !== null ? Reflect.get(value, name) : value,
    from,
  );
}
