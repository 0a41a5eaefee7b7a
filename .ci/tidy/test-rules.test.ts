/**
 * Focused and silently skipped tests, and guarantees without proof.
 *
 * The table of guarantees is given as text; rows with and without their test are told apart.
 */

import { expect, test } from "bun:test";

import { parseSource } from "./source-file.ts";
import { checkFocus, checkGuarantees } from "./test-rules.ts";

const TESTS = new Map([
  ["runtime/threads/ring.test.ts", `test("no frame is lost", () => {});`],
  ["runtime/frames/frame.test.ts", `test("golden bytes", () => {});`],
]);

test.each([
  ["focused-test", `test.only("x", f);`],
  ["focused-test", `describe.only("x", f);`],
  ["silent-skip", `test.skip("x", f);`],
  ["silent-skip", `describe.skip("x", f);`],
  ["silent-skip", `test.todo("x");`],
])("%s: %j", (rule, text) => {
  expect(checkFocus(parseSource("runtime/a.test.ts", text)).map((each) => each.rule)).toEqual([
    rule,
  ]);
});

test.each([
  `test("x", f); test.each([1])("x", f);`,
  `describe.skipIf(!requireOrSkip("kafka", up, "no broker"))("x", f);`,
  `list.skip(3); only.test();`,
  `// test.only("x", f)`,
])("a test that runs is allowed: %j", (text) => {
  expect(checkFocus(parseSource("runtime/a.test.ts", text))).toEqual([]);
});

test("a guarantee names tests that exist, by file or by file and name", () => {
  const table = guarantees(
    "| kept | `ring.test.ts` |",
    '| exact | `frames/frame.test.ts` "golden bytes", `ring.test.ts` "no frame is lost" |',
  );
  expect(checkGuarantees("runtime/README.md", table, TESTS)).toEqual([]);
});

test("a guarantee whose test is missing, renamed or not named is refused", () => {
  const table = guarantees(
    "| kept | `rings.test.ts` |",
    '| exact | `frame.test.ts` "silver bytes" |',
    "| believed | by everybody |",
    "| suffix | `rame.test.ts` |",
  );
  const findings = checkGuarantees("runtime/README.md", table, TESTS);
  expect(findings.map((each) => `${each.line} ${each.message}`)).toEqual([
    "7 rings.test.ts does not exist",
    '8 frame.test.ts has no test "silver bytes"',
    "9 the row names no test as `file.test.ts`",
    "10 rame.test.ts does not exist",
  ]);
});

test("other tables of the document promise nothing", () => {
  const text = "# Files\n\n| file | what |\n|---|---|\n| a | b |\n";
  expect(checkGuarantees("runtime/README.md", text, TESTS)).toEqual([]);
});

function guarantees(...rows: readonly string[]): string {
  return ["# Actors", "", "## Guarantees", "", "| what | test |", "|---|---|", ...rows].join("\n");
}
