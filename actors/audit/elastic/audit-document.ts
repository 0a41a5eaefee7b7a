/**
 * A record of the audit as a document of an index, and back.
 *
 * The id follows from the record alone, so that a repeat meets itself; the index follows from the
 * time it was stored. Every column that is chained is kept as it is; the texts are folded here as
 * queries are. Refuses nothing; a document that could not be read back says so.
 */

import type { AuditEntry } from "../audit-entry.ts";
import type { ChainedRecord } from "../audit-record.ts";
import type { ElasticSettings } from "./elastic-settings.ts";
import type { ChainState } from "./record-chain.ts";

import { frameKey, framePayload, frameType } from "../../../runtime/frames/frame.ts";
import { IDENTITY_BYTES, isPayloadFault } from "../audit-entry.ts";
import { GENESIS_HASH, recordHash } from "../audit-record.ts";
import { wordsOf } from "../audit-text.ts";
import { chainName, SEQ_EPOCH_MS, seqAt } from "./record-chain.ts";

/** What places a document, and tells copies apart; numbers, and texts that are not analyzed. */
export type Placed = Pick<
  AuditDocument,
  "seq" | "chain" | "place" | "sequence" | "hash" | "identity" | "content"
>;

/** Bytes are base64. */
export interface AuditDocument {
  readonly seq: number;
  /** Absent: the record's sequence means nothing tomorrow, and it is not chained. */
  readonly chain?: string;
  /** 0 when it is not chained. */
  readonly place: number;
  readonly prev: string;
  readonly hash: string;
  readonly topic: string;
  readonly partition: number;
  readonly sequence: number;
  readonly type: number;
  readonly at: number;
  readonly storedAt: number;
  readonly identity: string;
  /** Topic and identity: the same for all copies of a message. */
  readonly message: string;
  /** The same for all copies that say the same. */
  readonly content: string;
  readonly orderId?: string;
  readonly customerId?: string;
  readonly fault?: string;
  readonly frame: string;
  readonly texts?: readonly string[];
}

/** Of a document that the server would not take as it is: nothing of it is found but its place. */
export type ReducedDocument = Placed & { readonly packed: string };

export type StoredDocument = AuditDocument | ReducedDocument;

const LAST_PERIOD_MS = Date.UTC(2099, 11, 1);
const PERIOD_NAME = /-(\d{4})\.(\d{2})\.(\d{2})$/;
const DAY_MS = 86_400_000;

/** By the time the broker stored it, which no producer can choose freely. */
export function indexOf(
  { prefix, period }: Pick<ElasticSettings, "prefix" | "period">,
  storedAtMs: number,
): string {
  const boundedMs = Math.min(Math.max(storedAtMs, SEQ_EPOCH_MS), LAST_PERIOD_MS);
  const day = dayText(Math.floor(boundedMs / DAY_MS));
  return `${prefix}-${period === "day" ? day : `${day.slice(0, 7)}.01`}`;
}

/** The last day asked for, which is nearly always asked for again. */
let lastDay = Number.NaN;
let lastDayText = "";

/** As 2026.01.31. */
function dayText(day: number): string {
  if (day !== lastDay) {
    lastDay = day;
    lastDayText = new Date(day * DAY_MS).toISOString().slice(0, 10).replaceAll("-", ".");
  }
  return lastDayText;
}

/** When the period of an index of ours is over; `undefined`: it is none. */
export function indexEndMs(
  { prefix, period }: Pick<ElasticSettings, "prefix" | "period">,
  index: string,
): number | undefined {
  const [dated, year, month, day] = PERIOD_NAME.exec(index) ?? [];
  if (dated === undefined || index !== `${prefix}${dated}`) return undefined;
  const startMs = Date.UTC(Number(year), Number(month) - 1, Number(day));
  return period === "day" ? startMs + DAY_MS : Date.UTC(Number(year), Number(month), 1);
}

export function chainedId(entry: AuditEntry): string {
  return `${chainName(entry.topic, entry.partition)}/${entry.sequence}`;
}

/** Once for every message and what it says. */
export function unchainedId(entry: AuditEntry): string {
  return `${messageOf(entry)}/${contentOf(entry)}`;
}

export function chainedDocument(
  entry: AuditEntry,
  previous: ChainState,
  next: ChainState,
): AuditDocument {
  return {
    seq: next.seq,
    chain: chainName(entry.topic, entry.partition),
    place: next.place,
    prev: base64(previous.hash),
    hash: base64(next.hash),
    ...columnsOf(entry),
  };
}

export function unchainedDocument(entry: AuditEntry): AuditDocument {
  const { texts: _unhashed, ...content } = entry;
  const hash = recordHash(GENESIS_HASH, { ...content, seq: 0 });
  return {
    seq: seqAt(entry.storedAtMs, unchainedId(entry)),
    place: 0,
    prev: base64(GENESIS_HASH),
    hash: base64(hash),
    ...columnsOf(entry),
  };
}

export function reduced(document: AuditDocument): ReducedDocument {
  const { seq, chain, place, sequence, hash, identity, content } = document;
  const { texts: _unkept, ...kept } = document;
  const packed = base64(Buffer.from(JSON.stringify(kept)));
  const placed = { seq, place, sequence, hash, identity, content };
  return { ...placed, ...(chain === undefined ? {} : { chain }), packed };
}

/** The document within; what is not to be understood is one that nothing is true of. */
export function unpacked(stored: StoredDocument): AuditDocument {
  if (!("packed" in stored)) return stored;
  const { packed: _read, ...outside } = stored;
  try {
    const text = Buffer.from(stored.packed, "base64").toString();
    // Written by `reduced`; whoever changed it is found out by the hash.
    return { ...(JSON.parse(text) as AuditDocument), ...outside };
  } catch {
    return { ...NOTHING_READ, ...outside };
  }
}

const NOTHING_READ = {
  prev: "",
  topic: "",
  partition: 0,
  type: 0,
  at: 0,
  storedAt: 0,
  message: "",
  frame: "",
};

/** The record that `document` was made of, numbered by `seq`. */
export function recordOf(document: AuditDocument, seq: number): ChainedRecord {
  const { topic, partition, sequence, type, at, storedAt } = document;
  return {
    seq,
    topic,
    partition,
    sequence,
    type,
    atMs: at,
    storedAtMs: storedAt,
    orderId: document.orderId ?? null,
    customerId: document.customerId ?? null,
    fault: document.fault ?? null,
    identity: bytes(document.identity),
    frame: bytes(document.frame),
    prev: bytes(document.prev),
    hash: bytes(document.hash),
  };
}

function columnsOf(entry: AuditEntry) {
  const { orderId, customerId, fault, texts } = entry;
  return {
    topic: entry.topic,
    partition: entry.partition,
    sequence: entry.sequence,
    type: entry.type,
    at: entry.atMs,
    storedAt: entry.storedAtMs,
    identity: base64(entry.identity),
    message: messageOf(entry),
    content: contentOf(entry),
    ...(orderId === null ? {} : { orderId }),
    ...(customerId === null ? {} : { customerId }),
    ...(fault === null ? {} : { fault }),
    frame: base64(entry.frame),
    ...(texts.length === 0 ? {} : { texts: texts.map((text) => wordsOf(text).join(" ")) }),
  };
}

function messageOf({ topic, identity }: AuditEntry): string {
  return `${topic}/m/${identity.toHex()}`;
}

/** Attempts and headers may differ between copies: a redrive changes them. */
function contentOf({ frame, fault, identity }: AuditEntry): string {
  if (!isPayloadFault(fault)) return base64(identity);
  const said = [Buffer.from(`${frameType(frame)} ${frameKey(frame)}\n`), framePayload(frame)];
  const hash = new Uint8Array(32);
  Bun.SHA256.hash(Buffer.concat(said), hash);
  return base64(hash.subarray(0, IDENTITY_BYTES));
}

function base64(value: Uint8Array): string {
  return value.toBase64();
}

export function bytes(text: string): Uint8Array {
  return Buffer.from(text, "base64");
}
