/**
 * The OpenAPI operations of behaviour and analytics.
 *
 * Descriptions say what is counted when; every answer has an example. Nothing here is executed for
 * a request.
 */

import { Type } from "@sinclair/typebox";

import { AGGREGATES, QUERY_WINDOWS } from "../../actors/analytics/analytics-query.ts";
import { DIMENSIONS, metricNames } from "../../actors/analytics/analytics-metrics.ts";
import { InstantParameter } from "./analytics-schemas.ts";
import { operation } from "./api-operation.ts";

const EVENTS_EXAMPLE = [
  {
    event: "page.viewed",
    customerId: "ada",
    productId: "moka-pot",
    at: "2026-01-31T09:30:00.000Z",
  },
  { event: "cart.added", customerId: "ada", productId: "moka-pot" },
];

const REALTIME_EXAMPLE = {
  from: "2026-01-30T10:00:00.000Z",
  to: "2026-01-31T10:00:00.000Z",
  asOf: "2026-01-31T09:30:00.000Z",
  orders: 4,
  payments: 3,
  conversionRate: 0.75,
  visitors: 16,
  visitorConversionRate: 0.25,
  currencies: [
    {
      currency: "USD",
      orders: 4,
      payments: 3,
      orderValue: 84,
      revenue: 63,
      averageOrderValue: 21,
    },
  ],
  hours: [
    {
      start: "2026-01-31T09:00:00.000Z",
      orders: 4,
      payments: 3,
      conversionRate: 0.75,
      amounts: [{ currency: "USD", orders: 4, payments: 3, orderValue: 84, revenue: 63 }],
    },
  ],
  topProducts: {
    byUnits: [{ productId: "moka-pot", units: 6 }],
    byRevenue: [{ productId: "moka-pot", currency: "USD", revenue: 63 }],
  },
  behavior: [{ event: "page.viewed", count: 42 }],
};

const ROWS_EXAMPLE = {
  metric: "revenue",
  granularity: "hour",
  groupBy: "segment",
  from: "2026-01-31T09:00:00.000Z",
  to: "2026-01-31T10:00:00.000Z",
  rows: [
    {
      start: "2026-01-31T09:00:00.000Z",
      value: "new",
      currency: "USD",
      count: 3,
      sum: 63,
      p95: 21,
    },
  ],
};

export const RECORD_EVENTS = operation({
  operationId: "recordEvents",
  summary: "Record what visitors did",
  description:
    "Up to 1,000 events, all or none; answered when they are on the disk. The same " +
    "`Idempotency-Key` with the same events counts once while keys are kept. An event that is " +
    "older than the allowed lateness, or ahead of its arrival, is counted as `late` or `future`.",
  tag: "analytics",
  parameters: [
    {
      name: "Idempotency-Key",
      in: "header",
      description: "1 to 255 visible ASCII characters of the caller's choice.",
      schema: Type.String({ minLength: 1, maxLength: 255 }),
    },
  ],
  body: { schema: "NewEvents", example: EVENTS_EXAMPLE, required: true },
  answers: {
    202: {
      description: "All of them are on the disk.",
      content: {
        mediaType: "application/json",
        schema: "EventsAccepted",
        example: { accepted: 2, batchId: "0199a5a2-7c1e-7000-8000-3f6f5d6f2a10" },
      },
    },
  },
  problems: [
    "malformed_request",
    "malformed_json",
    "body_too_large",
    "unsupported_media_type",
    "invalid_request",
    "idempotency_mismatch",
    "saturated",
    "unavailable",
    "not_ready",
    "timed_out",
  ],
});

export const GET_REALTIME = operation({
  operationId: "getRealtimeAnalytics",
  summary: "The last 24 hours at a glance",
  description:
    "The present hour and the 23 before it. A quarter of a second old at most, unless there is " +
    "so much to add up that it is done less often.",
  tag: "analytics",
  answers: {
    200: {
      description: "The figures; those of nothing are 0, and rates of nothing null.",
      content: {
        mediaType: "application/json",
        schema: "AnalyticsRealtime",
        example: REALTIME_EXAMPLE,
      },
    },
  },
  problems: ["malformed_request", "invalid_request", "saturated", "unavailable", "not_ready"],
});

export const QUERY_ANALYTICS = operation({
  operationId: "queryAnalytics",
  summary: "Count, add up and compare",
  description:
    "Rows by window and, if asked for, by one dimension. `from` is rounded down and `to` up to " +
    "the windows' boundaries. Money is told apart by currency. Percentiles are within 1 %, over " +
    "a `range` too: they are those of all values together.",
  tag: "analytics",
  parameters: [
    {
      name: "metric",
      in: "query",
      description: "What is measured.",
      required: true,
      schema: Type.Union(metricNames().map((name) => Type.Literal(name))),
      example: "revenue",
    },
    {
      name: "from",
      in: "query",
      description: "Absent: a day before `to`.",
      schema: InstantParameter,
    },
    { name: "to", in: "query", description: "Exclusive. Absent: now.", schema: InstantParameter },
    {
      name: "granularity",
      in: "query",
      description: "Windows; `range`: all hours together. Absent: hour.",
      schema: Type.Union(QUERY_WINDOWS.map((name) => Type.Literal(name))),
    },
    {
      name: "groupBy",
      in: "query",
      description: "A dimension that the metric has.",
      schema: Type.Union(DIMENSIONS.map((name) => Type.Literal(name))),
    },
    {
      name: "aggregates",
      in: "query",
      description: `Some of ${AGGREGATES.join(", ")}, with commas. Absent: count.`,
      schema: Type.String(),
      example: "count,sum,p95",
    },
    {
      name: "currency",
      in: "query",
      description: "Only this one.",
      schema: Type.String({ pattern: "^[A-Z]{3}$" }),
    },
  ],
  answers: {
    200: {
      description: "The rows, by time, currency and value.",
      content: { mediaType: "application/json", schema: "AnalyticsRows", example: ROWS_EXAMPLE },
    },
  },
  problems: ["malformed_request", "invalid_request", "saturated", "unavailable", "not_ready"],
});
