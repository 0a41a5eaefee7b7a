/**
 * The rules about the stores around the orders, on forged evidence: one good run, and one forgery
 * for each way in which a store can be wrong.
 *
 * The good run has an order of each fate, so that every rule has something to look at.
 */

import { describe, expect, test } from "bun:test";

import { mayHeal } from "./evidence.ts";
import { verify } from "./verify-orders.ts";
import type {
  Attempt,
  CheckName,
  Contact,
  Evidence,
  ObservedOrder,
  PlannedOrder,
  TimelineEvent,
} from "./evidence.ts";
import type {
  AuditedEvent,
  BookRow,
  Notice,
  PlatformEvidence,
  Tally,
} from "./platform-evidence.ts";

const TOTAL_MINOR = 1_234;
const CONTACT: Contact = { email: "a@example.org", phone: "+49170", pushToken: "t" };

type Entry = readonly [type: string, data?: Readonly<Record<string, unknown>>];
const CREATED: Entry = ["order.created", { total: 12.34 }];
const PAID: Entry = ["payment.processed", { status: "completed", amount: 12.34 }];
const DECLINED: Entry = [
  "payment.processed",
  { status: "failed", reason: "declined", amount: 12.34 },
];
const RESERVED: Entry = ["inventory.reserved", { status: "reserved" }];
const LIVES: Readonly<Record<string, readonly Entry[]>> = {
  sent: [CREATED, PAID, RESERVED, ["order.ready_to_ship"], ["order.shipped"], ["order.delivered"]],
  declined: [
    CREATED,
    DECLINED,
    ["order.cancelled", { reason: "payment_failed" }],
    RESERVED,
    ["inventory.released"],
  ],
  undone: [
    CREATED,
    PAID,
    RESERVED,
    ["order.cancelled", { reason: "requested" }],
    ["payment.refunded", { amount: 12.34 }],
    ["inventory.released"],
  ],
};

/** What the customers of these lives were told, by which channel. */
const TOLD: Readonly<Record<string, readonly string[]>> = {
  sent: [
    "order.created/email",
    ...["email", "sms", "push"].map((channel) => `order.shipped/${channel}`),
    ...["email", "sms", "push"].map((channel) => `order.delivered/${channel}`),
  ],
  declined: [
    "order.created/email",
    "payment.failed/email",
    ...["email", "sms", "push"].map((channel) => `order.cancelled/${channel}`),
  ],
  undone: [
    "order.created/email",
    ...["email", "sms", "push"].map((channel) => `order.cancelled/${channel}`),
    "payment.refunded/email",
  ],
};

interface Forgery extends Omit<PlatformEvidence, "samples" | "outbox" | "books"> {
  views: PlatformEvidence["views"];
  figures: Map<string, Tally>;
  chain: PlatformEvidence["chain"];
  books: { isBalanced: boolean; rows: BookRow[]; totals: BookRow[] };
  deadLetters: number;
  outbox: { timesById: Map<string, number>; isWhole: boolean };
  samples: Map<string, { audited: AuditedEvent[]; notices: Notice[] }>;
}

const planned = (id: string): PlannedOrder => ({
  customerId: `of-${id}`,
  idempotencyKey: `key-${id}`,
  items: [{ productId: "p", quantity: 1, priceMinor: TOTAL_MINOR }],
  totalMinor: TOTAL_MINOR,
  currency: "USD",
  ...(id === "sent" ? { contact: CONTACT } : {}),
});

function timelineOf(id: string): readonly TimelineEvent[] {
  const entries = LIVES[id] ?? [];
  return entries.map(([type, data = {}], n) => ({ version: n + 1, type, atMs: n, data }));
}

function auditOf(id: string): AuditedEvent[] {
  const reports = id === "sent" ? ["shipment.packed", "shipment.delivered"] : [];
  const types = [...timelineOf(id).map(({ type }) => type), ...reports];
  return types.map((type) => ({
    type,
    customerId: `of-${id}`,
    fault: undefined,
    amountMinor: TOTAL_MINOR,
  }));
}

function noticesOf(id: string): Notice[] {
  return (TOLD[id] ?? []).map((name) => {
    const [event = "", channel = ""] = name.split("/");
    const isSent = channel === "email" || id === "sent";
    const reason = isSent ? undefined : "no_address";
    return { id: `${id}/${name}`, event, channel, status: isSent ? "sent" : "skipped", reason };
  });
}

function book(name: string, published: number): BookRow {
  const none = { dead: 0, inFlight: 0, waiting: 0, imbalance: undefined };
  return { name, group: "payment", published, acked: published, ...none };
}

function goodPlatform(): Forgery {
  const samples = new Map(
    Object.keys(LIVES).map((id) => [id, { audited: auditOf(id), notices: noticesOf(id) }]),
  );
  const sent = [...samples.values()].flatMap(({ notices }) =>
    notices.filter(({ status }) => status === "sent"),
  );
  const money = (count: number): Tally => ({ count, sumMinor: count * TOTAL_MINOR });
  return {
    views: ["audit", "analytics"].map((view) => ({ view, lagRecords: 0, isFailing: false })),
    figures: new Map([
      ["orders USD", money(3)],
      ["revenue USD", money(2)],
      ["payments/completed USD", money(2)],
      ["payments/failed USD", money(1)],
      ["reservations/reserved", { count: 3, sumMinor: 0 }],
      ["shipments", { count: 1, sumMinor: 0 }],
    ]),
    chain: { grown: 19, verified: 19 },
    books: {
      isBalanced: true,
      rows: [book("payment orders/0", 3), book("payment orders/1", 4)],
      totals: [book("payment", 7)],
    },
    deadLetters: 0,
    outbox: { timesById: new Map(sent.map(({ id }) => [id, 1])), isWhole: true },
    samples,
  };
}

/** A run of one order of each life; `platform` is what the stores around it say. */
function runWith(platform: PlatformEvidence): Evidence {
  const ids = Object.keys(LIVES);
  const ends = {
    sent: ["delivered", "completed", "reserved"],
    declined: ["cancelled", "failed", "released"],
    undone: ["cancelled", "refunded", "released"],
  } as const;
  const orders = Object.entries(ends).map(([id, [status, paymentStatus, inventoryStatus]]) => {
    const { customerId, items, totalMinor, currency } = planned(id);
    const version = timelineOf(id).length;
    const state = { status, paymentStatus, inventoryStatus, version };
    return [id, { id, customerId, items, totalMinor, currency, ...state }] as const;
  });
  return {
    attempts: ids.map((id): Attempt => {
      const outcome = { kind: "acknowledged", orderIds: [id], totalMinor: TOTAL_MINOR } as const;
      return { order: planned(id), outcome, intendedAtMs: 0 };
    }),
    listedByCustomer: new Map(ids.map((id) => [`of-${id}`, [id]])),
    orders: new Map<string, ObservedOrder>(orders),
    timelines: new Map(ids.map((id) => [id, timelineOf(id)])),
    stock: [{ productId: "p", initial: 9, available: 8, reserved: 0, shipped: 1 }],
    ledger: [
      { kind: "capture", orderId: "sent", amountMinor: TOTAL_MINOR, currency: "USD" },
      { kind: "capture", orderId: "undone", amountMinor: TOTAL_MINOR, currency: "USD" },
      { kind: "refund", orderId: "undone", amountMinor: TOTAL_MINOR, currency: "USD" },
    ],
    platform,
  };
}

function changeAudit(run: Forgery, at: number, change: Partial<AuditedEvent>): void {
  const audited = run.samples.get("sent")?.audited;
  const found = audited?.[at];
  if (audited === undefined || found === undefined) throw new Error("nothing to forge");
  audited[at] = { ...found, ...change };
}

function changeNotice(run: Forgery, id: string, at: number, change: Partial<Notice>): void {
  const notices = run.samples.get(id)?.notices;
  const found = notices?.[at];
  if (notices === undefined || found === undefined) throw new Error("nothing to forge");
  notices[at] = { ...found, ...change };
}

function changeBook(run: Forgery, change: Partial<BookRow>): void {
  const first = run.books.rows[0];
  if (first !== undefined) run.books.rows[0] = { ...first, ...change };
}

/** One record of the first row is where `change` says, or nowhere, and its total agrees. */
function changeBooks(run: Forgery, change: Partial<BookRow>): void {
  changeBook(run, { acked: 2, ...change });
  run.books.totals = run.books.totals.map((total) => ({ ...total, acked: 6, ...change }));
}

type ForgeryCase = readonly [what: string, check: CheckName, forge: (run: Forgery) => unknown];

const FORGERIES: readonly ForgeryCase[] = [
  [
    "a view that is behind",
    "views",
    (run) =>
      (run.views = [{ view: "audit", lagRecords: 1, isFailing: false }, ...run.views.slice(1)]),
  ],
  [
    "a view that fails",
    "views",
    (run) =>
      (run.views = [{ view: "audit", lagRecords: 0, isFailing: true }, ...run.views.slice(1)]),
  ],
  ["a view that nobody hears of", "views", (run) => (run.views = run.views.slice(1))],
  [
    "an order that was not counted",
    "analytics",
    (run) => run.figures.set("orders USD", { count: 2, sumMinor: 2 * TOTAL_MINOR }),
  ],
  [
    "a cent of revenue too much",
    "analytics",
    (run) => run.figures.set("revenue USD", { count: 2, sumMinor: 2 * TOTAL_MINOR + 1 }),
  ],
  [
    "revenue that is no hundredths",
    "analytics",
    (run) => run.figures.set("revenue USD", { count: 2, sumMinor: undefined }),
  ],
  [
    "revenue in a currency nobody paid in",
    "analytics",
    (run) => run.figures.set("revenue EUR", { count: 1, sumMinor: 1 }),
  ],
  ["no revenue at all", "analytics", (run) => run.figures.delete("revenue USD")],
  [
    "a failed payment that counts as completed",
    "analytics",
    (run) => run.figures.set("payments/completed USD", { count: 3, sumMinor: 3 * TOTAL_MINOR }),
  ],
  [
    "a reservation counted twice",
    "analytics",
    (run) => run.figures.set("reservations/reserved", { count: 4, sumMinor: 0 }),
  ],
  ["a parcel that was not counted", "analytics", (run) => run.figures.delete("shipments")],
  [
    "a message that could not be read",
    "analytics",
    (run) => run.figures.set("unreadable", { count: 1, sumMinor: 0 }),
  ],
  [
    "a broken chain",
    "audit",
    (run) => (run.chain = { grown: 19, verified: 3, problem: "altered" }),
  ],
  [
    "a chain that was not verified to its end",
    "audit",
    (run) => (run.chain = { grown: 19, verified: 18 }),
  ],
  [
    "a chain shorter than the timelines",
    "audit",
    (run) => (run.chain = { grown: 18, verified: 18 }),
  ],
  [
    "an event that the audit has not",
    "audit",
    (run) => run.samples.get("sent")?.audited.splice(3, 1),
  ],
  [
    "an event that the audit has twice",
    "audit",
    (run) => run.samples.get("sent")?.audited.push(...auditOf("sent").slice(3, 4)),
  ],
  [
    "an event that nobody decided",
    "audit",
    (run) => changeAudit(run, 5, { type: "order.cancelled" }),
  ],
  [
    "a parcel that was delivered without a report",
    "audit",
    (run) => run.samples.get("sent")?.audited.pop(),
  ],
  ["a record with a fault", "audit", (run) => changeAudit(run, 2, { fault: "BAD_PAYLOAD" })],
  [
    "a record under another customer",
    "audit",
    (run) => changeAudit(run, 2, { customerId: "of-undone" }),
  ],
  [
    "a record that no customer finds",
    "audit",
    (run) => changeAudit(run, 2, { customerId: undefined }),
  ],
  [
    "a payment recorded with another amount",
    "audit",
    (run) => changeAudit(run, 1, { amountMinor: TOTAL_MINOR - 1 }),
  ],
  ["an audit that is empty", "audit", (run) => run.samples.get("sent")?.audited.splice(0)],
  [
    "a customer who was told twice",
    "notifications",
    (run) => run.samples.get("sent")?.notices.push(...noticesOf("sent").slice(0, 1)),
  ],
  [
    "a customer who was not told",
    "notifications",
    (run) => run.samples.get("undone")?.notices.pop(),
  ],
  [
    "a customer who was told of a failure that was none",
    "notifications",
    (run) => changeNotice(run, "undone", 0, { event: "payment.failed" }),
  ],
  [
    "a text that is still to be sent",
    "notifications",
    (run) => changeNotice(run, "sent", 0, { status: "pending" }),
  ],
  [
    "a text that was given up",
    "notifications",
    (run) => changeNotice(run, "sent", 2, { status: "failed", reason: "refused" }),
  ],
  [
    "a number that was passed over",
    "notifications",
    (run) => changeNotice(run, "sent", 2, { status: "skipped" }),
  ],
  [
    "a text to nobody",
    "notifications",
    (run) => {
      run.outbox.timesById.set("declined/order.cancelled/sms", 1);
      changeNotice(run, "declined", 3, { status: "sent" });
    },
  ],
  [
    "a text that stands in the files twice",
    "outbox",
    (run) => run.outbox.timesById.set("sent/order.created/email", 2),
  ],
  [
    "a text that stands in no file",
    "outbox",
    (run) => run.outbox.timesById.delete("sent/order.created/email"),
  ],
  ["books that the shop calls unbalanced", "books", (run) => (run.books.isBalanced = false)],
  ["a row with a remark", "books", (run) => changeBook(run, { imbalance: "sent 3, received 2" })],
  ["a record that vanished", "books", (run) => changeBooks(run, {})],
  ["a record that died", "books", (run) => changeBooks(run, { dead: 1 })],
  ["a record that hangs", "books", (run) => changeBooks(run, { inFlight: 1 })],
  ["a record that waits", "books", (run) => changeBooks(run, { waiting: 1 })],
  ["a total that is not the sum", "books", (run) => run.books.rows.pop()],
  ["a group without a total", "books", (run) => run.books.totals.pop()],
  ["no books at all", "books", (run) => (run.books = { isBalanced: true, rows: [], totals: [] })],
  ["a dead letter", "letters", (run) => (run.deadLetters = 1)],
];

/** Of the forgeries: what time alone may bring. All else is broken for good. */
const EARLY: readonly string[] = [
  "a view that is behind",
  "an order that was not counted",
  "no revenue at all",
  "a parcel that was not counted",
  "a chain that was not verified to its end",
  "a chain shorter than the timelines",
  "an event that the audit has not",
  "a parcel that was delivered without a report",
  "an audit that is empty",
  "a customer who was not told",
  "a text that is still to be sent",
  "a record that hangs",
  "a record that waits",
];

describe("verify, with what the stores around the orders say", () => {
  test("finds nothing in a good run, and counts what it looked at", () => {
    const { violations, counts } = verify(runWith(goodPlatform()));
    expect(violations).toEqual([]);
    expect(counts).toMatchObject({ sampled: 3, audited: 19, texts: 7 + 3 + 3 });
  });

  test.each(FORGERIES)("finds %s, by %s and nothing else", (what, check, forge) => {
    const platform = goodPlatform();
    forge(platform);
    const { violations } = verify(runWith(platform));
    expect([...new Set(violations.map((violation) => violation.check))]).toEqual([check]);
    expect(mayHeal(violations, [check])).toBe(EARLY.includes(what));
  });

  test.each<[string, Tally]>([
    ["fewer orders that make more", { count: 2, sumMinor: 4 * TOTAL_MINOR }],
    ["fewer orders that make no hundredths", { count: 2, sumMinor: undefined }],
  ])("knows that time does not mend %s", (_what, told) => {
    const platform = goodPlatform();
    platform.figures.set("orders USD", told);
    expect(mayHeal(verify(runWith(platform)).violations, ["analytics"])).toBe(false);
  });

  test("knows that time does not mend more records verified than there are", () => {
    const platform = goodPlatform();
    platform.chain = { grown: 19, verified: 20 };
    expect(mayHeal(verify(runWith(platform)).violations, ["audit"])).toBe(false);
  });

  test("allows clocks and reminders that came beside the timeline, and files out of reach", () => {
    const platform = goodPlatform();
    const [first] = auditOf("declined");
    for (const type of ["reservation.lapsed", "notification.due"]) {
      if (first !== undefined) platform.samples.get("declined")?.audited.push({ ...first, type });
    }
    const { outbox: _, ...others } = platform;
    expect(verify(runWith(others)).violations).toEqual([]);
  });

  test("does not miss texts whose file was rotated away", () => {
    const platform = goodPlatform();
    platform.outbox.timesById.delete("sent/order.created/email");
    platform.outbox.isWhole = false;
    expect(verify(runWith(platform)).violations).toEqual([]);
  });
});
