/**
 * The words of the notification service: what customers are told about, how, and what is kept.
 *
 * One row of table `notifications` per order holds how to reach the customer and the ledger: an
 * entry for each (event, channel). An event that has entries has been told; nothing here lets it
 * be told again.
 */

import type { Static } from "@sinclair/typebox";

import type { Contact } from "../contracts/fields.ts";
import type { CancelReason } from "../contracts/messages.ts";

import {
  OrderCancelled,
  OrderCreated,
  OrderDelivered,
  OrderShipped,
  PaymentProcessed,
  PaymentRefunded,
} from "../contracts/messages.ts";
import { NotificationDue } from "../contracts/platform-messages.ts";

export const CHANNEL_KINDS = ["email", "sms", "push"] as const;
export type ChannelKind = (typeof CHANNEL_KINDS)[number];

/** What a customer can be told about. `payment.failed` is a `payment.processed` that failed. */
export const NOTIFIED_EVENTS = [
  "order.created",
  "payment.failed",
  "order.shipped",
  "order.delivered",
  "order.cancelled",
  "payment.refunded",
] as const;
export type NotifiedEvent = (typeof NOTIFIED_EVENTS)[number];

/** Contracts of the events that the service hears. */
export const NOTIFIED_CONTRACTS = [
  OrderCreated,
  OrderShipped,
  OrderDelivered,
  OrderCancelled,
  PaymentProcessed,
  PaymentRefunded,
  NotificationDue,
] as const;

export type ContactFields = Static<typeof Contact>;

/** What an event says that a text may need. */
export interface Facts {
  readonly amountMinor?: number;
  readonly currency?: string;
  readonly trackingNumber?: string;
  readonly carrier?: string;
  readonly cancelReason?: CancelReason;
}

export const ENTRY_STATUSES = ["pending", "sent", "failed", "skipped"] as const;
export type EntryStatus = (typeof ENTRY_STATUSES)[number];

export interface LedgerEntry {
  readonly event: NotifiedEvent;
  readonly channel: ChannelKind;
  readonly status: EntryStatus;
  /** Of the last change, ms since the epoch. */
  readonly atMs: number;
  /** Attempts begun, the one under way included. */
  readonly attempts: number;
  /**
   * `no_address`, `no_contact`, `too_old`, `queue_full`, `channel_off`, or what the last attempt
   * met.
   */
  readonly reason?: string;
  /** Pending only: when it is looked at again. */
  readonly dueAtMs?: number;
  /** Pending only: what another attempt needs to write its text. */
  readonly facts?: Facts;
}

export interface NotificationRow {
  readonly orderId: string;
  /** Absent until `order.created` has been heard. */
  readonly customerId?: string;
  /** Kept until there is nothing more to tell. */
  readonly contact?: ContactFields;
  /** Oldest event first; at most one for each event and channel. */
  readonly entries: readonly LedgerEntry[];
}

/** One text on its way to one customer. */
export interface Notification {
  /** The same for every attempt at the same (order, event, channel). */
  readonly id: string;
  readonly orderId: string;
  readonly event: NotifiedEvent;
  readonly channel: ChannelKind;
  /** Language of the text: one that there are templates for. */
  readonly language: string;
  /** Address, number or token; `customer:<id>` for a channel that knows its customers. */
  readonly to: string;
  /** Title of an e-mail or push message; empty for SMS. */
  readonly subject: string;
  readonly text: string;
  readonly atMs: number;
}

export function notificationId(
  orderId: string,
  { event, channel }: Pick<LedgerEntry, "event" | "channel">,
): string {
  return `${orderId}/${event}/${channel}`;
}

/** Id of the durable timer of a pending notification. */
export function dueTimerId(id: string): string {
  return `notify:${id}`;
}

export function isNotifiedEvent(name: string): name is NotifiedEvent {
  return NOTIFIED_EVENTS.some((event) => event === name);
}
