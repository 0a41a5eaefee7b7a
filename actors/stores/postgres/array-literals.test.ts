/** Arrays as text, for PostgreSQL. That it reads them as meant is seen in the store's suite. */

import { expect, test } from "bun:test";

import { bytesArray, parseNumbers, plainArray, textArray } from "./array-literals.ts";

test("numbers and ids go as they are, texts in quotes, bytes as hex", () => {
  expect(plainArray([1, 2, 3])).toBe("{1,2,3}");
  expect(textArray(["a", 'q"q', "b\\b", "NULL", ""])).toBe(
    String.raw`{"a","q\"q","b\\b","NULL",""}`,
  );
  expect(bytesArray([Uint8Array.of(0, 255), new Uint8Array(0)])).toBe(
    String.raw`{"\\x00ff","\\x"}`,
  );
});

test("an array of nothing is empty, both ways", () => {
  for (const text of [plainArray([]), textArray([]), bytesArray([])]) expect(text).toBe("{}");
  expect(parseNumbers("{}")).toEqual([]);
  expect(parseNumbers("{7,9007199254740991}")).toEqual([7, 9_007_199_254_740_991]);
});
