/**
 * What audit and notifications must say about one order, judged from its timeline alone.
 *
 * Written from the description of the platform and sharing no code with it: every event that was
 * decided is in the audit once and no other; the customer was told once of each event by each
 * channel, or not at all where the channel has no address. What is missing may come yet.
 */

import { broken, early } from "./evidence.ts";
import type { Contact, ObservedOrder, PlannedOrder, Problem, TimelineEvent } from "./evidence.ts";
import type { AuditedEvent, Notice } from "./platform-evidence.ts";

/** Carrier, clocks and reminders: about an order, and not in its timeline. */
const BESIDE_THE_TIMELINE: readonly string[] = [
  "shipment.packed",
  "shipment.delivered",
  "reservation.lapsed",
  "notification.due",
];
/** Events whose amount is the order's whole total. */
const OF_THE_TOTAL: readonly string[] = ["order.created", "payment.processed", "payment.refunded"];
/** By every channel; the rest by e-mail only. */
const ON_THE_MOVE: readonly string[] = ["order.shipped", "order.delivered", "order.cancelled"];
const BY_MAIL_ONLY: readonly string[] = ["order.created", "payment.refunded"];

/** Everything that is wrong with what the audit has of `order`. */
export function judgeAudited(
  planned: PlannedOrder,
  order: ObservedOrder,
  timeline: readonly TimelineEvent[],
  audited: readonly AuditedEvent[],
): readonly Problem[] {
  const problems: Problem[] = [];
  const due = [...timeline.map(({ type }) => type), ...reportsOf(order.status)];
  for (const type of new Set([...due, ...audited.map((event) => event.type)])) {
    const expected = due.filter((each) => each === type).length;
    const found = audited.filter((event) => event.type === type).length;
    const isExtra = expected === 0 && BESIDE_THE_TIMELINE.includes(type);
    if (found !== expected && !isExtra) {
      const detail = `${type} is in the audit ${found} times, not ${expected}`;
      problems.push(found < expected ? early(detail) : broken(detail));
    }
  }
  for (const { type, customerId, fault, amountMinor } of audited) {
    if (fault !== undefined) problems.push(broken(`${type} is kept as ${fault}`));
    if (customerId !== planned.customerId) {
      const kept = `${type} is kept for ${String(customerId)}, not ${planned.customerId}`;
      problems.push(broken(kept));
    }
    if (OF_THE_TOTAL.includes(type) && amountMinor !== planned.totalMinor) {
      const kept = `${type} is kept with ${String(amountMinor)}, not ${planned.totalMinor}`;
      problems.push(broken(kept));
    }
  }
  return problems;
}

/** Everything that is wrong with what the customer of an order was told. */
export function judgeNotices(
  contact: Contact | undefined,
  timeline: readonly TimelineEvent[],
  notices: readonly Notice[],
): readonly Problem[] {
  const due = new Map(
    timeline.flatMap(toldOf).map(([event, channel]) => [`${event} by ${channel}`, channel]),
  );
  const problems: Problem[] = [];
  for (const name of new Set([...due.keys(), ...notices.map(nameOf)])) {
    const found = notices.filter((notice) => nameOf(notice) === name);
    const channel = due.get(name);
    const expected = channel === undefined ? 0 : 1;
    if (found.length !== expected) {
      const detail = `${name} is in the ledger ${found.length} times, not ${expected}`;
      problems.push(found.length < expected ? early(detail) : broken(detail));
      continue;
    }
    const status = isReached(channel, contact) ? "sent" : "skipped";
    for (const notice of found) {
      if (notice.status === status) continue;
      const why = notice.reason === undefined ? "" : ` (${notice.reason})`;
      const detail = `${name} is ${notice.status}${why}, not ${status}`;
      problems.push(notice.status === "pending" ? early(detail) : broken(detail));
    }
  }
  return problems;
}

/** What the carrier said to bring an order where it is. */
export function reportsOf(status: string | undefined): readonly string[] {
  if (status === "delivered") return ["shipment.packed", "shipment.delivered"];
  return status === "shipped" ? ["shipment.packed"] : [];
}

function toldOf({ type, data }: TimelineEvent): readonly (readonly [string, string])[] {
  if (type === "payment.processed") {
    return data["status"] === "failed" ? [["payment.failed", "email"]] : [];
  }
  if (BY_MAIL_ONLY.includes(type)) return [[type, "email"]];
  if (!ON_THE_MOVE.includes(type)) return [];
  return ["email", "sms", "push"].map((channel) => [type, channel] as const);
}

/** The outbox knows its customers: it takes an e-mail for one who named no address. */
function isReached(channel: string | undefined, contact: Contact | undefined): boolean {
  if (channel === "sms") return contact?.phone !== undefined;
  if (channel === "push") return contact?.pushToken !== undefined;
  return true;
}

function nameOf({ event, channel }: Notice): string {
  return `${event} by ${channel}`;
}
