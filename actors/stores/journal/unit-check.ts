/**
 * What can be said about a unit without the database: does it make sense at all?
 *
 * A unit that fails here is refused before anything is written, so that applying it can no longer
 * fail for a reason of its own. Refused: topics and slots that do not exist, keys and ids that
 * cannot be stored as given, settling what was never written.
 */

import type { DeliveryRef, Outgoing } from "../../brokers/broker.ts";
import type { OrderColumns, RowWrite } from "../unit-of-work.ts";
import type { JournalUnit } from "./journal-types.ts";
import type { Consumer, SettleTable } from "./settle-table.ts";
import type { Topology } from "./log-parts.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { TABLES } from "../unit-of-work.ts";
import { isMessageId } from "./inbox-table.ts";
import { KEY_CHARS_MAX } from "./journal-limits.ts";

/** What applying the unit needs and checking it has found. */
export interface CheckedUnit {
  readonly unit: JournalUnit;
  /** Part of each outgoing frame, and of each started timer's. */
  readonly outgoingParts: readonly number[];
  readonly timerParts: readonly number[];
  readonly acks: readonly Consumer[];
  readonly postponements: readonly Consumer[];
  readonly burials: readonly Consumer[];
  readonly passed: readonly Consumer[];
  readonly outgoingBytes: number;
}

const tables: ReadonlySet<string> = new Set(TABLES);

/** The unit, ready to be applied, or why it is refused. */
export function checkUnit(
  journalUnit: JournalUnit,
  topology: Topology,
  settle: SettleTable,
): CheckedUnit | ShopError {
  const { unit, acks, postponements = [], burials = [], passed = [] } = journalUnit;
  const problem = checkState(journalUnit);
  if (problem !== undefined) return new ShopError("BAD_MESSAGE", problem, "never");
  const timers = unit.timersStarted.map((timer) => timer.outgoing);
  const outgoingParts = route(unit.outgoing, topology);
  if (outgoingParts instanceof ShopError) return outgoingParts;
  const timerParts = route(timers, topology);
  if (timerParts instanceof ShopError) return timerParts;
  const acked = resolve(acks, settle);
  if (acked instanceof ShopError) return acked;
  const postponed = resolve(
    postponements.map(({ delivery }) => delivery),
    settle,
  );
  if (postponed instanceof ShopError) return postponed;
  const buried = resolve(
    burials.map(({ delivery }) => delivery),
    settle,
  );
  if (buried instanceof ShopError) return buried;
  const passedBy = resolve(
    passed.map(({ last, ...where }) => ({ ...where, sequence: last, epoch: 0 })),
    settle,
  );
  if (passedBy instanceof ShopError) return passedBy;
  return {
    unit: journalUnit,
    outgoingParts,
    timerParts,
    acks: acked,
    postponements: postponed,
    burials: buried,
    passed: passedBy,
    outgoingBytes: unit.outgoing.reduce((sum, { frame }) => sum + frame.length, 0),
  };
}

function route(outgoing: readonly Outgoing[], topology: Topology): number[] | ShopError {
  const parts: number[] = [];
  for (const one of outgoing) {
    const part = topology.route(one);
    if (part instanceof ShopError) return part;
    parts.push(part);
  }
  return parts;
}

function resolve(refs: readonly DeliveryRef[], settle: SettleTable): Consumer[] | ShopError {
  const consumers: Consumer[] = [];
  for (const ref of refs) {
    const consumer = settle.knows(ref);
    if (consumer === undefined) {
      const what = `${ref.topic}/${ref.partition}/${ref.sequence} of group ${ref.group}`;
      return new ShopError("STALE", `the journal knows no delivery ${what}`, "never");
    }
    consumers.push(consumer);
  }
  return consumers;
}

/** Why the unit's own fields cannot be stored. */
export function checkState({ unit, postponements = [] }: JournalUnit): string | undefined {
  for (const { messageId } of unit.inbox) {
    if (!isMessageId(messageId)) return `message id ${messageId} is not a lower-case UUID`;
  }
  for (const write of unit.rows) {
    const problem = checkRow(write);
    if (problem !== undefined) return problem;
  }
  for (const { orderId, version, atMs } of unit.timeline) {
    if (!isKey(orderId)) return `a timeline's order id is not a key: ${orderId}`;
    if (!isCount(version, 1) || !isCount(atMs, 0)) return `bad timeline entry of ${orderId}`;
  }
  for (const { id, dueAtMs } of unit.timersStarted) {
    if (!isKey(id)) return `a timer's id is not a key: ${id}`;
    if (!isCount(dueAtMs, 0)) return `timer ${id} is due at ${dueAtMs}`;
  }
  const { deadLettersRemoved } = unit;
  if (!deadLettersRemoved.every((id) => isCount(id, 1))) return "a dead letter's id is a count";
  if (new Set(deadLettersRemoved).size < deadLettersRemoved.length) {
    return "a unit removes one dead letter twice";
  }
  for (const { postponement } of postponements) {
    if (!isCount(postponement.attempt, 0) || !isCount(postponement.notBeforeMs, 0)) {
      return `bad postponement to ${postponement.notBeforeMs}, attempt ${postponement.attempt}`;
    }
  }
  return undefined;
}

function checkRow({ table, key, expectedVersion, columns }: RowWrite): string | undefined {
  if (!tables.has(table)) return `no table ${table}`;
  if (!isKey(key)) return `not a key in table ${table}: ${key}`;
  if (!isCount(expectedVersion, 0)) return `row ${key} expects version ${expectedVersion}`;
  if (table !== "orders") {
    return columns === undefined ? undefined : `table ${table} has no columns`;
  }
  return columns !== undefined && areColumns(columns)
    ? undefined
    : `order ${key} is written without its columns`;
}

function areColumns({ customerId, status, createdAtMs }: OrderColumns): boolean {
  return isKey(customerId) && isKey(status) && isCount(createdAtMs, 0);
}

/** Text that SQLite gives back as it was given. */
function isKey(text: string): boolean {
  return text.length >= 1 && text.length <= KEY_CHARS_MAX && text.isWellFormed();
}

function isCount(value: number, least: number): boolean {
  return Number.isSafeInteger(value) && value >= least;
}
