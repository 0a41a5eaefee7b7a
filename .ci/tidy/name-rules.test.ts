/**
 * Units, bounds, and traces of machines: what fires and what does not.
 *
 * Traces are put together here from pieces, because the rule reads tests too.
 */

import { expect, test } from "bun:test";

import { checkInfinity, checkTraces, checkUnits } from "./name-rules.ts";
import { parseSource } from "./source-file.ts";

test.each([
  `interface O { readonly timeout: number }`,
  `interface O { delay?: number }`,
  `function f(interval: number) {}`,
  `const f = (size: number) => size;`,
  `class A { amount: number = 0; }`,
  `const timeout = 5_000;`,
])("a bare name has no unit: %j", (text) => {
  expect(checkUnits(parseSource("runtime/a.ts", text)).map((each) => each.rule)).toEqual([
    "unit-name",
  ]);
});

test.each([
  `interface O { readonly timeoutMs: number; sizeBytes: number }`,
  `interface O { size(): number; timeout: Timer }`,
  `const size = list.size;`,
  `const amount = toDecimal(amountMinor);`,
  `// timeout: number`,
])("a name is good: %j", (text) => {
  expect(checkUnits(parseSource("runtime/a.ts", text))).toEqual([]);
});

test("Infinity is no bound outside the file of limits and tests", () => {
  const text = `const most = Infinity;\nconst more = Number.POSITIVE_INFINITY;`;
  expect(checkInfinity(parseSource("runtime/a.ts", text))).toHaveLength(2);
  expect(checkInfinity(parseSource("runtime/limits.ts", text))).toEqual([]);
  expect(checkInfinity(parseSource("runtime/a.test.ts", text))).toEqual([]);
  const harmless = `const text = "Infinity"; // Infinity\nif (Number.isFinite(x)) f();`;
  expect(checkInfinity(parseSource("runtime/a.ts", harmless))).toEqual([]);
});

test.each([
  ["// see /", "work/main/a.ts"],
  ['const path = "/', 'root/x";'],
  ["/** Done for iss", "ue 4. */"],
  ["// FIX", "ME: later"],
])("a trace is found: %s%s", (...pieces) => {
  expect(
    checkTraces(parseSource("runtime/a.test.ts", pieces.join(""))).map((each) => each.rule),
  ).toEqual(["trace"]);
});

test.each([`import { x } from "./work/a.ts";`, `// an issue of trust`, `const p = "/v1/work/4";`])(
  "is no trace: %j",
  (text) => {
    expect(checkTraces(parseSource("runtime/a.ts", text))).toEqual([]);
  },
);
