/**
 * The row of table `notifications` as bytes: a list without field names, written once per event.
 *
 * `[orderId, customerId, contact, ...entries]`, and an entry is `[code, atMs, attempts, reason,
 * dueAtMs, facts]` with what is absent at its end left out; the code says event, channel and
 * status. The lists of their names may only grow at their ends. Rows that were written with field
 * names are read as well; codes that nothing stands for are refused.
 */

import type { ContactFields, Facts, LedgerEntry, NotificationRow } from "./notification.ts";

import { assert } from "../../runtime/errors.ts";
import { decodeValue, encodeValue } from "../contracts/codec.ts";
import { CHANNEL_KINDS, ENTRY_STATUSES, NOTIFIED_EVENTS } from "./notification.ts";

/** Each is a place in a code: more names than this need another form of the row. */
const NAMES_MAX = 16;
/** Reasons that most rows have, by number. */
const REASONS = ["no_address", "no_contact", "too_old"] as const;

type PackedEntry = readonly [
  code: number,
  atMs: number,
  attempts: number,
  reason?: string | number | null,
  dueAtMs?: number | null,
  facts?: Facts | null,
];
type PackedRow = readonly [
  orderId: string,
  customerId: string | null,
  contact: ContactFields | null,
  ...entries: PackedEntry[],
];

const EVENT_NUMBERS = numbersOf(NOTIFIED_EVENTS);
const CHANNEL_NUMBERS = numbersOf(CHANNEL_KINDS);
const STATUS_NUMBERS = numbersOf(ENTRY_STATUSES);
const REASON_NUMBERS: ReadonlyMap<string, number> = numbersOf(REASONS);

export function encodeNotificationRow(row: NotificationRow): Uint8Array {
  const { orderId, customerId = null, contact = null, entries } = row;
  const packed: unknown[] = [orderId, customerId, contact];
  for (const entry of entries) packed.push(packEntry(entry));
  return encodeValue(packed);
}

export function decodeNotificationRow(data: Uint8Array): NotificationRow {
  // Only the service writes this table, and the store keeps what it was given.
  const value = decodeValue(data) as PackedRow | NotificationRow;
  if (!isPacked(value)) return value;
  const [orderId, customerId, contact, ...entries] = value;
  return {
    orderId,
    ...(customerId === null ? {} : { customerId }),
    ...(contact === null ? {} : { contact }),
    entries: entries.map(unpackEntry),
  };
}

function packEntry(entry: LedgerEntry): PackedEntry {
  const { atMs, attempts, reason, dueAtMs = null, facts } = entry;
  const code = codeOf(entry);
  if (dueAtMs === null && facts === undefined) {
    if (reason === undefined) return [code, atMs, attempts];
    return [code, atMs, attempts, REASON_NUMBERS.get(reason) ?? reason];
  }
  const packedReason = reason === undefined ? null : (REASON_NUMBERS.get(reason) ?? reason);
  if (facts === undefined) return [code, atMs, attempts, packedReason, dueAtMs];
  return [code, atMs, attempts, packedReason, dueAtMs, facts];
}

function unpackEntry(packed: PackedEntry): LedgerEntry {
  const [code, atMs, attempts, reason = null, dueAtMs = null, facts = null] = packed;
  const event = NOTIFIED_EVENTS[Math.floor(code / NAMES_MAX ** 2)];
  const channel = CHANNEL_KINDS[Math.floor(code / NAMES_MAX) % NAMES_MAX];
  const status = ENTRY_STATUSES[code % NAMES_MAX];
  const text = typeof reason === "number" ? REASONS[reason] : (reason ?? undefined);
  assert(
    event !== undefined && channel !== undefined && status !== undefined,
    `an entry of a ledger has code ${code}, which stands for nothing`,
  );
  assert(
    typeof reason !== "number" || text !== undefined,
    `an entry of a ledger has reason ${reason}, which stands for nothing`,
  );
  return {
    event,
    channel,
    status,
    atMs,
    attempts,
    ...(text === undefined ? {} : { reason: text }),
    ...(dueAtMs === null ? {} : { dueAtMs }),
    ...(facts === null ? {} : { facts }),
  };
}

function codeOf({ event, channel, status }: LedgerEntry): number {
  const eventNumber = EVENT_NUMBERS.get(event)!; // `!`: made of all the names there are
  const channelNumber = CHANNEL_NUMBERS.get(channel)!; // `!`: likewise
  const statusNumber = STATUS_NUMBERS.get(status)!; // `!`: likewise
  return (eventNumber * NAMES_MAX + channelNumber) * NAMES_MAX + statusNumber;
}

function isPacked(value: PackedRow | NotificationRow): value is PackedRow {
  return Array.isArray(value);
}

function numbersOf<Name extends string>(names: readonly Name[]): ReadonlyMap<Name, number> {
  assert(names.length <= NAMES_MAX, `a code has places for ${NAMES_MAX} names`);
  return new Map(names.map((name, at) => [name, at]));
}
