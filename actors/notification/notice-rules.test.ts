/**
 * The rules of the ledger as tables: what begins, what is skipped, what an answer or a reminder
 * makes of an entry. What is over stays over.
 */

import { describe, expect, test } from "bun:test";

import type { SendResult } from "./channel.ts";
import type { Terms } from "./notice-rules.ts";
import type { EntryStatus, LedgerEntry, NotificationRow, NotifiedEvent } from "./notification.ts";

import { failedSend, SENT } from "./channel.ts";
import { decideNotice, recipientOf, settleEntry, withEntries } from "./notice-rules.ts";
import { cancelledOf, CONTACT, createdOf, paidOf, shippedOf } from "./notification-probe.suite.ts";
import { NOTIFICATION_SETTINGS } from "./notification-policy.ts";

const ATTEMPTS_MAX = NOTIFICATION_SETTINGS.channels.email.attemptsMax;

const NOW_MS = 1_700_000_000_000;
const AGE_MAX_MS = 3_600_000;

function termsWith(view: { readonly places?: number; readonly held?: string } = {}): Terms {
  let places = view.places ?? 100;
  const email = {
    policy: NOTIFICATION_SETTINGS.channels.email,
    knowsCustomers: false,
    takePlace: () => places-- > 0,
    holds: (id: string) => id === view.held,
  };
  const channels = { email };
  return {
    nowMs: NOW_MS,
    contactWaitMs: 60_000,
    ageMaxMs: AGE_MAX_MS,
    channels,
    random: () => 0.5,
  };
}

const known: NotificationRow = { orderId: "o1", customerId: "ada", contact: CONTACT, entries: [] };
const base = { event: "order.shipped", channel: "email", atMs: 1, attempts: 1 } as const;
const pending: LedgerEntry = { ...base, status: "pending", dueAtMs: 2, facts: { carrier: "c" } };
const dueOf = (attempt: number) =>
  ({
    type: "notification.due",
    orderId: "o1",
    event: "order.shipped",
    channel: "email",
    attempt,
  }) as const;

describe("an event", () => {
  test("begins an attempt of each channel that tells about it", () => {
    const step = decideNotice(shippedOf("o1"), known, termsWith());
    expect(step?.sends).toEqual([
      {
        event: "order.shipped",
        channel: "email",
        status: "pending",
        atMs: NOW_MS,
        attempts: 1,
        dueAtMs: NOW_MS + 20_250,
        facts: { trackingNumber: "SS1", carrier: "Post" },
      },
    ]);
    expect(step?.row.entries).toEqual(step?.sends ?? []);
  });

  for (const [what, ageMs, status] of [
    ["as old as it may be is told", AGE_MAX_MS, "pending"],
    ["older than that is skipped for good", AGE_MAX_MS + 1, "skipped"],
    ["of a clock that is ahead is told", -AGE_MAX_MS, "pending"],
  ] as const) {
    test(what, () => {
      const step = decideNotice(shippedOf("o1"), known, termsWith(), NOW_MS - ageMs);
      expect(step?.row.entries).toMatchObject([{ event: "order.shipped", status }]);
      expect(step?.sends).toHaveLength(status === "pending" ? 1 : 0);
    });
  }

  test("of creation that is too old is remembered, and only what follows is told", () => {
    const old = decideNotice(createdOf("o1"), undefined, termsWith(), 1);
    expect(old?.row).toMatchObject({ customerId: "ada", contact: CONTACT });
    expect(old?.row.entries).toMatchObject([{ status: "skipped", reason: "too_old" }]);
    expect(old?.sends).toEqual([]);
    const next = decideNotice(shippedOf("o1"), old?.row, termsWith());
    expect(next?.sends).toMatchObject([{ event: "order.shipped", attempts: 1 }]);
  });

  test("that is waited for is told when the contact comes, however old that is", () => {
    const early = decideNotice(shippedOf("o1"), undefined, termsWith());
    const step = decideNotice(createdOf("o1"), early?.row, termsWith(), 1);
    expect(step?.sends).toMatchObject([{ event: "order.shipped" }]);
  });

  test("that nobody is told about changes nothing", () => {
    expect(decideNotice(paidOf("o1", "completed"), known, termsWith())).toBeUndefined();
    const quiet = { ...termsWith(), channels: {} };
    expect(decideNotice(cancelledOf("o1"), known, quiet)).toBeUndefined();
  });

  test("of creation is remembered even when no channel tells about it", () => {
    const step = decideNotice(createdOf("o1"), undefined, { ...termsWith(), channels: {} });
    expect(step).toEqual({ row: known, sends: [] });
  });

  for (const status of ["pending", "sent", "failed", "skipped"] as const) {
    test(`that is ${status} already changes nothing`, () => {
      const row = withEntries(known, [{ ...base, status }]);
      expect(decideNotice(shippedOf("o1"), row, termsWith())).toBeUndefined();
    });
  }

  test("for which the queue has no place is due later, with no attempt counted", () => {
    const step = decideNotice(shippedOf("o1"), known, termsWith({ places: 0 }));
    expect(step?.sends).toEqual([]);
    expect(step?.row.entries).toMatchObject([
      { status: "pending", attempts: 0, reason: "queue_full", dueAtMs: NOW_MS + 750 },
    ]);
  });

  test("for which the queue stays full waits longer each time, up to the longest wait", () => {
    let row = decideNotice(shippedOf("o1"), known, termsWith({ places: 0 }))?.row ?? known;
    const waitsMs: number[] = [];
    for (let round = 0; round < 20; round++) {
      row = decideNotice(dueOf(1), row, termsWith({ places: 0 }))?.row ?? known;
      waitsMs.push((row.entries[0]?.dueAtMs ?? 0) - NOW_MS);
    }
    expect(waitsMs.slice(0, 3)).toEqual([1_125, 1_688, 2_532]);
    expect(waitsMs.at(-1)).toBe(225_000);
    expect(row.entries).toMatchObject([{ status: "pending", attempts: 0 }]);
  });
});

describe("a reminder", () => {
  test("begins the attempt that it names", () => {
    const step = decideNotice(dueOf(2), withEntries(known, [pending]), termsWith());
    expect(step?.sends).toMatchObject([{ attempts: 2, facts: { carrier: "c" } }]);
  });

  const rows: readonly [string, LedgerEntry | undefined, number][] = [
    ["of an attempt that was made", pending, 1],
    ["of an attempt that is not next", pending, 3],
    ["of nothing known", undefined, 1],
    ["of what was sent", { ...base, status: "sent" }, 2],
    ["of what has failed", { ...base, status: "failed" }, 2],
    ["of what was skipped", { ...base, status: "skipped" }, 2],
  ];
  for (const [what, entry, attempt] of rows) {
    test(`${what} changes nothing`, () => {
      const row = entry === undefined ? known : withEntries(known, [entry]);
      expect(decideNotice(dueOf(attempt), row, termsWith())).toBeUndefined();
      expect(decideNotice(dueOf(attempt), undefined, termsWith())).toBeUndefined();
    });
  }

  test("of what is still queued only moves the timer", () => {
    const terms = termsWith({ held: "o1/order.shipped/email" });
    const step = decideNotice(dueOf(2), withEntries(known, [pending]), terms);
    expect(step?.sends).toEqual([]);
    expect(step?.row.entries).toEqual([{ ...pending, dueAtMs: NOW_MS + 20_250 }]);
  });

  test("after the last attempt ends it", () => {
    const last = { ...pending, attempts: ATTEMPTS_MAX };
    const step = decideNotice(dueOf(ATTEMPTS_MAX + 1), withEntries(known, [last]), termsWith());
    expect(step?.row.entries).toMatchObject([{ status: "failed", attempts: ATTEMPTS_MAX }]);
  });
});

describe("an answer", () => {
  const broken = failedSend("broken");
  const rejected: SendResult = { kind: "rejected", error: "no such user" };
  const rows: readonly [SendResult, number, EntryStatus, number | undefined][] = [
    [SENT, 1, "sent", undefined],
    [rejected, 1, "failed", undefined],
    [broken, 1, "pending", NOW_MS + 1_000],
    [broken, 2, "pending", NOW_MS + 2_000],
    [broken, 5, "pending", NOW_MS + 16_000],
    [broken, ATTEMPTS_MAX, "failed", undefined],
  ];
  for (const [result, attempts, status, dueAtMs] of rows) {
    test(`${result.kind} to attempt ${attempts} of ${ATTEMPTS_MAX} makes it ${status}`, () => {
      const entry = settleEntry({ ...pending, attempts }, result, termsWith());
      expect(entry).toMatchObject({ status, attempts, atMs: NOW_MS });
      expect(entry.dueAtMs).toBe(dueAtMs);
      expect(entry.facts === undefined).toBe(status !== "pending");
    });
  }
});

describe("how to reach the customer", () => {
  const rows: readonly (readonly [readonly NotifiedEvent[], boolean])[] = [
    [["order.created"], true],
    [["order.created", "order.delivered"], true],
    [["order.created", "order.shipped", "order.delivered"], false],
    [["order.created", "order.cancelled"], true],
    [["order.created", "order.cancelled", "payment.refunded"], false],
    [["order.cancelled", "payment.failed"], false],
    [["order.created", "payment.failed"], true],
  ];
  for (const [events, isKept] of rows) {
    const entries = events.map((event) => ({ ...base, event, status: "sent" }) as const);
    test(`after ${events.join(", ")} is ${isKept ? "kept" : "forgotten"}`, () => {
      expect(withEntries(known, entries)).toEqual({
        orderId: "o1",
        customerId: "ada",
        ...(isKept ? { contact: CONTACT } : {}),
        entries: [...entries],
      });
    });
    test(`is kept after ${events.join(", ")} while anything of it is pending`, () => {
      const row = withEntries(known, [...entries, { ...pending, channel: "sms" }]);
      expect(row.contact).toEqual(CONTACT);
    });
  }
});

describe("a recipient", () => {
  const nobody = { customerId: "ada" };
  const reached = { customerId: "ada", contact: CONTACT };
  const rows = [
    ["email", reached, false, CONTACT.email],
    ["sms", reached, true, CONTACT.phone],
    ["push", reached, true, CONTACT.pushToken],
    ["email", nobody, true, "customer:ada"],
    ["email", nobody, false, undefined],
    ["sms", nobody, true, undefined],
    ["push", nobody, true, undefined],
    ["email", {}, true, undefined],
  ] as const;
  for (const [kind, row, knowsCustomers, expected] of rows) {
    test(`by ${kind} of ${JSON.stringify(row)} is ${expected ?? "nobody"}`, () => {
      expect(recipientOf(kind, row, knowsCustomers)).toBe(expected);
    });
  }
});
