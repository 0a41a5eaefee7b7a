/**
 * A frame's headers: a run of (u8 name bytes, u16 value bytes, name, value), in the order given.
 *
 * Refuses empty and repeated names, text that is not UTF-8, `__proto__` as a name (it would be a
 * prototype to whoever reads it into an object), and runs that do not end where they should.
 */

import {
  FRAME_HEADER_NAME_BYTES_MAX,
  FRAME_HEADER_VALUE_BYTES_MAX,
  FRAME_HEADERS_BYTES_MAX,
} from "../limits.ts";
import { readU16, writeU16 } from "./little-endian.ts";
import { isText, readText, writeText } from "./text-bytes.ts";

/** The two lengths before each name. */
const PREFIX_BYTES = 3;
const FORBIDDEN_NAME = "__proto__";
/** Below this many headers, comparing each with the ones before it beats making a set. */
const PAIRWISE_MAX = 8;

/** Writes `headers` at `at`; the number of bytes, or -1 when one of them is refused. */
export function writeHeaders(
  headers: Readonly<Record<string, string>>,
  target: Uint8Array,
  at: number,
): number {
  let end = at;
  for (const name of Object.keys(headers)) {
    if (name === "" || name === FORBIDDEN_NAME) return -1;
    const value = headers[name]!; // `!`: the name is one of its keys
    const nameBytes = writeText(name, target, end + PREFIX_BYTES);
    if (nameBytes < 0 || nameBytes > FRAME_HEADER_NAME_BYTES_MAX) return -1;
    const valueBytes = writeText(value, target, end + PREFIX_BYTES + nameBytes);
    if (valueBytes < 0 || valueBytes > FRAME_HEADER_VALUE_BYTES_MAX) return -1;
    target[end] = nameBytes;
    writeU16(target, end + 1, valueBytes);
    end += PREFIX_BYTES + nameBytes + valueBytes;
    if (end - at > FRAME_HEADERS_BYTES_MAX) return -1;
  }
  return end - at;
}

/** The most bytes that `headers` can take; `writeHeaders` needs no more room than this. */
export function headersBytesBound(headers: Readonly<Record<string, string>>): number {
  let units = 0;
  let count = 0;
  for (const name of Object.keys(headers)) {
    units += name.length + headers[name]!.length; // `!`: the name is one of its keys
    count++;
  }
  return units * 3 + count * PREFIX_BYTES;
}

/** True when the bytes from `at` to `end`, which are there, are a run of headers. */
export function isHeaderRun(bytes: Uint8Array, at: number, end: number): boolean {
  if (at === end) return true;
  let seen: Set<string> | undefined;
  let count = 0;
  for (let next = at; next < end; count++) {
    const nameBytes = bytes[next]!; // `!`: next < end
    const nameAt = next + PREFIX_BYTES;
    // If the lengths themselves reach beyond the end, then so does the value.
    const valueAt = nameAt + nameBytes;
    const valueBytes = readU16(bytes, next + 1);
    if (nameBytes === 0 || valueAt + valueBytes > end) return false;
    if (!isText(bytes, nameAt, nameBytes) || !isText(bytes, valueAt, valueBytes)) return false;
    if (isNamed(bytes, nameAt, nameBytes, FORBIDDEN_NAME)) return false;
    if (count < PAIRWISE_MAX) {
      if (isNamedBefore(bytes, at, next)) return false;
    } else {
      seen ??= new Set(Object.keys(readHeaders(bytes, at, next)));
      const name = readText(bytes, nameAt, nameBytes);
      if (seen.has(name)) return false;
      seen.add(name);
    }
    next = valueAt + valueBytes;
  }
  return true;
}

/** Whether one of the headers from `at` on has the name of the one at `own`. */
function isNamedBefore(bytes: Uint8Array, at: number, own: number): boolean {
  for (let next = at; next < own;) {
    if (isSameName(bytes, next, own)) return true;
    next += PREFIX_BYTES + bytes[next]! + readU16(bytes, next + 1); // `!`: next < own
  }
  return false;
}

/** Of two headers that are there. Equal texts are equal bytes. */
function isSameName(bytes: Uint8Array, one: number, other: number): boolean {
  const nameBytes = bytes[one]!; // `!`: they are there
  if (bytes[other] !== nameBytes) return false;
  for (let index = PREFIX_BYTES; index < PREFIX_BYTES + nameBytes; index++) {
    if (bytes[one + index] !== bytes[other + index]) return false;
  }
  return true;
}

/** The headers of a checked run. */
export function readHeaders(bytes: Uint8Array, at: number, end: number): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let next = at; next < end;) {
    const nameBytes = bytes[next]!; // `!`: next < end
    const valueBytes = readU16(bytes, next + 1);
    const valueAt = next + PREFIX_BYTES + nameBytes;
    headers[readText(bytes, next + PREFIX_BYTES, nameBytes)] = readText(bytes, valueAt, valueBytes);
    next = valueAt + valueBytes;
  }
  return headers;
}

/** The value of one header of a checked run, reading no other value. */
export function findHeader(
  bytes: Uint8Array,
  at: number,
  end: number,
  name: string,
): string | undefined {
  for (let next = at; next < end;) {
    const nameBytes = bytes[next]!; // `!`: next < end
    const valueBytes = readU16(bytes, next + 1);
    const valueAt = next + PREFIX_BYTES + nameBytes;
    if (isNamed(bytes, next + PREFIX_BYTES, nameBytes, name)) {
      return readText(bytes, valueAt, valueBytes);
    }
    next = valueAt + valueBytes;
  }
  return undefined;
}

/** Compares without making a string as long as both are ASCII. */
function isNamed(bytes: Uint8Array, at: number, nameBytes: number, name: string): boolean {
  if (nameBytes < name.length) return false;
  for (let index = 0; index < name.length; index++) {
    const byte = bytes[at + index]!; // `!`: index < name.length <= nameBytes
    if (byte >= 0x80) return readText(bytes, at, nameBytes) === name;
    if (byte !== name.charCodeAt(index)) return false;
  }
  return nameBytes === name.length;
}
