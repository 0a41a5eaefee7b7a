/**
 * The notification service: tells customers what became of their orders, each thing once.
 *
 * A batch of events is one commit: ledgers, timers, acknowledgements. Local channels are asked
 * before it, remote ones after it by a queue of their own, so that none of them holds up another,
 * a key, or the batch. A process that dies in between sends again under the same id, never under
 * another. A failed attempt is a durable timer; after the last one the ledger says `failed` and
 * the shop goes on. It buries nothing on account of a channel.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { ShopEvent } from "../contracts/messages.ts";
import type { Message, Outcome } from "../delivery/outcome.ts";
import type { Store } from "../stores/unit-of-work.ts";
import type { Channel } from "./channel.ts";
import type { DraftOptions, LocalResults, OpenChannel } from "./notice-draft.ts";
import type { RowChange } from "./notice-unit.ts";
import type { ChannelKind, LedgerEntry } from "./notification.ts";
import type { NotificationSettings } from "./notification-policy.ts";
import type { FinishedJob } from "./remote-sender.ts";
import type { Templates } from "./templates.ts";

import { assert, describeError, isShopError, ShopError } from "../../runtime/errors.ts";
import { ACK, SETTLED } from "../delivery/outcome.ts";
import { draftNotices, termsOf } from "./notice-draft.ts";
import { isSame, settleEntry, withEntries } from "./notice-rules.ts";
import { changedEntries, unitOfChanges } from "./notice-unit.ts";
import {
  checkNotificationSettings,
  NOTIFICATION_SETTINGS,
  QUEUE_MAX,
  REMOTE_BATCH_MAX,
} from "./notification-policy.ts";
import { decodeNotificationRow } from "./notification-row.ts";
import { createRemoteSender } from "./remote-sender.ts";
import { compileTemplates } from "./templates.ts";
import { GERMAN } from "./templates-de.ts";
import { ENGLISH } from "./templates-en.ts";
import { FRENCH } from "./templates-fr.ts";

/** Times one batch is drafted before it is given back. */
const DRAFTS_MAX = 8;
/** Times results of a remote channel are offered to the store, and the wait between two. */
const RECORDS_MAX = 5;
const RECORD_WAIT_MS = 100;

export interface NotificationServiceOptions {
  readonly store: Store;
  readonly environment: Environment;
  readonly slots: number;
  /** At most one of each kind; a kind without one is off. */
  readonly channels: readonly Channel[];
  readonly settings?: NotificationSettings;
  readonly templates?: Templates;
  /** Entries as they became, after the commit. Must not throw. */
  readonly onRecorded?: (entries: readonly LedgerEntry[]) => void;
  /** For the log: results of a channel that could not be recorded. Must not throw. */
  readonly onWarning?: (detail: string) => void;
}

export interface NotificationService {
  /** Batch handler of group `notification`. */
  handle(messages: readonly Message<ShopEvent>[]): Promise<readonly Outcome[]>;
  /** Of some orders another has told before, and may not have lived to write that down. */
  takeOver(): void;
  /** Ends what is on its way and closes the channels. Idempotent. */
  close(): Promise<void>;
}

export function createNotificationService(
  options: NotificationServiceOptions,
): NotificationService {
  const { store, environment, slots, settings = NOTIFICATION_SETTINGS } = options;
  checkNotificationSettings(settings);
  const templates = options.templates ?? compileTemplates([ENGLISH, GERMAN, FRENCH]);
  const channels = new Map<ChannelKind, OpenChannel>();
  const drafting: DraftOptions = {
    store,
    environment,
    channels,
    templates,
    contactWaitMs: settings.contactWaitMs,
    ageMaxMs: settings.ageMaxMs,
  };
  let tail: Promise<unknown> = Promise.resolve();
  let closing: Promise<void> | undefined;

  for (const channel of options.channels) {
    assert(!channels.has(channel.kind), `channel ${channel.kind} is given twice`);
    const policy = settings.channels[channel.kind];
    const sender =
      channel.reach === "local"
        ? undefined
        : createRemoteSender({
            channel,
            environment,
            timeoutMs: policy.timeoutMs,
            batchMax: REMOTE_BATCH_MAX,
            queueMax: QUEUE_MAX,
            onFinished: record,
          });
    channels.set(channel.kind, { channel, policy, sender });
  }

  /** Handler and recorder write the same rows; one at a time they never conflict. */
  function exclusively<Result>(work: () => Promise<Result>): Promise<Result> {
    const done = tail.then(work, work);
    tail = done;
    return done;
  }

  async function tell(messages: readonly Message<ShopEvent>[]): Promise<readonly Outcome[]> {
    const known: LocalResults = new Map();
    const deliveries = messages.map(({ delivery }) => delivery);
    for (let round = 0; round < DRAFTS_MAX; round++) {
      const { changes, jobs } = await draftNotices(messages, known, drafting);
      if (changes.length === 0) return messages.map(() => ACK);
      const answer = await store.commit(unitOfChanges(changes, { environment, slots }), deliveries);
      if (answer.kind !== "committed") continue;
      report(changes);
      for (const [kind, { sender }] of channels) {
        sender?.add(jobs.filter(({ entry }) => entry.channel === kind));
      }
      return messages.map(() => SETTLED);
    }
    throw new ShopError("VERSION_CONFLICT", "others kept changing the ledgers", "later");
  }

  /** What a remote channel answered. Should it not be recorded, its timer asks again. */
  async function record(finished: readonly FinishedJob[]): Promise<void> {
    for (let tries = 1; tries <= RECORDS_MAX; tries++) {
      try {
        await exclusively(() => recordOnce(finished));
        return;
      } catch (error) {
        const isOver = tries === RECORDS_MAX || isShopError(error, "CLOSED");
        if (isOver) {
          options.onWarning?.(`results of a channel were not recorded: ${describeError(error)}`);
          return;
        }
        const { promise, resolve } = Promise.withResolvers<void>();
        environment.startTimer(RECORD_WAIT_MS * tries, resolve);
        await promise;
      }
    }
  }

  async function recordOnce(finished: readonly FinishedJob[]): Promise<void> {
    const byOrder = Map.groupBy(finished, ({ job }) => job.notification.orderId);
    const orderIds = [...byOrder.keys()];
    const rows = await store.load("notifications", orderIds);
    const terms = termsOf(drafting);
    const changes: RowChange[] = [];
    for (const [at, orderId] of orderIds.entries()) {
      const stored = rows[at];
      const [first, ...others] = byOrder.get(orderId) ?? [];
      if (stored === undefined || first === undefined) continue;
      const before = decodeNotificationRow(stored.data);
      const ended = [first, ...others].flatMap(({ job: { entry }, result }) => {
        const present = before.entries.find((each) => isSame(each, entry));
        const isAwaited = present?.status === "pending" && present.attempts === entry.attempts;
        return isAwaited ? [settleEntry(present, result, terms)] : [];
      });
      if (ended.length === 0) continue;
      const after = withEntries(before, ended);
      changes.push({ before, after, expectedVersion: stored.version, cause: first.job.cause });
    }
    if (changes.length === 0) return;
    const answer = await store.commit(unitOfChanges(changes, { environment, slots }), []);
    if (answer.kind !== "committed") {
      throw new ShopError("VERSION_CONFLICT", "a ledger moved meanwhile", "later");
    }
    report(changes);
  }

  function report(changes: readonly RowChange[]): void {
    if (options.onRecorded === undefined) return;
    const entries = changes.flatMap((change) => changedEntries(change));
    if (entries.length > 0) options.onRecorded(entries);
  }

  async function close(): Promise<void> {
    const all = [...channels.values()];
    await Promise.all(all.map(async ({ sender }) => await sender?.close()));
    await tail.catch(() => {}); // its own caller has been told
    await Promise.all(all.map(({ channel }) => channel.close()));
  }

  return {
    handle: (messages) => exclusively(() => tell(messages)),
    takeOver() {
      for (const { channel } of channels.values()) channel.takeOver?.();
    },
    close: () => (closing ??= close()),
  };
}
