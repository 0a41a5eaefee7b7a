/**
 * msgpack for rows, payloads and replies.
 *
 * Plain maps without record extensions, so that any msgpack reader reads our topics. Decoding is
 * strict: bounded depth, `__proto__` refused, trailing bytes refused; what does not decode is a
 * `BAD_MESSAGE`, never a crash.
 */

import { Packr, Unpackr } from "msgpackr";

import { describeError, ShopError } from "../../runtime/errors.ts";

const DEPTH_MAX = 16;

const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

export function encodeValue(value: unknown): Uint8Array {
  // `pack` may hand out a view of a buffer that the next call overwrites; slice makes it ours.
  return Uint8Array.prototype.slice.call(packr.pack(value));
}

/** Decodes and bounds a value that may come from anywhere. Throws `BAD_MESSAGE`. */
export function decodeValue(bytes: Uint8Array): unknown {
  let value: unknown;
  try {
    value = unpackr.unpack(bytes);
  } catch (error) {
    throw new ShopError("BAD_MESSAGE", `not msgpack: ${describeError(error)}`, "never", {
      cause: error,
    });
  }
  checkDepth(value, 0);
  return value;
}

function checkDepth(value: unknown, depth: number): void {
  if (typeof value !== "object" || value === null) return;
  if (depth >= DEPTH_MAX) {
    throw new ShopError("BAD_MESSAGE", `nested deeper than ${DEPTH_MAX}`, "never");
  }
  if (Array.isArray(value)) {
    for (const item of value) checkDepth(item, depth + 1);
    return;
  }
  if (value instanceof Uint8Array) return;
  // Decoded maps have no prototype chain of their own making; this is the cheapest way through.
  const fields = value as Readonly<Record<string, unknown>>;
  for (const name in fields) {
    if (name === "__proto__" || name === "constructor") {
      throw new ShopError("BAD_MESSAGE", `field name ${name} is refused`, "never");
    }
    checkDepth(fields[name], depth + 1);
  }
}
