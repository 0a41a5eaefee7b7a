/**
 * JSON that somebody else has written, as a value: within the depth that msgpack may have.
 *
 * Depth is counted on the bytes, before anything is built from them: to write a value of 40,000
 * levels as text again takes a thread more than a second. Which fields it has is not looked at.
 */

import { describeError, ShopError } from "../../runtime/errors.ts";
import { DEPTH_MAX } from "./codec.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The value of a JSON text in UTF-8. Throws `BAD_MESSAGE`. */
export function parseForeignJson(bytes: Uint8Array): unknown {
  if (isTooDeep(bytes)) {
    throw new ShopError("BAD_MESSAGE", `nested deeper than ${DEPTH_MAX}`, "never");
  }
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch (error) {
    const text = `not JSON: ${describeError(error)}`;
    throw new ShopError("BAD_MESSAGE", text, "never", { cause: error });
  }
}

/** Counts as a parser does, as far as the bytes are JSON; of others it says either. */
function isTooDeep(bytes: Uint8Array): boolean {
  let depth = 0;
  let isString = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (isString) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) isString = false;
    } else if (byte === QUOTE) isString = true;
    else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      if (++depth > DEPTH_MAX) return true;
    } else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) depth--;
  }
  return false;
}
