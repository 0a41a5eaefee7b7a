/** Arrays as text, for PostgreSQL. That it reads them as meant is seen in the store's suite. */

import { expect, test } from "bun:test";

import { parseNumbers, plainArray, textArray } from "./array-literals.ts";

test("numbers and ids go as they are, texts in quotes", () => {
  expect(plainArray([1, 2, 3])).toBe("{1,2,3}");
  expect(textArray(["a", 'q"q', "b\\b", "NULL", ""])).toBe(
    String.raw`{"a","q\"q","b\\b","NULL",""}`,
  );
});

test("an array of nothing is empty, both ways", () => {
  for (const text of [plainArray([]), textArray([])]) expect(text).toBe("{}");
  expect(parseNumbers("{}")).toEqual([]);
  expect(parseNumbers("{7,9007199254740991}")).toEqual([7, 9_007_199_254_740_991]);
});
