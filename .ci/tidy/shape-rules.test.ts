/**
 * Sizes, openings and file names: just within the limit passes, one more does not.
 *
 * The limits are written out again here, so that changing one is a change of two files.
 */

import { expect, test } from "bun:test";

import { checkFileName, checkOpening, checkSizes, checkUniqueNames } from "./shape-rules.ts";
import { parseSource } from "./source-file.ts";

const DOC = "/** What it is for. What it refuses. */\n";

test.each([
  ["nothing", ""],
  ["code first", `const x = 1;\n${DOC}`],
  ["a line comment", "// What it is for. What it refuses.\n"],
  ["a plain block comment", "/* What it is for. What it refuses. */\n"],
  ["a single sentence", "/** What it is for */\n"],
  ["a single sentence with a full stop", "/**\n * What it is\n * for.\n */\n"],
])("an opening of %s is refused", (_, text) => {
  const findings = checkOpening(parseSource("runtime/a.ts", text));
  expect(findings.map((each) => each.rule)).toEqual(["opening-doc"]);
});

test("an opening of two sentences is accepted, on one line or on many", () => {
  expect(checkOpening(parseSource("runtime/a.ts", DOC))).toEqual([]);
  const many = "/**\n * The clock: see `environment.ts`.\n *\n * Refuses dates.\n */\n";
  expect(checkOpening(parseSource("runtime/a.ts", many))).toEqual([]);
});

test("a file has at most 400 lines, a test at most 600", () => {
  const lines = (count: number): string => "// line\n".repeat(count);
  expect(sizes("runtime/a.ts", lines(400))).toEqual([]);
  expect(sizes("runtime/a.ts", lines(401))).toEqual(["file-lines 401"]);
  expect(sizes("runtime/a.test.ts", lines(600))).toEqual([]);
  expect(sizes("runtime/a.test.ts", lines(601))).toEqual(["file-lines 601"]);
});

test("a line has at most 100 columns, counted in characters", () => {
  expect(sizes("runtime/a.ts", `// ${"é".repeat(97)}`)).toEqual([]);
  expect(sizes("runtime/a.ts", `//\n// ${"😀".repeat(97)}`)).toEqual([]);
  expect(sizes("runtime/a.ts", `//\n// ${"x".repeat(98)}`)).toEqual(["line-columns 2"]);
});

test("a function has at most 60 lines of its own", () => {
  const body = (count: number): string => "  call();\n".repeat(count);
  expect(sizes("runtime/a.ts", `function f() {\n${body(58)}}`)).toEqual([]);
  expect(sizes("runtime/a.ts", `function f() {\n${body(59)}}`)).toEqual(["function-lines 1"]);
  expect(sizes("runtime/a.ts", `const f = () => {\n${body(59)}};`)).toEqual(["function-lines 1"]);
  expect(sizes("runtime/a.ts", `class A {\n  m() {\n${body(59)}}\n}`)).toEqual([
    "function-lines 2",
  ]);
});

test("lines of inner functions are theirs and not those of the factory", () => {
  const inner = (name: string): string =>
    `  function ${name}() {\n${"    call();\n".repeat(50)}  }\n`;
  expect(sizes("runtime/a.ts", `function f() {\n${inner("g")}${inner("h")}}`)).toEqual([]);
  const outer = "  call();\n".repeat(57);
  expect(sizes("runtime/a.ts", `function f() {\n${outer}${inner("g")}}`)).toEqual([]);
  expect(sizes("runtime/a.ts", `function f() {\n${outer}  call();\n${inner("g")}}`)).toEqual([
    "function-lines 1",
  ]);
});

test.each(["runtime/index.ts", "runtime/ring.ts", "runtime/spsc-ring2.int.test.ts"])(
  "%s is a good file name",
  (path) => {
    expect(checkFileName(parseSource(path, DOC))).toEqual([]);
  },
);

test.each([
  "actors/index.ts",
  "runtime/threads/index.ts",
  "runtime/Ring.ts",
  "runtime/spsc_ring.ts",
  "runtime/spscRing.ts",
  "runtime/utils.ts",
  "actors/helpers.ts",
])("%s is a bad file name", (path) => {
  expect(checkFileName(parseSource(path, DOC))).toHaveLength(1);
});

test("two files must not have the same name, wherever they are", () => {
  const files = ["actors/a.ts", "runtime/a.ts", "runtime/b.ts"].map((path) =>
    parseSource(path, DOC),
  );
  expect(checkUniqueNames(files)).toEqual([
    {
      path: "runtime/a.ts",
      line: 1,
      rule: "unique-file-name",
      message: "actors/a.ts has the same name",
    },
  ]);
});

function sizes(path: string, text: string): string[] {
  return checkSizes(parseSource(path, text)).map((each) => `${each.rule} ${each.line}`);
}
