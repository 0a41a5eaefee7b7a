/**
 * Applies one unit inside the journal's transaction: every condition first, then everything.
 *
 * The common unit has one inbox mark and one row, and the mark fails first if any: then nothing
 * was written that had to be undone. Where a later condition fails after something was written,
 * the unit must be `guarded` by a savepoint; if it is not, `UnguardedFailure` asks for the whole
 * batch to be applied again with savepoints. Refuses nothing else: units have been checked.
 */

import type { SettleResult } from "../../brokers/broker.ts";
import type { DeadLetterTable } from "./dead-letter-table.ts";
import type { InboxTable } from "./inbox-table.ts";
import type { JournalDatabase } from "./journal-database.ts";
import type { JournalOutcome, LogRecord } from "./journal-types.ts";
import type { LogTable } from "./log-table.ts";
import type { RowTables } from "./row-tables.ts";
import type { Consumer, SettleTable } from "./settle-table.ts";
import type { TimerTable } from "./timer-table.ts";
import type { CheckedUnit } from "./unit-check.ts";

import { assert } from "../../../runtime/errors.ts";
import { frameSlot } from "../../../runtime/frames/frame.ts";
import { DEAD_LETTERS } from "../unit-of-work.ts";

export interface UnitTables {
  readonly database: JournalDatabase;
  readonly log: LogTable;
  readonly settle: SettleTable;
  readonly inbox: InboxTable;
  readonly rows: RowTables;
  readonly timers: TimerTable;
  readonly deadLetters: DeadLetterTable;
}

/** Thrown to roll the transaction back and to try again with a savepoint around every unit. */
export class UnguardedFailure extends Error {
  override readonly name = "UnguardedFailure";
}

type Failed = Exclude<JournalOutcome, { readonly kind: "committed" | "refused" }>;

/** Applies the unit or leaves no trace of it. `isCareful`: always with a savepoint. */
export function applyUnit(
  tables: UnitTables,
  checked: CheckedUnit,
  nowMs: number,
  isCareful: boolean,
): JournalOutcome {
  const { inbox, rows, timeline, deadLettersRemoved } = checked.unit.unit;
  for (const { group } of inbox) tables.inbox.addGroup(group);
  const conditions = inbox.length + rows.length + timeline.length + deadLettersRemoved.length;
  let failed: Failed | undefined;
  if (conditions > 1 && (isCareful || inbox.length > 1 || rows.length > 1)) {
    const marks = tables.inbox.marksCount;
    tables.database.guarded(() => {
      failed = applyConditions(tables, checked, nowMs)?.outcome;
      return failed === undefined;
    });
    if (failed !== undefined) tables.inbox.forgetMarks(marks);
  } else if (conditions > 0) {
    const failure = applyConditions(tables, checked, nowMs);
    if (failure?.hasWritten) throw new UnguardedFailure();
    failed = failure?.outcome;
  }
  return failed ?? applyRest(tables, checked, nowMs);
}

/** Everything that can fail. What it wrote before it failed is the caller's to roll back. */
function applyConditions(
  tables: UnitTables,
  { unit: { unit } }: CheckedUnit,
  nowMs: number,
): { readonly outcome: Failed; readonly hasWritten: boolean } | undefined {
  const messageIds: string[] = [];
  for (const mark of unit.inbox) {
    if (!tables.inbox.mark(mark)) messageIds.push(mark.messageId);
  }
  if (messageIds.length > 0) {
    const hasWritten = messageIds.length < unit.inbox.length;
    return { outcome: { kind: "duplicate", messageIds }, hasWritten };
  }
  let hasWritten = unit.inbox.length > 0;
  for (const id of unit.deadLettersRemoved) {
    if (tables.deadLetters.has(id)) continue;
    const outcome: Failed = { kind: "conflict", table: DEAD_LETTERS, key: `${id}`, version: 0 };
    return { outcome, hasWritten };
  }
  for (const write of unit.rows) {
    const version = tables.rows.write(write, nowMs);
    if (version !== undefined) {
      const { table, key } = write;
      return { outcome: { kind: "conflict", table, key, version }, hasWritten };
    }
    hasWritten = true;
  }
  for (const entry of unit.timeline) {
    const version = tables.rows.addToTimeline(entry);
    if (version !== undefined) {
      const { orderId: key } = entry;
      return { outcome: { kind: "conflict", table: "orders", key, version }, hasWritten };
    }
    hasWritten = true;
  }
  return undefined;
}

/** Everything that cannot fail any more. */
function applyRest(tables: UnitTables, checked: CheckedUnit, nowMs: number): JournalOutcome {
  const { unit } = checked.unit;
  for (const id of unit.timersCancelled) tables.timers.cancel(id);
  unit.timersStarted.forEach(({ id, dueAtMs, outgoing }, index) => {
    tables.timers.start(id, dueAtMs, checked.timerParts[index] ?? -1, outgoing.frame);
  });
  for (const id of unit.deadLettersRemoved) tables.deadLetters.remove(id);
  const appended: LogRecord[] = unit.outgoing.map(({ topic, frame }, index) => {
    const part = checked.outgoingParts[index] ?? -1;
    const sequence = tables.log.append(part, frame, nowMs);
    return { topic, partition: frameSlot(frame), sequence, bytes: frame };
  });
  return { kind: "committed", appended, ...applySettlements(tables, checked, nowMs) };
}

interface Settlements {
  readonly acks: SettleResult[];
  readonly postponements: SettleResult[];
  readonly burials: SettleResult[];
}

function applySettlements(tables: UnitTables, checked: CheckedUnit, nowMs: number): Settlements {
  const { acks, postponements = [], burials = [], passed = [] } = checked.unit;
  const { settle } = tables;
  passed.forEach((range, index) => settle.passBy(consumerAt(checked.passed, index), range));
  return {
    acks: acks.map(({ partition, sequence }, index) =>
      settle.settle(consumerAt(checked.acks, index), partition, sequence),
    ),
    postponements: postponements.map(({ delivery, postponement }, index) => {
      const consumer = consumerAt(checked.postponements, index);
      return settle.postpone(consumer, delivery.partition, delivery.sequence, postponement);
    }),
    burials: burials.map(({ delivery, burial }, index) => {
      const consumer = consumerAt(checked.burials, index);
      const { partition, sequence } = delivery;
      const result = settle.settle(consumer, partition, sequence);
      if (result === "settled") {
        const { group, topic, firstPart } = consumer;
        const found = tables.log.find(firstPart + partition, sequence);
        assert(found !== undefined, `${topic}/${partition}/${sequence} was pruned unsettled`);
        const { bytes } = found;
        const frame = { group, topic, partition, sequence, bytes, burial, buriedAtMs: nowMs };
        tables.deadLetters.add(frame);
      }
      return result;
    }),
  };
}

function consumerAt(consumers: readonly Consumer[], index: number): Consumer {
  const consumer = consumers[index];
  assert(consumer !== undefined, "every settlement has been checked");
  return consumer;
}
