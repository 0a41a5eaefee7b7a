/**
 * From changed ledgers to one unit of work: rows and the timers of what is pending.
 *
 * A timer lives exactly as long as its entry is pending: it is started, moved and cancelled in the
 * commit that changes the entry. Acknowledges nothing and marks no inbox: that an event has
 * entries is the mark, and it holds whatever id a message comes under.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Cause } from "../delivery/decode-message.ts";
import type { TimerStart, UnitOfWork } from "../stores/unit-of-work.ts";
import type { LedgerEntry, NotificationRow } from "./notification.ts";

import { encodeEvent } from "../delivery/decode-message.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { isSame } from "./notice-rules.ts";
import { encodeNotificationRow } from "./notification-row.ts";
import { dueTimerId, notificationId } from "./notification.ts";

export interface RowChange {
  readonly before: NotificationRow | undefined;
  readonly after: NotificationRow;
  readonly expectedVersion: number;
  /** What the timers of this change name as their cause. */
  readonly cause: Cause;
}

export interface UnitOptions {
  readonly environment: Environment;
  readonly slots: number;
}

/** One unit for all `changes`, each of another order. */
export function unitOfChanges(changes: readonly RowChange[], options: UnitOptions): UnitOfWork {
  const timersStarted: TimerStart[] = [];
  const timersCancelled: string[] = [];
  for (const change of changes) {
    const { after, before, cause } = change;
    for (const entry of changedEntries(change)) {
      const id = dueTimerId(notificationId(after.orderId, entry));
      const { dueAtMs } = entry;
      if (dueAtMs !== undefined) {
        timersStarted.push({
          id,
          dueAtMs,
          outgoing: dueFrame(after.orderId, entry, cause, options),
        });
      } else if (before?.entries.some((old) => isSame(old, entry)) === true) {
        timersCancelled.push(id);
      }
    }
  }
  const rows = changes.map(({ after, expectedVersion }) => ({
    table: "notifications" as const,
    key: after.orderId,
    expectedVersion,
    data: encodeNotificationRow(after),
  }));
  return { ...EMPTY_UNIT, rows, timersStarted, timersCancelled };
}

/** Entries that are not as they were. */
export function changedEntries({ before, after }: RowChange): readonly LedgerEntry[] {
  if (before === undefined) return after.entries;
  return after.entries.filter((entry) => !before.entries.includes(entry));
}

function dueFrame(orderId: string, entry: LedgerEntry, cause: Cause, options: UnitOptions) {
  const { event, channel, attempts } = entry;
  const due = { type: "notification.due", orderId, event, channel, attempt: attempts + 1 } as const;
  return encodeEvent(due, { ...options, cause });
}
