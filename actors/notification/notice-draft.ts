/**
 * What a batch of messages comes to: reads the ledgers, decides, asks the local channels.
 *
 * Nothing is committed here. A draft may be made again when a commit lost a race: what local
 * channels have answered is remembered by id in between, so that none of it is sent again.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { ShopEvent } from "../contracts/messages.ts";
import type { Message } from "../delivery/outcome.ts";
import type { Store } from "../stores/unit-of-work.ts";
import type { Channel, SendResult } from "./channel.ts";
import type { ChannelView, NoticeStep, Terms } from "./notice-rules.ts";
import type { RowChange } from "./notice-unit.ts";
import type { ChannelKind, LedgerEntry, Notification, NotificationRow } from "./notification.ts";
import type { ChannelPolicy } from "./notification-policy.ts";
import type { RemoteSender, SendJob } from "./remote-sender.ts";
import type { Templates } from "./templates.ts";

import { assert } from "../../runtime/errors.ts";
import { causeOf } from "../delivery/decode-message.ts";
import { REDRIVEN_HEADER } from "../delivery/redrive.ts";
import { sendWithin } from "./channel.ts";
import { decideNotice, recipientOf, settleEntry, withEntries } from "./notice-rules.ts";
import { decodeNotificationRow } from "./notification-row.ts";
import { notificationId } from "./notification.ts";

/** Longest wait for a local channel; its own timeout, when that is shorter. */
const LOCAL_WAIT_MS = 1_000;

/** A channel that is on; `sender` for remote ones. */
export interface OpenChannel {
  readonly channel: Channel;
  readonly policy: ChannelPolicy;
  readonly sender: RemoteSender | undefined;
}

export type OpenChannels = ReadonlyMap<ChannelKind, OpenChannel>;

export interface DraftOptions {
  readonly store: Pick<Store, "load">;
  readonly environment: Environment;
  readonly channels: OpenChannels;
  readonly templates: Templates;
  readonly contactWaitMs: number;
  readonly ageMaxMs: number;
}

export interface Draft {
  readonly changes: readonly RowChange[];
  /** For remote channels, once the changes are committed. */
  readonly jobs: readonly SendJob[];
}

/** Results of local channels by notification id. */
export type LocalResults = Map<string, SendResult>;

/** A message that changes a ledger. */
interface Task {
  readonly message: Message<ShopEvent>;
  readonly before: NotificationRow | undefined;
  readonly expectedVersion: number;
  readonly step: NoticeStep;
}

export async function draftNotices(
  messages: readonly Message<ShopEvent>[],
  known: LocalResults,
  options: DraftOptions,
): Promise<Draft> {
  const terms = termsOf(options);
  const tasks = await decideAll(messages, terms, options.store);
  const jobs: SendJob[] = [];
  const local = new Map<ChannelKind, Notification[]>();
  for (const { message, step } of tasks) {
    for (const entry of step.sends) {
      const notification = notificationOf(step.row, entry, terms, options);
      if (isRemote(entry, options.channels)) {
        jobs.push({ notification, entry, cause: causeOf(message.frame) });
      } else if (!known.has(notification.id)) {
        const batch = local.get(entry.channel);
        if (batch === undefined) local.set(entry.channel, [notification]);
        else batch.push(notification);
      }
    }
  }
  await sendLocally(local, known, options);
  const changes = tasks.map(({ message, before, expectedVersion, step }) => {
    const ended: LedgerEntry[] = [];
    for (const entry of step.sends) {
      const result = known.get(notificationId(step.row.orderId, entry));
      if (result !== undefined) ended.push(settleEntry(entry, result, terms));
    }
    const after = ended.length === 0 ? step.row : withEntries(step.row, ended);
    return { before, after, expectedVersion, cause: causeOf(message.frame) };
  });
  return { changes, jobs };
}

/** The terms of one decision; places in queues are counted down as they are taken. */
export function termsOf(options: Omit<DraftOptions, "store" | "templates">): Terms {
  const { environment, contactWaitMs, ageMaxMs } = options;
  const channels: Partial<Record<ChannelKind, ChannelView>> = {};
  for (const [kind, { channel, policy, sender }] of options.channels) {
    let places = sender?.room() ?? Number.MAX_SAFE_INTEGER;
    channels[kind] = {
      policy,
      knowsCustomers: channel.knowsCustomers,
      takePlace: () => places-- > 0,
      holds: (id) => sender?.holds(id) ?? false,
    };
  }
  return {
    nowMs: environment.nowMs(),
    contactWaitMs,
    ageMaxMs,
    channels,
    random: () => environment.random(),
  };
}

async function decideAll(
  messages: readonly Message<ShopEvent>[],
  terms: Terms,
  store: Pick<Store, "load">,
): Promise<readonly Task[]> {
  const ours: Message<ShopEvent>[] = [];
  const orderIds: string[] = [];
  for (const message of messages) {
    const { body } = message;
    const isPaid = body.type === "payment.processed" && body.status === "completed";
    if (isPaid || !("orderId" in body)) continue;
    ours.push(message);
    orderIds.push(body.orderId);
  }
  if (ours.length === 0) return [];
  const rows = await store.load("notifications", orderIds);
  const tasks: Task[] = [];
  for (const [at, message] of ours.entries()) {
    const stored = rows[at];
    const before = stored === undefined ? undefined : decodeNotificationRow(stored.data);
    const step = decideNotice(message.body, before, terms, ageFromMs(message, terms));
    if (step === undefined) continue;
    tasks.push({ message, before, expectedVersion: stored?.version ?? 0, step });
  }
  return tasks;
}

/** What an operator puts back is asked for now, however old it is. */
function ageFromMs({ frame }: Message<ShopEvent>, { nowMs }: Terms): number {
  return Object.hasOwn(frame.headers, REDRIVEN_HEADER) ? nowMs : frame.timeMs;
}

async function sendLocally(
  local: ReadonlyMap<ChannelKind, readonly Notification[]>,
  known: LocalResults,
  { channels, environment }: DraftOptions,
): Promise<void> {
  await Promise.all(
    [...local].map(async ([kind, batch]) => {
      const open = channels.get(kind);
      assert(open !== undefined, "only channels that are on are sent to");
      const timeoutMs = Math.min(LOCAL_WAIT_MS, open.policy.timeoutMs);
      const results = await sendWithin(open.channel, batch, { environment, timeoutMs });
      for (const [at, { id }] of batch.entries()) {
        const result = results[at];
        assert(result !== undefined, "sendWithin answers one result each");
        known.set(id, result);
      }
    }),
  );
}

function notificationOf(
  row: NotificationRow,
  entry: LedgerEntry,
  terms: Terms,
  { templates }: DraftOptions,
): Notification {
  const { orderId, contact } = row;
  const { event, channel, facts = {} } = entry;
  const to = recipientOf(channel, row, terms.channels[channel]?.knowsCustomers ?? false);
  assert(to !== undefined, "an entry without a recipient is skipped");
  const request = { orderId, event, channel, language: contact?.language, facts };
  const { language, subject, text } = templates.render(request);
  const id = notificationId(orderId, entry);
  return { id, orderId, event, channel, language, to, subject, text, atMs: terms.nowMs };
}

function isRemote({ channel }: LedgerEntry, channels: OpenChannels): boolean {
  return channels.get(channel)?.sender !== undefined;
}
