/**
 * msgpack for rows, payloads and replies.
 *
 * Plain maps without record extensions, so that any msgpack reader reads our topics. Decoding is
 * strict: bounded depth, `__proto__` refused, trailing bytes refused; what does not decode is a
 * `BAD_MESSAGE`, never a crash.
 */

import { Packr, Unpackr } from "msgpackr";

import { describeError, ShopError } from "../../runtime/errors.ts";

/** Of maps and lists in each other. */
export const DEPTH_MAX = 16;

const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, copyBuffers: true });

/**
 * What is to be decoded is copied here first: a small array has no buffer until it is asked for
 * one, and to make it costs more than the copy. Nothing that was decoded is a view of it.
 */
const scratch = new Uint8Array(16_384);

export function encodeValue(value: unknown): Uint8Array {
  // `pack` hands out a view of a larger buffer; a copy keeps no more alive than it needs. Of a
  // plain array: to slice a `Buffer` makes another through its slow constructor.
  return new Uint8Array(packr.pack(value));
}

/** Decodes and bounds a value that may come from anywhere. Throws `BAD_MESSAGE`. */
export function decodeValue(bytes: Uint8Array): unknown {
  let value: unknown;
  try {
    value = unpack(bytes);
  } catch (error) {
    throw new ShopError("BAD_MESSAGE", `not msgpack: ${describeError(error)}`, "never", {
      cause: error,
    });
  }
  checkDepth(value, 0);
  return value;
}

function unpack(bytes: Uint8Array): unknown {
  const { length } = bytes;
  if (length === 0 || length > scratch.length) return unpackr.unpack(bytes);
  scratch.set(bytes);
  return unpackr.unpack(scratch, length);
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
