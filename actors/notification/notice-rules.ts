/**
 * What is told to whom, and what follows an attempt: functions from a row to the next row.
 *
 * Refuses to tell twice: an event that has entries changes nothing, a reminder that is not the one
 * its entry waits for changes nothing, and what is sent, failed or skipped stays so. An event may
 * come before the order's contact is known; it waits for a while, then it is skipped. Nor is the
 * past told: an event that is looked at for the first time when it is old is recorded as skipped.
 */

import type { EventOf, ShopEvent } from "../contracts/messages.ts";
import type { SendResult } from "./channel.ts";
import type {
  ChannelKind,
  ContactFields,
  Facts,
  LedgerEntry,
  NotificationRow,
  NotifiedEvent,
} from "./notification.ts";
import type { ChannelPolicy } from "./notification-policy.ts";

import { afterFailure } from "../delivery/retry-schedule.ts";
import { CHANNEL_KINDS, isNotifiedEvent, notificationId } from "./notification.ts";
import { lostAfterMs, REASON_LENGTH_MAX, retryPolicyOf } from "./notification-policy.ts";

const QUEUE_FULL = "queue_full";

/** One channel as the rules see it. */
export interface ChannelView {
  readonly policy: ChannelPolicy;
  readonly knowsCustomers: boolean;
  /** Takes one of the places that are free; false: there is none. */
  takePlace(): boolean;
  /** The notification is queued or on its way in this process. */
  holds(id: string): boolean;
}

export interface Terms {
  readonly nowMs: number;
  readonly contactWaitMs: number;
  /** An event older than this at the first look is not told. */
  readonly ageMaxMs: number;
  /** Channels that are on. */
  readonly channels: Readonly<Partial<Record<ChannelKind, ChannelView>>>;
  /** Uniform in [0, 1). */
  random(): number;
}

/** A row as it becomes, and which of its entries are to be sent now: they are pending in it. */
export interface NoticeStep {
  readonly row: NotificationRow;
  readonly sends: readonly LedgerEntry[];
}

/** An event in the terms of this service. */
interface Heard {
  readonly event: NotifiedEvent;
  readonly facts: Facts;
  readonly isTooOld: boolean;
}

/** What the service makes of `input`, which is of `atMs`; `undefined`: nothing. */
export function decideNotice(
  input: ShopEvent,
  row: NotificationRow | undefined,
  terms: Terms,
  atMs: number = terms.nowMs,
): NoticeStep | undefined {
  if (input.type === "notification.due") return decideDue(input, row, terms);
  const told = hear(input);
  if (told === undefined || !("orderId" in input)) return undefined;
  const heard = { ...told, isTooOld: terms.nowMs - atMs > terms.ageMaxMs };
  if (input.type === "order.created") return decideCreated(input, heard, row, terms);
  const known = row ?? { orderId: input.orderId, entries: [] };
  const begun = beginAll(heard, known, terms);
  return begun.length === 0 ? undefined : stepOf(known, begun);
}

/** What a finished attempt makes of its entry. */
export function settleEntry(entry: LedgerEntry, result: SendResult, terms: Terms): LedgerEntry {
  const { event, channel, attempts } = entry;
  const base = { event, channel, atMs: terms.nowMs, attempts };
  if (result.kind === "sent") return { ...base, status: "sent" };
  const reason = cleanReason(result.error);
  const failed = { ...base, status: "failed", reason } as const;
  const policy = terms.channels[channel]?.policy;
  if (result.kind === "rejected" || policy === undefined) return failed;
  const next = afterFailure(retryPolicyOf(policy), attempts, terms.random());
  if (next.kind === "poison") return failed;
  const dueAtMs = Math.ceil(terms.nowMs + next.delayMs);
  return { ...base, status: "pending", reason, dueAtMs, ...factsOf(entry) };
}

/**
 * What has been told when there is nothing more to tell. Of an order that is cancelled before it is
 * paid nobody here can say whether a refund is still to come.
 */
const ENDINGS: readonly (readonly NotifiedEvent[])[] = [
  ["order.shipped", "order.delivered"],
  ["order.cancelled", "payment.failed"],
  ["order.cancelled", "payment.refunded"],
];

/**
 * `row` with the entries of the same event and channel replaced, and new ones at the end. How to
 * reach the customer is forgotten with the last of them.
 */
export function withEntries(
  row: NotificationRow,
  changed: readonly LedgerEntry[],
): NotificationRow {
  const { orderId, customerId, contact } = row;
  const entries = [...row.entries];
  for (const entry of changed) {
    const at = entries.findIndex((each) => isSame(each, entry));
    if (at < 0) entries.push(entry);
    else entries[at] = entry;
  }
  const known = customerId === undefined ? {} : { customerId };
  if (contact === undefined || isOver(entries)) return { orderId, ...known, entries };
  return { orderId, ...known, contact, entries };
}

function isOver(entries: readonly LedgerEntry[]): boolean {
  const told = new Set<NotifiedEvent>();
  for (const { event, status } of entries) {
    if (status === "pending") return false;
    told.add(event);
  }
  return ENDINGS.some((events) => events.every((event) => told.has(event)));
}

/** Where a channel of `kind` reaches the customer; `undefined`: nowhere. */
export function recipientOf(
  kind: ChannelKind,
  row: Pick<NotificationRow, "customerId" | "contact">,
  knowsCustomers: boolean,
): string | undefined {
  const contact: ContactFields = row.contact ?? {};
  if (kind === "sms") return contact.phone;
  if (kind === "push") return contact.pushToken;
  if (contact.email !== undefined || !knowsCustomers) return contact.email;
  return row.customerId === undefined ? undefined : `customer:${row.customerId}`;
}

export function isSame(
  left: Pick<LedgerEntry, "event" | "channel">,
  right: Pick<LedgerEntry, "event" | "channel">,
): boolean {
  return left.event === right.event && left.channel === right.channel;
}

function decideCreated(
  input: EventOf<"order.created">,
  heard: Heard,
  row: NotificationRow | undefined,
  terms: Terms,
): NoticeStep | undefined {
  if (row?.customerId !== undefined) return undefined;
  const { orderId, customerId, contact } = input;
  const known: NotificationRow = {
    orderId,
    customerId,
    ...(contact === undefined ? {} : { contact }),
    entries: row?.entries ?? [],
  };
  const waiting = known.entries.filter(({ status }) => status === "pending");
  const begun = waiting.map((entry) => begin(entry, entry.facts ?? {}, known, terms));
  return stepOf(known, [...beginAll(heard, known, terms), ...begun]);
}

function decideDue(
  due: EventOf<"notification.due">,
  row: NotificationRow | undefined,
  terms: Terms,
): NoticeStep | undefined {
  const { event, channel, attempt } = due;
  if (row === undefined || !isNotifiedEvent(event)) return undefined;
  const entry = row.entries.find((each) => isSame(each, { event, channel }));
  if (entry?.status !== "pending" || entry.attempts !== attempt - 1) return undefined;
  const view = terms.channels[channel];
  if (view === undefined) return stepOf(row, [ended(entry, "failed", "channel_off", terms)]);
  if (view.holds(notificationId(row.orderId, entry))) {
    return stepOf(row, [{ ...entry, dueAtMs: terms.nowMs + lostAfterMs(view.policy) }]);
  }
  if (row.customerId === undefined) {
    return stepOf(row, [ended(entry, "skipped", "no_contact", terms)]);
  }
  if (entry.attempts >= view.policy.attemptsMax) {
    return stepOf(row, [ended(entry, "failed", entry.reason ?? "no_answer", terms)]);
  }
  return stepOf(row, [begin(entry, entry.facts ?? {}, row, terms)]);
}

/** An entry for each channel that tells about the event and has not told yet. */
function beginAll(heard: Heard, row: NotificationRow, terms: Terms): readonly LedgerEntry[] {
  const { event, facts, isTooOld } = heard;
  if (row.entries.some((entry) => entry.event === event)) return [];
  const kinds = CHANNEL_KINDS.filter((kind) => terms.channels[kind]?.policy.events.includes(event));
  return kinds.map((channel) => {
    const entry = { event, channel, attempts: 0 } as const;
    if (!isTooOld) return begin(entry, facts, row, terms);
    return { ...entry, atMs: terms.nowMs, status: "skipped", reason: "too_old" };
  });
}

/** The next attempt of `entry`, or why there is none now. */
function begin(
  entry: Pick<LedgerEntry, "event" | "channel" | "attempts"> & Partial<LedgerEntry>,
  facts: Facts,
  row: NotificationRow,
  terms: Terms,
): LedgerEntry {
  const { event, channel, attempts } = entry;
  const { nowMs } = terms;
  const view = terms.channels[channel];
  const base = { event, channel, atMs: nowMs, attempts };
  if (view === undefined) return { ...base, status: "failed", reason: "channel_off" };
  const pending = { ...base, status: "pending", facts } as const;
  if (row.customerId === undefined) {
    return { ...pending, reason: "no_contact", dueAtMs: nowMs + terms.contactWaitMs };
  }
  if (recipientOf(channel, row, view.knowsCustomers) === undefined) {
    return { ...base, status: "skipped", reason: "no_address" };
  }
  if (!view.takePlace()) {
    const dueAtMs = nowMs + queueWaitMs(entry, view.policy, terms.random());
    return { ...pending, reason: QUEUE_FULL, dueAtMs };
  }
  return { ...pending, attempts: attempts + 1, dueAtMs: nowMs + lostAfterMs(view.policy) };
}

/** Soon after a burst, ever later while the queue stays full; spread, so as not to be another. */
function queueWaitMs(
  { reason, atMs = 0, dueAtMs = 0 }: Partial<LedgerEntry>,
  { delayMinMs, delayMaxMs }: ChannelPolicy,
  random: number,
): number {
  const lastMs = reason === QUEUE_FULL ? dueAtMs - atMs : 0;
  const nextMs = Math.min(delayMaxMs, Math.max(delayMinMs, 2 * lastMs));
  return Math.ceil(nextMs * (0.5 + random / 2));
}

/** To be sent is what has begun another attempt. */
function stepOf(row: NotificationRow, changed: readonly LedgerEntry[]): NoticeStep {
  const sends = changed.filter((entry) => {
    if (entry.status !== "pending") return false;
    const before = row.entries.find((each) => isSame(each, entry));
    return entry.attempts > (before?.attempts ?? 0);
  });
  return { row: withEntries(row, changed), sends };
}

function ended(
  entry: LedgerEntry,
  status: "failed" | "skipped",
  reason: string,
  terms: Terms,
): LedgerEntry {
  const { event, channel, attempts } = entry;
  return { event, channel, status, atMs: terms.nowMs, attempts, reason };
}

function factsOf({ facts }: LedgerEntry): { readonly facts?: Facts } {
  return facts === undefined ? {} : { facts };
}

/** One printable line of bounded length. */
function cleanReason(text: string): string {
  return text.replace(/\p{Cc}+/gu, " ").slice(0, REASON_LENGTH_MAX);
}

function hear(input: ShopEvent): Omit<Heard, "isTooOld"> | undefined {
  switch (input.type) {
    case "order.created":
      return {
        event: input.type,
        facts: { amountMinor: input.totalMinor, currency: input.currency },
      };
    case "payment.processed": {
      if (input.status !== "failed") return undefined;
      const { amountMinor, currency } = input;
      return { event: "payment.failed", facts: { amountMinor, currency } };
    }
    case "payment.refunded": {
      const { amountMinor, currency } = input;
      return { event: input.type, facts: { amountMinor, currency } };
    }
    case "order.shipped": {
      const { trackingNumber, carrier } = input;
      return { event: input.type, facts: { trackingNumber, carrier } };
    }
    case "order.delivered":
      return { event: input.type, facts: { trackingNumber: input.trackingNumber } };
    case "order.cancelled":
      return { event: input.type, facts: { cancelReason: input.reason } };
    default:
      return undefined;
  }
}
