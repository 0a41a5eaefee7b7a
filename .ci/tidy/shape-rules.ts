/**
 * How large things may be and how a file begins: small rooms, and a sign on every door.
 *
 * The lines of a function are its own: those of functions inside it are theirs, so that a factory
 * that returns closures is measured like the class it replaces. There is no exemption list.
 */

import ts from "typescript";

import { finding, lineAt, lineOf, walk } from "./source-file.ts";

import type { Finding, SourceFile } from "./source-file.ts";

const FILE_LINES_MAX = 400;
const TEST_FILE_LINES_MAX = 600;
const FUNCTION_LINES_MAX = 60;
const COLUMNS_MAX = 100;
const DOC_SENTENCES_MIN = 2;
const FILE_NAME = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+)*\.ts$/;
const EMPTY_NAMES = /^(utils?|helpers?|common|misc)(\.test)?\.ts$/;

/** Opens with a doc comment that says what the file is for and what it refuses. */
export function checkOpening(file: SourceFile): readonly Finding[] {
  const opening = file.comments[0];
  if (!file.text.startsWith("/**") || opening === undefined) {
    return [finding(file, "opening-doc", 1, "the file must open with a /** doc comment */")];
  }
  const prose = opening.text
    .replace(/^\/\*\*|\*\/$/g, "")
    .split("\n")
    .map((line) => line.replace(/^\s*\* ?/, ""))
    .join(" ");
  const sentences = prose.match(/[.!?:]["'`)]*(\s|$)/g)?.length ?? 0;
  if (sentences >= DOC_SENTENCES_MIN) return [];
  const message = "the opening comment needs two sentences: what the file is for, what it refuses";
  return [finding(file, "opening-doc", 1, message)];
}

/** Lines of the file, of each function, and columns of each line. */
export function checkSizes(file: SourceFile): readonly Finding[] {
  const findings: Finding[] = [];
  const linesMax = file.isTest ? TEST_FILE_LINES_MAX : FILE_LINES_MAX;
  const fileLines = file.lines.length - (file.lines.at(-1) === "" ? 1 : 0);
  if (fileLines > linesMax) {
    const message = `${fileLines} lines, at most ${linesMax}`;
    findings.push(finding(file, "file-lines", linesMax + 1, message));
  }
  for (const [index, line] of file.lines.entries()) {
    const columns = Array.from(line).length;
    if (columns <= COLUMNS_MAX) continue;
    const message = `${columns} columns, at most ${COLUMNS_MAX}`;
    findings.push(finding(file, "line-columns", index + 1, message));
  }
  for (const node of walk(file.tree)) {
    if (!isFunction(node)) continue;
    const lines = countOwnLines(file, node);
    if (lines <= FUNCTION_LINES_MAX) continue;
    const message = `${lines} lines of its own, at most ${FUNCTION_LINES_MAX}`;
    findings.push(finding(file, "function-lines", node, message));
  }
  return findings;
}

/** Kebab-case, says what is in it, and `index.ts` only as the door of the runtime. */
export function checkFileName(file: SourceFile): readonly Finding[] {
  const name = baseName(file.path);
  if (name === "index.ts" && file.path !== "runtime/index.ts") {
    return [finding(file, "file-name", 1, "no index.ts but runtime/index.ts")];
  }
  if (!FILE_NAME.test(name)) return [finding(file, "file-name", 1, "file names are kebab-case")];
  if (EMPTY_NAMES.test(name)) {
    return [finding(file, "file-name", 1, `${name} does not say what is in it`)];
  }
  return [];
}

/** A file is known by its name alone. */
export function checkUniqueNames(files: readonly SourceFile[]): readonly Finding[] {
  const findings: Finding[] = [];
  const first = new Map<string, string>();
  for (const file of files) {
    const name = baseName(file.path);
    const earlier = first.get(name);
    if (earlier === undefined) first.set(name, file.path);
    else findings.push(finding(file, "unique-file-name", 1, `${earlier} has the same name`));
  }
  return findings;
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function isFunction(node: ts.Node): boolean {
  return ts.isFunctionLike(node) && "body" in node && node.body !== undefined;
}

function countOwnLines(file: SourceFile, node: ts.Node): number {
  let lines = countLines(file, node);
  const pending: ts.Node[] = [];
  const visit = (child: ts.Node): void => {
    if (isFunction(child)) lines -= countLines(file, child) - 1;
    else pending.push(child);
  };
  ts.forEachChild(node, visit);
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    ts.forEachChild(next, visit);
  }
  return lines;
}

function countLines(file: SourceFile, node: ts.Node): number {
  return lineAt(file.tree, node.end) - lineOf(file, node) + 1;
}
