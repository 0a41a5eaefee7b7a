/**
 * What is decoded stands on its own, and nothing is read past the end of what was given.
 *
 * No I/O.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import { isShopError } from "../../runtime/errors.ts";
import { decodeValue, encodeValue } from "./codec.ts";

const plain = fc
  .jsonValue({ maxDepth: 5 })
  .filter((value) => !/__proto__|constructor/.test(JSON.stringify(value)));

function refusal(bytes: Uint8Array): unknown {
  try {
    return decodeValue(bytes);
  } catch (error) {
    return isShopError(error, "BAD_MESSAGE");
  }
}

test("bytes within a value are not overwritten by the next one", () => {
  const first = decodeValue(encodeValue({ data: new Uint8Array([1, 2, 3]) }));
  decodeValue(encodeValue({ data: new Uint8Array([9, 9, 9]) }));
  expect(first).toEqual({ data: new Uint8Array([1, 2, 3]) } as never);
});

test("a value that is cut short is refused, whatever was decoded before it", () => {
  fc.assert(
    fc.property(fc.array(plain, { minLength: 1 }), fc.nat(), (value, cut) => {
      const whole = encodeValue(value);
      expect(JSON.stringify(decodeValue(whole))).toBe(JSON.stringify(value));
      expect(refusal(whole.subarray(0, cut % whole.length))).toBe(true);
    }),
  );
});

test("a value too long for the scratch is decoded like any other", () => {
  const value = { text: "ä".repeat(40_000), list: [1, -1, 1.5, 2 ** 40, null, true] };
  expect(decodeValue(encodeValue(value))).toEqual(value);
});
