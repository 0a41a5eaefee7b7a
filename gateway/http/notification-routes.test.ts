/**
 * The ledger of an order over HTTP: what is shown, what is not, and what is not there.
 *
 * No address may leave by this door.
 */

import { describe, expect, test } from "bun:test";

import { FormatRegistry } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

import { encodeValue } from "../../actors/contracts/codec.ts";
import type { NotificationRow } from "../../actors/notification/notification.ts";
import type { Row } from "../../actors/stores/unit-of-work.ts";
import { notificationRoutes } from "./notification-routes.ts";
import { NOTIFICATION_LEDGER_EXAMPLE, NotificationLedgerSchema } from "./notification-schemas.ts";
import { Problem } from "./problem.ts";

FormatRegistry.Set("date-time", (text) => !Number.isNaN(Date.parse(text)));

const rowOf = (key: string, value: unknown): Row => ({ key, version: 1, data: encodeValue(value) });
const ledger: NotificationRow = {
  orderId: "o1",
  customerId: "ada",
  contact: { email: "ada@example.com", phone: "+4366012345", pushToken: "secret-token" },
  entries: [
    { event: "order.created", channel: "email", status: "sent", atMs: 0, attempts: 1 },
    {
      event: "order.shipped",
      channel: "sms",
      status: "pending",
      atMs: 1_000,
      attempts: 2,
      reason: "no answer",
      dueAtMs: 4_000,
      facts: { trackingNumber: "SS1" },
    },
  ],
};

async function get(path: string, rows: Readonly<Record<string, Row>> = {}) {
  const [route] = notificationRoutes({
    reads: { order: async (id) => (id === "known" || id === "o1" ? rowOf(id, {}) : undefined) },
    notifications: { notifications: async (id) => rows[id] },
  });
  const request = new Request(`http://shop.test${path}`);
  const id = path.split("/")[3] ?? "";
  const answer = await route?.endpoint({ request, params: { id }, correlationId: "c" });
  if (answer === undefined) throw new Error("no route");
  return answer;
}

describe("an order's notifications", () => {
  test("show status, attempts and times, and no way to reach anybody", async () => {
    const answer = await get("/v1/orders/o1/notifications", { o1: rowOf("o1", ledger) });
    if (answer instanceof Problem) throw new Error(answer.detail);
    const text = await answer.text();
    expect(JSON.parse(text)).toEqual({
      orderId: "o1",
      notifications: [
        {
          id: "o1/order.created/email",
          event: "order.created",
          channel: "email",
          status: "sent",
          at: "1970-01-01T00:00:00.000Z",
          attempts: 1,
        },
        {
          id: "o1/order.shipped/sms",
          event: "order.shipped",
          channel: "sms",
          status: "pending",
          at: "1970-01-01T00:00:01.000Z",
          attempts: 2,
          reason: "no answer",
          nextAttemptAt: "1970-01-01T00:00:04.000Z",
        },
      ],
    });
    expect(text).not.toMatch(/example\.com|\+43|secret/);
    expect(Value.Check(NotificationLedgerSchema, JSON.parse(text))).toBe(true);
  });

  test("are an empty list while nobody has been told anything", async () => {
    const answer = await get("/v1/orders/known/notifications");
    if (answer instanceof Problem) throw new Error(answer.detail);
    expect(await answer.json()).toEqual({ orderId: "known", notifications: [] });
  });

  test("of an order that is not there are not found", async () => {
    expect(await get("/v1/orders/nobody/notifications")).toMatchObject({ kind: "not_found" });
  });

  test("take no query parameter", async () => {
    const answer = await get("/v1/orders/o1/notifications?limit=1");
    expect(answer).toMatchObject({ kind: "invalid_request", errors: [{ parameter: "limit" }] });
  });

  test("have an example that fits their schema", () => {
    expect(Value.Check(NotificationLedgerSchema, NOTIFICATION_LEDGER_EXAMPLE)).toBe(true);
  });
});
