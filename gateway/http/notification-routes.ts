/**
 * The endpoint of an order's notifications: what its customer was told, by which channel.
 *
 * Reads the ledger as it was committed. An order nobody has been told about yet has an empty one;
 * an order that is not there is refused, and so is any query parameter.
 */

import { Type } from "@sinclair/typebox";

import type { OrderReads } from "../../actors/stores/unit-of-work.ts";
import type { LedgerEntry } from "../../actors/notification/notification.ts";
import { decodeNotificationRow } from "../../actors/notification/notification-row.ts";
import { notificationId } from "../../actors/notification/notification.ts";
import { ORDER_EXAMPLE } from "./api-examples.ts";
import { operation } from "./api-operation.ts";
import type { Answer, Call, Route } from "./endpoint.ts";
import { jsonResponse } from "./endpoint.ts";
import type { NotificationReads } from "./gateway-ports.ts";
import { NOTIFICATION_LEDGER_EXAMPLE } from "./notification-schemas.ts";
import { isoTime } from "./order-view.ts";
import { Problem } from "./problem.ts";
import { readQuery } from "./query-string.ts";
import { describe } from "./shop-problems.ts";

export interface NotificationDeps {
  readonly reads: Pick<OrderReads, "order">;
  readonly notifications: NotificationReads;
}

const ORDER_NOTIFICATIONS = operation({
  operationId: "listOrderNotifications",
  summary: "What the customer was told about an order",
  description:
    "One entry for each event and channel: sent, failed for good, skipped for want of an " +
    "address, or pending with the time of the next attempt.",
  tag: "orders",
  parameters: [
    {
      name: "id",
      in: "path",
      description: "The order's id.",
      schema: Type.String(),
      example: ORDER_EXAMPLE.id,
    },
  ],
  answers: {
    200: {
      description: "The notifications, those of the oldest event first.",
      content: {
        mediaType: "application/json",
        schema: "NotificationLedger",
        example: NOTIFICATION_LEDGER_EXAMPLE,
      },
    },
  },
  problems: [
    "malformed_request",
    "not_found",
    "invalid_request",
    "saturated",
    "unavailable",
    "not_ready",
  ],
});

export function notificationRoutes(deps: NotificationDeps): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/v1/orders/:id/notifications",
      admission: "limited",
      endpoint: (call) => listNotifications(deps, call),
      operation: ORDER_NOTIFICATIONS,
    },
  ];
}

async function listNotifications(
  deps: NotificationDeps,
  { request, params }: Call,
): Promise<Answer> {
  const query = readQuery(request, []);
  if (query instanceof Problem) return query;
  const orderId = params["id"] ?? "";
  const row = await deps.notifications.notifications(orderId);
  if (row === undefined && (await deps.reads.order(orderId)) === undefined) {
    return describe("not_found");
  }
  const entries = row === undefined ? [] : decodeNotificationRow(row.data).entries;
  const notifications = entries.map((entry) => viewEntry(orderId, entry));
  return jsonResponse(200, JSON.stringify({ orderId, notifications }));
}

function viewEntry(orderId: string, entry: LedgerEntry) {
  const { event, channel, status, atMs, attempts, reason, dueAtMs } = entry;
  return {
    id: notificationId(orderId, entry),
    event,
    channel,
    status,
    at: isoTime(atMs),
    attempts,
    ...(reason === undefined ? {} : { reason }),
    ...(dueAtMs === undefined ? {} : { nextAttemptAt: isoTime(dueAtMs) }),
  };
}
