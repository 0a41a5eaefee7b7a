/**
 * UTF-8 in and out of a buffer, without allocation for short ASCII, which keys mostly are.
 *
 * Writing refuses lone surrogates (they have no UTF-8) and text that does not fit, by returning
 * -1. A leading U+FEFF is text like any other, not a byte order mark to drop.
 */

import { isUtf8 } from "node:buffer";

/** Up to this length a loop over char codes beats a view and a call of the encoder. */
const SHORT = 64;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const scratch = Buffer.alloc(SHORT);

/** Writes `text` at `at`; returns the number of bytes, or -1 when it is ill-formed or too long. */
export function writeText(text: string, target: Uint8Array, at: number): number {
  const { length } = text;
  if (length <= SHORT && at + length <= target.length) {
    let index = 0;
    for (; index < length; index++) {
      const code = text.charCodeAt(index);
      if (code >= 0x80) break;
      target[at + index] = code;
    }
    if (index === length) return length;
  }
  if (!text.isWellFormed()) return -1;
  const { read, written } = encoder.encodeInto(text, target.subarray(at));
  return read === length ? written : -1;
}

/** True when the `length` bytes at `at` are UTF-8. The caller has checked that they are there. */
export function isText(bytes: Uint8Array, at: number, length: number): boolean {
  if (length <= SHORT && isAscii(bytes, at, length)) return true;
  return isUtf8(bytes.subarray(at, at + length));
}

/** The text of `length` bytes at `at`, which `isText` holds for (else it has U+FFFD in it). */
export function readText(bytes: Uint8Array, at: number, length: number): string {
  if (length <= SHORT) {
    let index = 0;
    for (; index < length; index++) {
      const byte = bytes[at + index]!; // `!`: the caller has checked that the bytes are there
      if (byte >= 0x80) break;
      scratch[index] = byte;
    }
    if (index === length) return scratch.toString("latin1", 0, length);
  }
  return decoder.decode(bytes.subarray(at, at + length));
}

function isAscii(bytes: Uint8Array, at: number, length: number): boolean {
  let seen = 0;
  for (let index = 0; index < length; index++) seen |= bytes[at + index]!; // `!`: as in readText
  return seen < 0x80;
}
