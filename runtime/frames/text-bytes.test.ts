/**
 * Text in bytes: every well-formed string comes back as it was, what is not UTF-8 is told apart,
 * and nothing is ever written beyond the target.
 */

import { expect, test } from "bun:test";
import * as fc from "fast-check";

import { isText, readText, writeText } from "./text-bytes.ts";

const reference = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true });

test("any well-formed text is written as the encoder writes it, and read back", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 100 }),
    fc.string({ unit: "grapheme-ascii", maxLength: 100 }),
  );
  fc.assert(
    fc.property(text, fc.nat(9), (value, at) => {
      const target = new Uint8Array(at + value.length * 3);
      const bytes = writeText(value, target, at);
      expect(target.subarray(at, at + bytes)).toEqual(reference.encode(value));
      expect(isText(target, at, bytes)).toBe(true);
      expect(readText(target, at, bytes)).toBe(value);
    }),
    {
      numRuns: 1_000,
      examples: [
        ["\ufeff", 0],
        ["x".repeat(64), 3],
        ["x".repeat(65), 3],
      ],
    },
  );
});

test("text that does not fit is refused, whatever its length and script", () => {
  for (const unit of ["x", "é", "鍵", "🔑"]) {
    for (const units of [1, 20, 64, 65, 200]) {
      const text = unit.repeat(units);
      const bytes = reference.encode(text).length;
      const target = new Uint8Array(4 + bytes);
      expect(writeText(text, target, 4)).toBe(bytes);
      expect(writeText(text, target, 5)).toBe(-1);
      expect(writeText(text, target.subarray(0, -1), 4)).toBe(-1);
    }
  }
});

test("bytes are text exactly when a strict decoder takes them", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 8 }),
    fc.array(fc.constantFrom(0x41, 0x80, 0xbf, 0xc0, 0xc3, 0xe2, 0x82, 0xac, 0xed, 0xa0, 0xf4)),
  );
  fc.assert(
    fc.property(bytes, (raw) => {
      const some = Uint8Array.from(raw);
      expect(isText(some, 0, some.length)).toBe(decodes(some));
    }),
    { numRuns: 2_000 },
  );
});

function decodes(bytes: Uint8Array): boolean {
  try {
    strict.decode(bytes);
    return true;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}
