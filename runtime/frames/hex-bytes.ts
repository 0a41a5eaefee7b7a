/**
 * UUIDs and trace ids: lower-case hex text on one side, raw bytes on the other.
 *
 * Refuses, by returning false, everything but the canonical form. Upper case is refused too: two
 * spellings of one message id would not compare equal, and duplicates would go unnoticed.
 */

const HEX = "0123456789abcdef";
const DASH = 45;
const UUID_BYTES = 16;
const UUID_TEXT = 36;
const NOT_HEX = 0xff;

const digitOf = new Uint8Array(256).fill(NOT_HEX);
const codeOf = new Uint8Array(HEX.length);
for (let digit = 0; digit < HEX.length; digit++) {
  const code = HEX.charCodeAt(digit);
  digitOf[code] = digit;
  codeOf[digit] = code;
}
const scratch = Buffer.alloc(UUID_TEXT);

/** Writes the 16 bytes of a UUID in canonical text; false, with bytes undefined, if it is not. */
export function writeUuid(text: string, target: Uint8Array, at: number): boolean {
  if (text.length !== UUID_TEXT) return false;
  let textAt = 0;
  let wrong = 0;
  for (let index = 0; index < UUID_BYTES; index++) {
    if (isAfterDash(index)) wrong |= text.charCodeAt(textAt++) ^ DASH;
    const byte = hexPair(text, textAt);
    wrong |= byte & ~0xff;
    target[at + index] = byte;
    textAt += 2;
  }
  return wrong === 0;
}

/** The canonical text of the 16 bytes at `at`. */
export function readUuid(bytes: Uint8Array, at: number): string {
  let textAt = 0;
  for (let index = 0; index < UUID_BYTES; index++) {
    if (isAfterDash(index)) scratch[textAt++] = DASH;
    textAt = putPair(bytes[at + index]!, textAt); // `!`: the caller has checked the length
  }
  return scratch.toString("latin1", 0, UUID_TEXT);
}

/** Writes `length` bytes given as lower-case hex; false, with bytes undefined, if it is not. */
export function writeHex(text: string, target: Uint8Array, at: number, length: number): boolean {
  if (text.length !== 2 * length) return false;
  let wrong = 0;
  for (let index = 0; index < length; index++) {
    const byte = hexPair(text, 2 * index);
    wrong |= byte & ~0xff;
    target[at + index] = byte;
  }
  return wrong === 0;
}

/** `length` (at most 16) bytes as lower-case hex. */
export function readHex(bytes: Uint8Array, at: number, length: number): string {
  let textAt = 0;
  for (let index = 0; index < length; index++) {
    textAt = putPair(bytes[at + index]!, textAt); // `!`: the caller has checked the length
  }
  return scratch.toString("latin1", 0, textAt);
}

function isAfterDash(index: number): boolean {
  return index === 4 || index === 6 || index === 8 || index === 10;
}

/** The byte of two hex digits; more than 0xff when one of them is none. */
function hexPair(text: string, at: number): number {
  const high = digitOf[text.charCodeAt(at)] ?? NOT_HEX;
  const low = digitOf[text.charCodeAt(at + 1)] ?? NOT_HEX;
  return (high << 4) | low | ((low & 0xf0) << 4);
}

function putPair(byte: number, textAt: number): number {
  scratch[textAt] = codeOf[byte >>> 4]!; // `!`: a byte has two digits, each below 16
  scratch[textAt + 1] = codeOf[byte & 15]!; // `!`: see above
  return textAt + 2;
}
