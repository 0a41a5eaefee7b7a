/**
 * Frames for property tests: every field over its whole range, strings from all of Unicode.
 *
 * Only for tests. Strings are well-formed, as ill-formed ones are refused on encoding.
 */

import * as fc from "fast-check";

import type { FrameInput } from "./frame-header.ts";

const u16 = fc.integer({ min: 0, max: 65_535 });
const timeMs = fc.oneof(
  fc.nat(2 ** 31 - 1),
  fc.double({ min: 0, max: 2 ** 53, noNaN: true }),
  fc.constantFrom(0, 1_700_000_000_000, Number.MAX_VALUE),
);
const text = fc.oneof(
  fc.string({ unit: "grapheme-ascii", maxLength: 80 }),
  fc.string({ unit: "binary", maxLength: 80 }),
  fc.constantFrom("", "\ufeffkey", "\u0000", "order-1"),
);
const hex = (bytes: number) =>
  fc
    .uint8Array({ minLength: bytes, maxLength: bytes })
    .map((raw) => Buffer.from(raw).toString("hex"));
const headers = fc.dictionary(
  text.filter((name) => name !== "" && name !== "__proto__"),
  text,
  { maxKeys: 12, noNullPrototype: true },
);

/** A whole input: no optional field is absent, so that it equals what is decoded. */
export const arbitraryFrame: fc.Arbitrary<Required<FrameInput>> = fc.record({
  type: u16,
  slot: u16,
  key: text,
  payload: fc.uint8Array({ maxLength: 300 }),
  id: hex(16).map((digits) => digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")),
  timeMs,
  attempt: u16,
  flags: fc.constantFrom(0, 1),
  deadlineMs: timeMs,
  traceId: hex(16),
  spanId: hex(8),
  headers,
});
