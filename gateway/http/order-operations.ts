/**
 * The OpenAPI operations of orders.
 *
 * They say what `order-routes.ts` does; a test compares the answers given with those listed here.
 */

import { Type } from "@sinclair/typebox";

import {
  CANCELLED_EXAMPLE,
  PENDING_EXAMPLE,
  NEW_ORDER_EXAMPLE,
  ORDER_EXAMPLE,
  ORDER_PAGE_EXAMPLE,
  STREAM_EXAMPLE,
  TIMELINE_EXAMPLE,
} from "./api-examples.ts";
import type { ParameterSpec } from "./api-operation.ts";
import { operation } from "./api-operation.ts";
import { IdSchema, PAGE_DEFAULT, PAGE_MAX, StatusSchema } from "./api-schemas.ts";

const JSON_TYPE = "application/json";

const orderId: ParameterSpec = {
  name: "id",
  in: "path",
  description: "The order's id.",
  schema: Type.String(),
  example: ORDER_EXAMPLE.id,
};

export const CREATE_ORDER = operation({
  operationId: "createOrder",
  summary: "Place an order",
  description:
    "Answers after the order and its events are on disk. Payment, reservation and shipping " +
    "follow by themselves; watch them at the order's events.",
  tag: "orders",
  parameters: [
    {
      name: "Idempotency-Key",
      in: "header",
      description: "Same key and body: the first answer again, and no second order.",
      schema: Type.String({ pattern: "^[\\x21-\\x7e]{1,255}$" }),
      example: "checkout-4711",
    },
  ],
  body: { schema: "NewOrder", example: NEW_ORDER_EXAMPLE, required: true },
  answers: {
    201: {
      description: "The order, as it was created.",
      content: { mediaType: JSON_TYPE, schema: "Order", example: ORDER_EXAMPLE },
      headers: {
        Location: "Path of the order.",
        "Idempotency-Replayed": "true when this answer was given before under the same key.",
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

export const LIST_ORDERS = operation({
  operationId: "listOrders",
  summary: "List orders, newest first",
  description: "Pages are stable: an order that comes in between two pages moves no other.",
  tag: "orders",
  parameters: [
    { name: "customerId", in: "query", description: "Only of this customer.", schema: IdSchema },
    { name: "status", in: "query", description: "Only in this status.", schema: StatusSchema },
    {
      name: "limit",
      in: "query",
      description: "Most orders in one page.",
      schema: Type.Integer({ minimum: 1, maximum: PAGE_MAX, default: PAGE_DEFAULT }),
    },
    {
      name: "cursor",
      in: "query",
      description: "The nextCursor of the page before.",
      schema: Type.String(),
    },
  ],
  answers: {
    200: {
      description: "One page.",
      content: { mediaType: JSON_TYPE, schema: "OrderPage", example: ORDER_PAGE_EXAMPLE },
    },
  },
  problems: ["malformed_cursor", "invalid_request", "saturated", "unavailable", "not_ready"],
});

export const GET_ORDER = operation({
  operationId: "getOrder",
  summary: "Read an order",
  description: "Shows every change that was acknowledged before the request.",
  tag: "orders",
  parameters: [orderId],
  answers: {
    200: {
      description: "The order.",
      content: { mediaType: JSON_TYPE, schema: "Order", example: ORDER_EXAMPLE },
    },
  },
  problems: ["malformed_request", "not_found", "saturated", "unavailable", "not_ready"],
});

export const ORDER_EVENTS = operation({
  operationId: "listOrderEvents",
  summary: "An order's timeline",
  description:
    "Every transition, oldest first. With `Accept: text/event-stream` as Server-Sent Events: " +
    "the history, then every new entry, until nothing more can come; the id of an event is its " +
    "version, and the last event is named `end`.",
  tag: "orders",
  parameters: [
    orderId,
    {
      name: "Last-Event-ID",
      in: "header",
      description: "Event streams only: start after this version.",
      schema: Type.String({ pattern: "^[0-9]+$" }),
    },
  ],
  answers: {
    200: {
      description: "The timeline.",
      content: { mediaType: JSON_TYPE, schema: "Timeline", example: TIMELINE_EXAMPLE },
      alternative: { mediaType: "text/event-stream", schema: "text", example: STREAM_EXAMPLE },
    },
    204: { description: "Event streams only: nothing will come after Last-Event-ID." },
  },
  problems: ["malformed_request", "not_found", "saturated", "unavailable", "not_ready"],
});

export const CANCEL_ORDER = operation({
  operationId: "cancelOrder",
  summary: "Cancel an order that has not been shipped",
  description:
    "Payment and reservation are undone afterwards. Cancelling a cancelled order changes nothing.",
  tag: "orders",
  parameters: [orderId],
  answers: {
    200: {
      description: "The order, cancelled.",
      content: { mediaType: JSON_TYPE, schema: "Order", example: CANCELLED_EXAMPLE },
    },
    202: {
      description:
        "The process that owns the order has the request and will carry it out, but has not " +
        "answered in time. Location shows what came of it. Only where several processes run.",
      content: { mediaType: JSON_TYPE, schema: "Pending", example: PENDING_EXAMPLE },
    },
  },
  problems: [
    "malformed_request",
    "malformed_json",
    "not_found",
    "not_cancellable",
    "body_too_large",
    "unsupported_media_type",
    "invalid_request",
    "saturated",
    "unavailable",
    "not_ready",
    "timed_out",
  ],
});
