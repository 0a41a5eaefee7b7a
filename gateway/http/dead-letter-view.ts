/**
 * Dead letters as the API shows them: what is known of each, and what can still be read of it.
 *
 * Nothing in a letter is trusted: its frame may be broken, its times may be no times, its payload
 * anything. Fields that identify a means of payment or reach a person are hidden wherever they
 * stand, and bytes that name one of them are not given out.
 */

import type { KeptLetter, LetterKind } from "../../actors/dead-letters/letter-port.ts";
import { decodeValue } from "../../actors/contracts/codec.ts";
import { HIDDEN_FIELDS } from "../../actors/contracts/fields.ts";
import { EVENTS } from "../../actors/contracts/messages.ts";
import { decodeEvent } from "../../actors/delivery/decode-message.ts";
import { describeError, isShopError } from "../../runtime/errors.ts";
import type { Frame } from "../../runtime/frames/frame-header.ts";
import { FLAG_JSON } from "../../runtime/frames/frame-header.ts";
import { decodeFrame } from "../../runtime/frames/frame.ts";
import { SAMPLE_MAX } from "./dead-letter-schemas.ts";
import type { LetterJob } from "./dead-letter-jobs.ts";
import { isoTime } from "./order-view.ts";
import { parseStrictJson } from "./strict-json.ts";

type Json = Readonly<Record<string, unknown>>;

const HIDDEN = "[redacted]";
const DEPTH_MAX = 16;
/** Largest time that has a text (ECMA-262, 21.4.1.1). */
const TIME_MAX_MS = 8.64e15;
const NO_TRACE = "0".repeat(32);

const typesByNumber = new Map<number, string>(EVENTS.map(({ number, type }) => [number, type]));

export function letterPageJson(
  letters: readonly KeptLetter[],
  nextCursor: string | undefined,
): string {
  const views = letters.map((letter) => ({ ...viewPlace(letter), ...viewFrame(read(letter)) }));
  return JSON.stringify({ letters: views, ...optional("nextCursor", nextCursor) });
}

export function letterJson(letter: KeptLetter): string {
  const found = read(letter);
  const frame = typeof found === "string" ? undefined : found;
  const body = frame === undefined ? { undecodable: found } : viewPayload(frame);
  return JSON.stringify(
    { ...viewPlace(letter), ...viewFrame(found), ...viewEnvelope(frame), ...body, ...raw(letter) },
    (_name, value: unknown) => (typeof value === "bigint" ? String(value) : value),
  );
}

export function letterSummaryJson(kinds: readonly LetterKind[], total: number): string {
  return JSON.stringify({
    total,
    kinds: kinds.map(({ oldestBuriedAtMs, newestBuriedAtMs, ...kind }) => ({
      ...kind,
      oldestBuriedAt: isoTime(oldestBuriedAtMs),
      newestBuriedAt: isoTime(newestBuriedAtMs),
    })),
  });
}

export function viewJob(job: LetterJob): Json {
  const { id, act, state, tally, refusedIds, startedAtMs, endedAtMs, detail } = job;
  return {
    id,
    act,
    state,
    ...tally,
    refusedIds: refusedIds.slice(0, SAMPLE_MAX),
    startedAt: isoTime(startedAtMs),
    ...optional("endedAt", endedAtMs === undefined ? undefined : isoTime(endedAtMs)),
    ...optional("detail", detail),
  };
}

function viewPlace(letter: KeptLetter): Json {
  const { id, topic, group, partition, sequence, burial, buriedAtMs, bytes, damage } = letter;
  return {
    id,
    topic,
    group,
    partition,
    sequence,
    ...burial,
    buriedAt: isoTime(buriedAtMs),
    sizeBytes: bytes.byteLength,
    ...optional("damage", damage),
  };
}

/** The frame of `letter`, or why it has none. */
function read({ bytes }: KeptLetter): Frame | string {
  try {
    return decodeFrame(bytes);
  } catch (error) {
    if (!isShopError(error)) throw error;
    return describeError(error);
  }
}

function viewFrame(frame: Frame | string): Json {
  if (typeof frame === "string") return {};
  const type = typesByNumber.get(frame.type) ?? `number ${frame.type}`;
  const createdAt = timeText(frame.timeMs);
  return { messageId: frame.id, type, key: frame.key, ...optional("createdAt", createdAt) };
}

function viewEnvelope(frame: Frame | undefined): Json {
  if (frame === undefined) return {};
  const { headers, deadlineMs, traceId } = frame;
  return {
    headers,
    ...optional("deadline", deadlineMs === 0 ? undefined : timeText(deadlineMs)),
    ...optional("traceId", traceId === NO_TRACE ? undefined : traceId),
  };
}

/** The payload as far as it can be read, and what is wrong with it. */
function viewPayload(frame: Frame): Json {
  try {
    const { type: _shown, ...fields } = decodeEvent(frame);
    return { payload: redact(fields) };
  } catch (error) {
    if (!isShopError(error)) throw error;
    const value = decodeAnything(frame);
    const payload = value === undefined ? {} : { payload: redact(value) };
    return { ...payload, undecodable: describeError(error) };
  }
}

/** What the payload says when nothing is asked of it; `undefined`: nothing. */
function decodeAnything({ flags, payload }: Frame): unknown {
  if ((flags & FLAG_JSON) !== 0) {
    const parsed = parseStrictJson(Buffer.from(payload).toString("utf8"), DEPTH_MAX);
    return "value" in parsed ? parsed.value : undefined;
  }
  try {
    return decodeValue(payload);
  } catch (error) {
    if (!isShopError(error)) throw error;
    return undefined;
  }
}

function redact(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => redact(item));
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name,
      HIDDEN_FIELDS.has(name) ? HIDDEN : redact(field),
    ]),
  );
}

/** The bytes, unless they name a hidden field; also where nothing else can be read. */
function raw({ bytes }: KeptLetter): Json {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const named = [...HIDDEN_FIELDS].find((name) => buffer.includes(name));
  return named === undefined
    ? { bytesBase64: buffer.toString("base64") }
    : { bytesWithheld: named };
}

function timeText(atMs: number): string | undefined {
  return atMs <= TIME_MAX_MS ? isoTime(atMs) : undefined;
}

function optional(name: string, value: unknown): Json {
  return value === undefined ? {} : { [name]: value };
}
