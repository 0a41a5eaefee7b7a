/**
 * For tests: channels that remember what they were given and answer as they are told, and a
 * service over a store in memory whose timers come back as messages.
 *
 * Nothing here decides what is right; a channel that was not told otherwise sends.
 */

import { expect } from "bun:test";

import type { EventOf, ShopEvent } from "../contracts/messages.ts";
import type { Message, Outcome } from "../delivery/outcome.ts";
import type { StoreStep } from "../stores/memory-store.ts";
import type { Channel, SendResult } from "./channel.ts";
import type { ChannelKind, LedgerEntry, Notification, NotificationRow } from "./notification.ts";
import type { ChannelPolicy, NotificationSettings } from "./notification-policy.ts";

import type { ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { delivered, messageOf, SLOTS } from "../order/delivered.suite.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { SENT } from "./channel.ts";
import { createNotificationService } from "./notification-actor.ts";
import { decodeNotificationRow } from "./notification-row.ts";
import { NOTIFICATION_SETTINGS } from "./notification-policy.ts";

export interface ProbeChannel extends Channel {
  /** Every notification that reached it, in order, repeats included. */
  readonly seen: Notification[];
  /** What it answers from now on; a promise that never settles is a channel that hangs. */
  answer: (notification: Notification) => SendResult | Promise<SendResult>;
  closed: boolean;
}

export function probeChannel(
  kind: ChannelKind,
  reach: Channel["reach"] = "local",
  knowsCustomers = true,
): ProbeChannel {
  const seen: Notification[] = [];
  return {
    name: `probe-${kind}`,
    kind,
    reach,
    knowsCustomers,
    seen,
    answer: () => SENT,
    closed: false,
    async send(batch) {
      seen.push(...batch);
      return await Promise.all(batch.map((each) => this.answer(each)));
    },
    async close() {
      this.closed = true;
    },
  };
}

export const CONTACT = { email: "ada@example.com", phone: "+4366012345", pushToken: "tok" };

export function createdOf(
  orderId: string,
  contact: EventOf<"order.created">["contact"] = CONTACT,
): EventOf<"order.created"> {
  const items = [{ productId: "tea", quantity: 1, priceMinor: 1_990 }];
  const terms = { customerId: "ada", items, totalMinor: 1_990, currency: "EUR" };
  return { type: "order.created", orderId, ...terms, ...(contact && { contact }) };
}
export const shippedOf = (orderId: string) =>
  ({ type: "order.shipped", orderId, trackingNumber: "SS1", carrier: "Post" }) as const;
export const cancelledOf = (orderId: string) =>
  ({ type: "order.cancelled", orderId, reason: "requested" }) as const;
export const paidOf = (orderId: string, status: "completed" | "failed") =>
  ({
    type: "payment.processed",
    orderId,
    status,
    amountMinor: 1_990,
    currency: "EUR",
    gateway: "standard",
  }) as const;

/** Settings with every event on every channel, and `changes` for all of them. */
export function settingsWith(changes: Partial<ChannelPolicy> = {}): NotificationSettings {
  const { channels } = NOTIFICATION_SETTINGS;
  const { events } = channels.email;
  return {
    ...NOTIFICATION_SETTINGS,
    channels: {
      email: { ...channels.email, ...changes },
      sms: { ...channels.sms, events, ...changes },
      push: { ...channels.push, events, ...changes },
    },
  };
}

export interface HouseOptions {
  readonly channels: readonly Channel[];
  readonly settings?: NotificationSettings;
  readonly seed?: number;
}

/** The service with its store; `tell` delivers events, timers deliver themselves. */
export function openHouse({ channels, settings = settingsWith(), seed = 1 }: HouseOptions) {
  const environment = createVirtualEnvironment(seed);
  const faults = new Map<StoreStep, ShopError[]>();
  const recorded: LedgerEntry[] = [];
  const warnings: string[] = [];
  const due: Message<ShopEvent>[] = [];
  const counts = { commits: 0, acknowledged: 0 };
  const store = createMemoryStore({
    environment,
    onOutgoing(outgoing) {
      expect(outgoing.topic).toBe("notifications");
      due.push(messageOf(outgoing, "notification"));
      environment.defer(() => void deliverDue());
    },
    onAcknowledged: (refs) => void (counts.acknowledged += refs.length),
    onStep(step) {
      if (step === "before_commit") counts.commits++;
      const fault = faults.get(step)?.shift();
      if (fault !== undefined) throw fault;
    },
  });
  let lives = 0;
  const open = (using: readonly Channel[] = channels, changed = settings) => {
    const life = ++lives;
    const gone = new Promise<never>(() => {});
    return createNotificationService({
      // What a dead process asks of the store is never answered, and changes nothing.
      store: {
        acknowledges: true,
        commit: (unit, refs) => (life === lives ? store.commit(unit, refs) : gone),
        load: (table, keys) => (life === lives ? store.load(table, keys) : gone),
      },
      environment,
      slots: SLOTS,
      channels: using,
      settings: changed,
      onRecorded: (entries) => void recorded.push(...entries),
      onWarning: (detail) => void warnings.push(detail),
    });
  };
  let service = open();

  async function deliverDue(): Promise<void> {
    const batch = due.splice(0);
    if (batch.length > 0) await service.handle(batch);
  }

  const messagesOf = (events: readonly ShopEvent[]) =>
    events.map((event) => delivered(event, "notification", environment));

  /** The outcomes, once everything that needs no time has happened. */
  async function handle(messages: readonly Message<ShopEvent>[]): Promise<readonly Outcome[]> {
    const [outcome] = await Promise.allSettled([service.handle(messages), environment.settle()]);
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  }

  return {
    environment,
    store,
    faults,
    recorded,
    warnings,
    counts,
    messagesOf,
    handle,
    tell: (...events: readonly ShopEvent[]) => handle(messagesOf(events)),
    /** As after the death of the process: what was in memory is gone. */
    restart(using: readonly Channel[] = channels, changed = settings) {
      service = open(using, changed);
    },
    service: () => service,
    row(orderId: string): NotificationRow | undefined {
      const row = store.rows("notifications").find(({ key }) => key === orderId);
      return row === undefined ? undefined : decodeNotificationRow(row.data);
    },
    /** `event/channel: status` for each entry of the order, sorted. */
    ledger(orderId: string): readonly string[] {
      const entries = this.row(orderId)?.entries ?? [];
      return entries
        .map(({ event, channel, status, reason }) => {
          const why = status === "skipped" ? `(${reason})` : "";
          return `${event}/${channel}: ${status}${why}`;
        })
        .sort();
    },
    entry(orderId: string, event: string, channel: string): LedgerEntry | undefined {
      const entries = this.row(orderId)?.entries ?? [];
      return entries.find((each) => each.event === event && each.channel === channel);
    },
  };
}
