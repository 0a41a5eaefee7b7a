/**
 * The floor counts what no test loads, and an exemption must be needed and say why.
 *
 * Reports and sources are text; nothing is run.
 */

import { expect, test } from "bun:test";

import { countRuntimeLines, judgeCoverage, parseLcov, percent } from "./coverage.ts";

const LCOV = [
  "TN:",
  "SF:runtime/a.ts",
  ...Array.from({ length: 95 }, (_, line) => `DA:${line + 1},3`),
  ...Array.from({ length: 5 }, (_, line) => `DA:${line + 96},0`),
  "LF:100",
  "LH:95",
  "end_of_record",
].join("\n");

const SOURCE = `/** Doc. */
import { x } from "./b.ts";

export interface Shape {
  readonly x: number;
}
// A comment.
export function f(): number {
  return x;
}
`;

const LONG_SOURCE = "f();\n".repeat(9);

test("a report is read line by line, and two records of one file are one", () => {
  expect(parseLcov(LCOV).get("runtime/a.ts")).toMatchObject({ lines: 100, linesCovered: 95 });
  const twice = "SF:a.ts\nDA:1,0\nDA:2,1\nend_of_record\nSF:a.ts\nDA:1,4\nDA:2,0\nend_of_record";
  expect(parseLcov(twice).get("a.ts")).toEqual({ path: "a.ts", lines: 2, linesCovered: 2 });
});

test("only lines that exist at run time are counted", () => {
  expect(countRuntimeLines(SOURCE)).toBe(3);
  expect(countRuntimeLines("/** Types. */\nexport type A = 1;\nexport interface B {}\n")).toBe(0);
});

test("a file that no test loads counts as uncovered", () => {
  const loaded = new Map([["runtime/a.ts", ""]]);
  expect(judgeCoverage(parseLcov(LCOV), loaded, new Map()).problems).toEqual([]);
  const unloaded = new Map([...loaded, ["actors/b.ts", LONG_SOURCE]]);
  const verdict = judgeCoverage(parseLcov(LCOV), unloaded, new Map());
  expect(verdict).toMatchObject({ lines: 109, linesCovered: 95 });
  expect(verdict.problems).toEqual(["coverage is 87.2 % of lines, the floor is 90 %"]);
  expect(verdict.worst.map((file) => file.path)).toEqual(["actors/b.ts", "runtime/a.ts"]);
});

test("what is measured outside the counted sources does not help", () => {
  const verdict = judgeCoverage(parseLcov(LCOV), new Map([["actors/b.ts", SOURCE]]), new Map());
  expect(verdict).toMatchObject({ lines: 3, linesCovered: 0 });
});

test("an exempt file is left out", () => {
  const sources = new Map([
    ["runtime/a.ts", ""],
    ["runtime/thread.ts", LONG_SOURCE],
  ]);
  const exempt = new Map([["runtime/thread.ts", "runs in a worker only"]]);
  expect(judgeCoverage(parseLcov(LCOV), sources, exempt)).toMatchObject({
    lines: 100,
    problems: [],
  });
});

test("an exemption that is stale, not needed or without a reason is refused", () => {
  const sources = new Map([
    ["runtime/a.ts", ""],
    ["runtime/thread.ts", SOURCE],
  ]);
  const exempt = new Map([
    ["runtime/a.ts", "runs in a worker only"],
    ["runtime/gone.ts", "runs in a worker only"],
    ["runtime/thread.ts", " "],
  ]);
  expect(judgeCoverage(parseLcov(LCOV), sources, exempt).problems).toEqual([
    "coverage-exempt.json: runtime/a.ts is covered without an exemption; remove it",
    "coverage-exempt.json: runtime/gone.ts does not exist",
    "coverage-exempt.json: runtime/thread.ts has no reason",
  ]);
});

test("nothing of nothing is all of it", () => {
  expect(percent(0, 0)).toBe("100.0 %");
  expect(percent(1, 3)).toBe("33.3 %");
});
