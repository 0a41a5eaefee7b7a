/**
 * Tests run, all of them, and every guarantee names the test that proves it.
 *
 * Refuses a focused test (the others would silently not run) and a skip without a condition, and a
 * row of the guarantees table whose test does not exist.
 */

import ts from "typescript";

import { finding, walk } from "./source-file.ts";

import type { Finding, SourceFile } from "./source-file.ts";

const FUNCTIONS = ["test", "it", "describe"];
const TEST_NAME = /`([\w./-]+\.test\.ts)`(?::? "([^"]+)")?/g;

/** `test.only`, `describe.skip`, `test.todo` and their like. */
export function checkFocus(file: SourceFile): readonly Finding[] {
  if (!file.isTest) return [];
  const findings: Finding[] = [];
  for (const node of walk(file.tree)) {
    if (!ts.isPropertyAccessExpression(node) || !ts.isIdentifier(node.expression)) continue;
    if (!FUNCTIONS.includes(node.expression.text)) continue;
    const what = `${node.expression.text}.${node.name.text}`;
    if (node.name.text === "only") {
      findings.push(finding(file, "focused-test", node, `${what} hides all other tests`));
    }
    if (["skip", "todo"].includes(node.name.text)) {
      const message = `${what}: use skipIf(!requireOrSkip(…)), which says why`;
      findings.push(finding(file, "silent-skip", node, message));
    }
  }
  return findings;
}

/**
 * Rows of the table under a heading "Guarantees" name tests as `file.test.ts`, or more exactly as
 * `file.test.ts` "name of the test". `tests`: path → text of every test.
 */
export function checkGuarantees(
  path: string,
  markdown: string,
  tests: ReadonlyMap<string, string>,
): readonly Finding[] {
  const findings: Finding[] = [];
  let isInside = false;
  let row = 0;
  for (const [index, line] of markdown.split("\n").entries()) {
    if (line.startsWith("#")) isInside = /guarantees/i.test(line);
    row = line.startsWith("|") ? row + 1 : 0;
    // The first two rows of a table are its head and the rule below it.
    if (!isInside || row < 3) continue;
    for (const message of checkRow(line, tests)) {
      findings.push({ path, line: index + 1, rule: "guarantee-test", message });
    }
  }
  return findings;
}

function checkRow(row: string, tests: ReadonlyMap<string, string>): readonly string[] {
  const named = [...row.matchAll(TEST_NAME)];
  if (named.length === 0) return ["the row names no test as `file.test.ts`"];
  const problems: string[] = [];
  for (const [, file = "", name] of named) {
    const text = findTest(file, tests);
    if (text === undefined) problems.push(`${file} does not exist`);
    else if (name !== undefined && !text.includes(name)) {
      problems.push(`${file} has no test "${name}"`);
    }
  }
  return problems;
}

function findTest(file: string, tests: ReadonlyMap<string, string>): string | undefined {
  for (const [path, text] of tests) {
    if (path === file || path.endsWith(`/${file}`)) return text;
  }
  return undefined;
}
