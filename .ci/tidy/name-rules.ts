/**
 * Names end in their unit, every bound has a name, and nothing speaks of who wrote it where.
 *
 * Refuses a bare `timeout: number` and its like, `Infinity` as a bound outside the file of limits,
 * and traces of the machine or of the tracker in code and comments.
 */

import ts from "typescript";

import { finding, lineAt, walk } from "./source-file.ts";

import type { Finding, SourceFile } from "./source-file.ts";

const BARE_NAMES = ["timeout", "delay", "interval", "size", "amount"];
const LIMIT_FILES = /^runtime\/limits(\.ts$|\/)/;
const TRACE = /(?:^|[\s"'`(])(\/(?:work|root|home)\/\w[\w./-]*)|\b(issue #?\d+|FIXME)\b/i;

/** `timeout: number` where `timeoutMs` is meant. */
export function checkUnits(file: SourceFile): readonly Finding[] {
  const findings: Finding[] = [];
  for (const node of walk(file.tree)) {
    const isNamed =
      ts.isPropertySignature(node) ||
      ts.isPropertyDeclaration(node) ||
      ts.isParameter(node) ||
      ts.isVariableDeclaration(node);
    if (!isNamed || !ts.isIdentifier(node.name) || !BARE_NAMES.includes(node.name.text)) continue;
    const { type, name } = node;
    const initializer = ts.isPropertySignature(node) ? undefined : node.initializer;
    const isNumber =
      type?.kind === ts.SyntaxKind.NumberKeyword ||
      (initializer !== undefined && ts.isNumericLiteral(initializer));
    if (!isNumber) continue;
    findings.push(finding(file, "unit-name", node, `${name.text}: end the name in its unit`));
  }
  return findings;
}

/** `Infinity` is no bound. */
export function checkInfinity(file: SourceFile): readonly Finding[] {
  if (file.isTest || file.isTool || LIMIT_FILES.test(file.path)) return [];
  const findings: Finding[] = [];
  for (const node of walk(file.tree)) {
    if (!ts.isIdentifier(node) || !/^(Infinity|POSITIVE_INFINITY)$/.test(node.text)) continue;
    findings.push(finding(file, "infinity", node, "name a bound in the file of limits"));
  }
  return findings;
}

/** Paths of one machine and numbers of a tracker, in strings and comments alike. */
export function checkTraces(file: SourceFile): readonly Finding[] {
  const findings: Finding[] = [];
  const note = (text: string, line: number): void => {
    const trace = TRACE.exec(text);
    if (trace === null) return;
    const message = `${trace[1] ?? trace[2] ?? ""} does not belong in the code`;
    findings.push(finding(file, "trace", line, message));
  };
  for (const comment of file.comments) note(comment.text, comment.firstLine);
  for (const node of walk(file.tree)) {
    const isText = ts.isStringLiteralLike(node) || ts.isTemplateHead(node);
    if (isText) note(node.text, lineAt(file.tree, node.end));
  }
  return findings;
}
