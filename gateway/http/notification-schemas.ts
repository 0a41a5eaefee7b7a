/**
 * The schema of an order's notifications as the API shows them, with an example.
 *
 * Says what was told by which channel and how that went. It never shows an address, a number or
 * a token: whoever may read an order may not write to its customer.
 */

import { Type } from "@sinclair/typebox";

import { CHANNEL_KINDS, NOTIFIED_EVENTS } from "../../actors/notification/notification.ts";
import { ORDER_EXAMPLE } from "./api-examples.ts";

const closed = { additionalProperties: false } as const;
const Instant = Type.String({ format: "date-time", description: "UTC, milliseconds." });

export const NotificationLedgerSchema = Type.Object(
  {
    orderId: Type.String(),
    notifications: Type.Array(
      Type.Object(
        {
          id: Type.String({ description: "The same for every attempt." }),
          event: Type.Union(NOTIFIED_EVENTS.map((name) => Type.Literal(name))),
          channel: Type.Union(CHANNEL_KINDS.map((name) => Type.Literal(name))),
          status: Type.Union([
            Type.Literal("pending"),
            Type.Literal("sent"),
            Type.Literal("failed"),
            Type.Literal("skipped"),
          ]),
          at: Instant,
          attempts: Type.Integer({ minimum: 0 }),
          reason: Type.Optional(
            Type.String({ description: "Why it was skipped, or what the last attempt met." }),
          ),
          nextAttemptAt: Type.Optional(Instant),
        },
        closed,
      ),
      { maxItems: NOTIFIED_EVENTS.length * CHANNEL_KINDS.length },
    ),
  },
  closed,
);

export const NOTIFICATION_LEDGER_EXAMPLE = {
  orderId: ORDER_EXAMPLE.id,
  notifications: [
    {
      id: `${ORDER_EXAMPLE.id}/order.created/email`,
      event: "order.created",
      channel: "email",
      status: "sent",
      at: "2026-01-02T03:04:05.678Z",
      attempts: 1,
    },
    {
      id: `${ORDER_EXAMPLE.id}/order.shipped/sms`,
      event: "order.shipped",
      channel: "sms",
      status: "skipped",
      at: "2026-01-02T03:05:06.789Z",
      attempts: 0,
      reason: "no_address",
    },
  ],
};
