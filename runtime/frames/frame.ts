/**
 * Frames: making them, checking them, and reading one field without decoding the rest.
 *
 * Bytes from outside are hostile until `checkFrame` has passed them: it believes no length, and
 * nothing is allocated before the lengths are known to fit. The accessors (`frameSlot`,
 * `frameKey`, …) are for bytes that have passed, and check nothing. Refused: unknown versions and
 * flags (a reader that does not know what they mean would misread the frame) and a time that is no
 * time.
 */

import type { Frame, FrameFault, FrameInput } from "./frame-header.ts";

import { assert, ShopError } from "../errors.ts";
import { FRAME_BYTES_MAX, FRAME_KEY_BYTES_MAX } from "../limits.ts";
import { CHECKSUM_AT, frameChecksum } from "./frame-checksum.ts";
import { FLAG_JSON, FRAME_HEADER_BYTES, FRAME_VERSION } from "./frame-header.ts";
import {
  findHeader,
  headersBytesBound,
  isHeaderRun,
  readHeaders,
  writeHeaders,
} from "./header-run.ts";
import { readHex, readUuid, writeHex, writeUuid } from "./hex-bytes.ts";
import { readF64, readU16, readU32, writeF64, writeU16, writeU32 } from "./little-endian.ts";
import { slotOfBytes } from "./murmur2.ts";
import { isText, readText, writeText } from "./text-bytes.ts";

const VERSION_AT = 4;
const FLAGS_AT = 5;
const TYPE_AT = 6;
const SLOT_AT = 8;
const ATTEMPT_AT = 10;
const ID_AT = 16;
const TRACE_AT = 32;
const TRACE_BYTES = 16;
const SPAN_AT = 48;
const SPAN_BYTES = 8;
const TIME_AT = 56;
const DEADLINE_AT = 64;
const KEY_BYTES_AT = 72;
const HEADERS_BYTES_AT = 74;
const PAYLOAD_BYTES_AT = 76;

const LENGTH_BYTES = 4;
const FLAGS_KNOWN = FLAG_JSON;
const SCRATCH_BYTES = 16_384;

const scratch = new Uint8Array(SCRATCH_BYTES);

/**
 * The bytes of a frame. Throws `PAYLOAD_TOO_LARGE` when it would exceed `FRAME_BYTES_MAX`, and
 * `BAD_FRAME` when a field cannot be represented: an id that is not canonical UUID text, a number
 * out of its range, ill-formed text, a key or headers that are too long.
 */
export function encodeFrame(input: FrameInput): Uint8Array {
  const bound = frameBytesBound(input);
  const target = bound <= SCRATCH_BYTES ? scratch : new Uint8Array(bound);
  const frameBytes = writeFrame(input, target, 0);
  const bytes = target.slice(0, frameBytes);
  writeU32(bytes, CHECKSUM_AT, frameChecksum(bytes, 0, frameBytes));
  return bytes;
}

/** The most bytes that `input` can take: enough room for `encodeFrameInto`. */
export function frameBytesBound(input: FrameInput): number {
  const headersBytes = input.headers === undefined ? 0 : headersBytesBound(input.headers);
  return FRAME_HEADER_BYTES + input.key.length * 3 + headersBytes + input.payload.length;
}

/**
 * Writes the frame into `target` at `at` and returns its length in bytes. Throws as `encodeFrame`;
 * after a throw the bytes from `at` on are undefined. `target` must have room for
 * `frameBytesBound(input)`.
 */
export function encodeFrameInto(input: FrameInput, target: Uint8Array, at: number): number {
  const frameBytes = writeFrame(input, target, at);
  writeU32(target, at + CHECKSUM_AT, frameChecksum(target, at, frameBytes));
  return frameBytes;
}

/** Everything but the checksum. */
function writeFrame(input: FrameInput, target: Uint8Array, at: number): number {
  const { payload } = input;
  if (FRAME_HEADER_BYTES + payload.length > FRAME_BYTES_MAX) refuseSize(payload.length);
  assert(target.length - at >= frameBytesBound(input), "the target has no room for the frame");
  const keyAt = at + FRAME_HEADER_BYTES;
  const keyBytes = writeText(input.key, target, keyAt);
  if (keyBytes < 0) refuse("key", "ill-formed");
  if (keyBytes > FRAME_KEY_BYTES_MAX) refuse("key", "too long");
  const headersAt = keyAt + keyBytes;
  const headersBytes =
    input.headers === undefined ? 0 : writeHeaders(input.headers, target, headersAt);
  if (headersBytes < 0) refuse("headers", "ill-formed or too long");
  const frameBytes = headersAt + headersBytes + payload.length - at;
  if (frameBytes > FRAME_BYTES_MAX) refuseSize(frameBytes);
  target.set(payload, headersAt + headersBytes);

  writeU32(target, at, frameBytes);
  target[at + VERSION_AT] = FRAME_VERSION;
  writeFields(input, target, at);
  writeU16(target, at + KEY_BYTES_AT, keyBytes);
  writeU16(target, at + HEADERS_BYTES_AT, headersBytes);
  writeU32(target, at + PAYLOAD_BYTES_AT, payload.length);
  return frameBytes;
}

/**
 * Is a whole frame at `at`? Its length in bytes, `"incomplete"` when more bytes are needed, or the
 * fault that says none will ever be here. Looks at the length and the version, at nothing else.
 */
export function peekFrame(bytes: Uint8Array, at = 0): number | "incomplete" | FrameFault {
  const availableBytes = bytes.length - at;
  if (availableBytes < LENGTH_BYTES) return "incomplete";
  const frameBytes = readU32(bytes, at);
  if (frameBytes > FRAME_BYTES_MAX) return "OVERSIZE";
  if (frameBytes < FRAME_HEADER_BYTES) return "BAD_LENGTH";
  if (availableBytes > VERSION_AT && bytes[at + VERSION_AT] !== FRAME_VERSION) return "BAD_VERSION";
  return availableBytes < frameBytes ? "incomplete" : frameBytes;
}

/** Why `bytes`, as a whole, are not one frame; `undefined` when they are. */
export function checkFrame(bytes: Uint8Array): FrameFault | undefined {
  const frameBytes = peekFrame(bytes);
  if (frameBytes === "incomplete") return "TRUNCATED";
  if (typeof frameBytes === "string") return frameBytes;
  const keyBytes = readU16(bytes, KEY_BYTES_AT);
  const headersAt = FRAME_HEADER_BYTES + keyBytes;
  const payloadAt = headersAt + readU16(bytes, HEADERS_BYTES_AT);
  if (bytes.length !== frameBytes) return "BAD_LENGTH";
  if (payloadAt + readU32(bytes, PAYLOAD_BYTES_AT) !== frameBytes) return "BAD_LENGTH";
  if (readU32(bytes, CHECKSUM_AT) !== frameChecksum(bytes, 0, frameBytes)) return "BAD_CHECKSUM";
  if ((frameFlags(bytes) & ~FLAGS_KNOWN) !== 0) return "BAD_VERSION";
  if (!isTime(frameTimeMs(bytes)) || !isTime(frameDeadlineMs(bytes))) return "BAD_TIME";
  if (!isText(bytes, FRAME_HEADER_BYTES, keyBytes)) return "BAD_KEY";
  if (!isHeaderRun(bytes, headersAt, payloadAt)) return "BAD_HEADERS";
  return undefined;
}

/** Throws `BAD_FRAME` whose message starts with the `FrameFault`. */
export function refuseUnsound(bytes: Uint8Array): void {
  const fault = checkFrame(bytes);
  if (fault === undefined) return;
  throw new ShopError("BAD_FRAME", `${fault} in ${bytes.length} bytes`, "never");
}

/** Checks and decodes. Throws as `refuseUnsound`. */
export function decodeFrame(bytes: Uint8Array): Frame {
  refuseUnsound(bytes);
  return {
    frameBytes: bytes.length,
    flags: frameFlags(bytes),
    type: frameType(bytes),
    slot: frameSlot(bytes),
    attempt: frameAttempt(bytes),
    timeMs: frameTimeMs(bytes),
    deadlineMs: frameDeadlineMs(bytes),
    id: frameId(bytes),
    traceId: frameTraceId(bytes),
    spanId: frameSpanId(bytes),
    key: frameKey(bytes),
    headers: frameHeaders(bytes),
    payload: framePayload(bytes),
  };
}

/** The checked frame in `bytes` with another payload. Throws `PAYLOAD_TOO_LARGE`. */
export function frameWithPayload(bytes: Uint8Array, payload: Uint8Array): Uint8Array {
  const payloadAt = headersEnd(bytes);
  const frameBytes = payloadAt + payload.length;
  if (frameBytes > FRAME_BYTES_MAX) refuseSize(frameBytes);
  const changed = new Uint8Array(frameBytes);
  changed.set(bytes.subarray(0, payloadAt), 0);
  changed.set(payload, payloadAt);
  writeU32(changed, 0, frameBytes);
  writeU32(changed, PAYLOAD_BYTES_AT, payload.length);
  writeU32(changed, CHECKSUM_AT, frameChecksum(changed, 0, frameBytes));
  return changed;
}

export function frameFlags(bytes: Uint8Array): number {
  return bytes[FLAGS_AT]!; // `!`: the frame has been checked
}

export function frameType(bytes: Uint8Array): number {
  return readU16(bytes, TYPE_AT);
}

export function frameSlot(bytes: Uint8Array): number {
  return readU16(bytes, SLOT_AT);
}

export function frameAttempt(bytes: Uint8Array): number {
  return readU16(bytes, ATTEMPT_AT);
}

export function frameId(bytes: Uint8Array): string {
  return readUuid(bytes, ID_AT);
}

/** Its bytes, in a new array. */
export function frameIdBytes(bytes: Uint8Array): Uint8Array {
  return bytes.slice(ID_AT, TRACE_AT);
}

export function frameTraceId(bytes: Uint8Array): string {
  return readHex(bytes, TRACE_AT, TRACE_BYTES);
}

export function frameSpanId(bytes: Uint8Array): string {
  return readHex(bytes, SPAN_AT, SPAN_BYTES);
}

export function frameTimeMs(bytes: Uint8Array): number {
  return readF64(bytes, TIME_AT);
}

/** 0 when the frame has no deadline. */
export function frameDeadlineMs(bytes: Uint8Array): number {
  return readF64(bytes, DEADLINE_AT);
}

export function frameKey(bytes: Uint8Array): string {
  return readText(bytes, FRAME_HEADER_BYTES, readU16(bytes, KEY_BYTES_AT));
}

/** The slot of the key among `slots`, which may not be those that the frame was made for. */
export function frameKeySlot(bytes: Uint8Array, slots: number): number {
  return slotOfBytes(bytes, FRAME_HEADER_BYTES, readU16(bytes, KEY_BYTES_AT), slots);
}

/** A view of `bytes`, valid as long as they are. */
export function framePayload(bytes: Uint8Array): Uint8Array {
  const payloadAt = headersEnd(bytes);
  return bytes.subarray(payloadAt, payloadAt + readU32(bytes, PAYLOAD_BYTES_AT));
}

/** The value of one header, or `undefined`; the other values are not read. */
export function frameHeader(bytes: Uint8Array, name: string): string | undefined {
  return findHeader(bytes, headersStart(bytes), headersEnd(bytes), name);
}

export function frameHeaders(bytes: Uint8Array): Record<string, string> {
  return readHeaders(bytes, headersStart(bytes), headersEnd(bytes));
}

function headersStart(bytes: Uint8Array): number {
  return FRAME_HEADER_BYTES + readU16(bytes, KEY_BYTES_AT);
}

function headersEnd(bytes: Uint8Array): number {
  return headersStart(bytes) + readU16(bytes, HEADERS_BYTES_AT);
}

/** Every field of the header that is given rather than computed. */
function writeFields(input: FrameInput, target: Uint8Array, at: number): void {
  const flags = input.flags ?? 0;
  if (flags !== (flags & FLAGS_KNOWN)) refuse("flags", flags);
  target[at + FLAGS_AT] = flags;
  writeU16(target, at + TYPE_AT, checkedU16("type", input.type));
  writeU16(target, at + SLOT_AT, checkedU16("slot", input.slot));
  writeU16(target, at + ATTEMPT_AT, checkedU16("attempt", input.attempt ?? 0));
  if (!writeUuid(input.id, target, at + ID_AT)) refuse("id", input.id);
  writeTrace("traceId", input.traceId, target, at + TRACE_AT, TRACE_BYTES);
  writeTrace("spanId", input.spanId, target, at + SPAN_AT, SPAN_BYTES);
  const deadlineMs = input.deadlineMs ?? 0;
  if (!isTime(input.timeMs)) refuse("timeMs", input.timeMs);
  if (!isTime(deadlineMs)) refuse("deadlineMs", deadlineMs);
  writeF64(target, at + TIME_AT, input.timeMs);
  writeF64(target, at + DEADLINE_AT, deadlineMs);
}

function writeTrace(
  field: string,
  text: string | undefined,
  target: Uint8Array,
  at: number,
  length: number,
): void {
  if (text === undefined) target.fill(0, at, at + length);
  else if (!writeHex(text, target, at, length)) refuse(field, text);
}

function checkedU16(field: string, value: number): number {
  if (value !== (value & 0xffff)) refuse(field, value);
  return value;
}

/** Finite and not negative: a NaN deadline would compare as never reached. */
function isTime(timeMs: number): boolean {
  return Number.isFinite(timeMs) && timeMs >= 0;
}

function refuse(field: string, value: string | number): never {
  throw new ShopError("BAD_FRAME", `a frame's ${field} cannot be ${value}`, "never");
}

function refuseSize(bytes: number): never {
  const message = `${bytes} bytes exceed the ${FRAME_BYTES_MAX} of a frame`;
  throw new ShopError("PAYLOAD_TOO_LARGE", message, "never");
}
