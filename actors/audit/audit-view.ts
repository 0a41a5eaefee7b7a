/**
 * A record of the audit as it is shown: named, in order, without what must stay hidden.
 *
 * Bytes that could not be read are never shown, because nobody can say what is in them; their
 * length and fault are.
 */

import type { ChainedRecord } from "./audit-record.ts";

import { frameHeader, frameId } from "../../runtime/frames/frame.ts";
import { EVENTS } from "../contracts/messages.ts";
import { isPayloadFault, readFrame } from "./audit-entry.ts";
import { UNREADABLE_TYPE } from "./audit-record.ts";
import { redactEvent } from "./audit-text.ts";

const UNREADABLE_NAME = "unreadable";

/** Names that records can be asked for, and shown under. */
export const AUDIT_TYPES: ReadonlyMap<string, number> = new Map<string, number>([
  ...EVENTS.map(({ type, number }) => [type, number] as const),
  [UNREADABLE_NAME, UNREADABLE_TYPE],
]);
const NAMES: ReadonlyMap<number, string> = new Map(
  [...AUDIT_TYPES].map(([name, number]) => [number, name]),
);

export interface AuditView {
  readonly seq: number;
  /** Of the message; absent when its frame could not be read. */
  readonly id?: string;
  readonly type: string;
  readonly topic: string;
  readonly partition: number;
  readonly sequence: number;
  readonly orderId?: string;
  readonly customerId?: string;
  readonly atMs: number;
  readonly storedAtMs: number;
  readonly correlationId?: string;
  readonly causationId?: string;
  /** The event's fields, amounts in minor units; absent when it could not be read. */
  readonly data?: Readonly<Record<string, unknown>>;
  readonly fault?: string;
  readonly frameBytes: number;
  /** Lower-case hex. */
  readonly hash: string;
}

export function viewOf(record: ChainedRecord): AuditView {
  const { frame, fault, orderId, customerId } = record;
  const reading = readFrame(frame);
  // A frame that was whole when it was recorded may have been tampered with since.
  const isWhole = "event" in reading || isPayloadFault(reading.fault);
  const view = {
    seq: record.seq,
    type: NAMES.get(record.type) ?? `event ${record.type}`,
    topic: record.topic,
    partition: record.partition,
    sequence: record.sequence,
    atMs: record.atMs,
    storedAtMs: record.storedAtMs,
    frameBytes: frame.length,
    hash: Buffer.from(record.hash).toString("hex"),
    ...(orderId === null ? {} : { orderId }),
    ...(customerId === null ? {} : { customerId }),
    ...(fault === null ? {} : { fault }),
    ...("event" in reading ? { data: redactEvent(reading.event) } : {}),
  };
  if (!isWhole) return view;
  const correlationId = frameHeader(frame, "correlationid");
  const causationId = frameHeader(frame, "causationid");
  return {
    ...view,
    id: frameId(frame),
    ...(correlationId === undefined ? {} : { correlationId }),
    ...(causationId === undefined ? {} : { causationId }),
  };
}
