/**
 * The row as bytes: what went in comes out, small, and rows of the older form are read.
 *
 * A code of a name that moved would tell a customer's past wrongly, so the numbers are pinned.
 */

import { describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import type { NotificationRow } from "./notification.ts";

import { decodeValue, encodeValue } from "../contracts/codec.ts";
import { decodeNotificationRow, encodeNotificationRow } from "./notification-row.ts";
import { CHANNEL_KINDS, ENTRY_STATUSES, NOTIFIED_EVENTS } from "./notification.ts";

const text = fc.string({ maxLength: 20 });
const facts = fc.record(
  { amountMinor: fc.nat(), currency: text, carrier: text },
  { requiredKeys: [] },
);
const entry = fc.record(
  {
    event: fc.constantFrom(...NOTIFIED_EVENTS),
    channel: fc.constantFrom(...CHANNEL_KINDS),
    status: fc.constantFrom(...ENTRY_STATUSES),
    atMs: fc.maxSafeNat(),
    attempts: fc.nat(100),
    reason: fc.oneof(text, fc.constantFrom("no_address", "no_contact", "too_old", "queue_full")),
    dueAtMs: fc.maxSafeNat(),
    facts,
  },
  { requiredKeys: ["event", "channel", "status", "atMs", "attempts"] },
);
const row = fc.record(
  {
    orderId: text,
    customerId: text,
    contact: fc.record({ email: text, phone: text, language: text }, { requiredKeys: [] }),
    entries: fc.array(entry, { maxLength: 18 }),
  },
  { requiredKeys: ["orderId", "entries"] },
);

/** A row without contact and reasons of its own, as most are in the end. */
const DELIVERED: NotificationRow = {
  orderId: "0199d0a7-0000-7000-8000-000000000000",
  customerId: "ada",
  entries: [
    {
      event: "order.created",
      channel: "email",
      status: "sent",
      atMs: 1_700_000_000_000,
      attempts: 1,
    },
    ...(["order.shipped", "order.delivered"] as const).flatMap((event) => [
      { event, channel: "email", status: "sent", atMs: 1_700_000_000_000, attempts: 1 } as const,
      ...(["sms", "push"] as const).map((channel) => {
        const base = { event, channel, atMs: 1_700_000_000_000, attempts: 0 };
        return { ...base, status: "skipped", reason: "no_address" } as const;
      }),
    ]),
  ],
};

describe("a row", () => {
  test("comes out as it went in, whatever it lacks", () => {
    fc.assert(
      fc.property(row, (given) => {
        expect(decodeNotificationRow(encodeNotificationRow(given))).toStrictEqual(given);
      }),
    );
  });

  test("of a delivered order is a third of what it is with field names", () => {
    const { byteLength } = encodeNotificationRow(DELIVERED);
    expect(3 * byteLength).toBeLessThan(encodeValue(DELIVERED).byteLength);
  });

  test("that was written with field names is read", () => {
    expect(decodeNotificationRow(encodeValue(DELIVERED))).toEqual(DELIVERED);
  });

  test("keeps the numbers that rows on disk have", () => {
    expect(decodeValue(encodeNotificationRow(DELIVERED))).toEqual([
      DELIVERED.orderId,
      "ada",
      null,
      [1, 1_700_000_000_000, 1],
      [513, 1_700_000_000_000, 1],
      [531, 1_700_000_000_000, 0, 0],
      [547, 1_700_000_000_000, 0, 0],
      [769, 1_700_000_000_000, 1],
      [787, 1_700_000_000_000, 0, 0],
      [803, 1_700_000_000_000, 0, 0],
    ]);
    expect(NOTIFIED_EVENTS.slice(4)).toEqual(["order.cancelled", "payment.refunded"]);
  });

  for (const [what, packed] of [
    ["code", [16 * 16 * 15, 1, 1]],
    ["reason", [1, 1, 1, 99]],
  ] as const) {
    test(`with a ${what} that stands for nothing is refused`, () => {
      const data = encodeValue(["o1", null, null, packed]);
      expect(() => decodeNotificationRow(data)).toThrow("stands for nothing");
    });
  }
});
