/**
 * Types do the refusing: no way around the compiler, and every assertion says why it holds.
 *
 * Refuses `any`, enums, namespaces, default exports, and comments that silence the compiler or the
 * linter. Outside tests and tools, `as` and `!` need a comment on their line or the line above.
 */

import ts from "typescript";

import { finding, lineAt, walk } from "./source-file.ts";

import type { Finding, SourceFile } from "./source-file.ts";

const SILENCER =
  /^\/[/*]+\s*(@ts-(ignore|nocheck|expect-error)|(oxlint|eslint)-disable|(c8|istanbul|v8) ignore)/;

/** Constructs that the house does not use at all. */
export function checkConstructs(file: SourceFile): readonly Finding[] {
  const findings: Finding[] = [];
  for (const node of walk(file.tree)) {
    const message = nameRefused(node);
    if (message !== undefined) findings.push(finding(file, "construct", node, message));
  }
  for (const comment of file.comments) {
    const silencer = SILENCER.exec(comment.text)?.[1];
    if (silencer === undefined) continue;
    findings.push(finding(file, "silencer", comment.firstLine, `${silencer} is refused`));
  }
  return findings;
}

/** `as T` and `x!` without a comment that says why. `as const` needs none. */
export function checkAssertions(file: SourceFile): readonly Finding[] {
  if (file.isTest || file.isTool) return [];
  const commented = new Set<number>();
  for (const comment of file.comments) {
    for (let line = comment.firstLine; line <= comment.lastLine; line++) commented.add(line);
  }
  const findings: Finding[] = [];
  for (const node of walk(file.tree)) {
    if (!isAssertion(node)) continue;
    const line = lineAt(file.tree, node.end);
    const statementLine = lineOfStatement(file, node);
    const explained = [line, line - 1, statementLine - 1].some((each) => commented.has(each));
    if (explained) continue;
    const what = ts.isNonNullExpression(node) ? "!" : "as";
    findings.push(finding(file, "assertion-reason", line, `say why this \`${what}\` holds`));
  }
  return findings;
}

function nameRefused(node: ts.Node): string | undefined {
  if (node.kind === ts.SyntaxKind.AnyKeyword) return "any: use unknown and narrow it";
  if (ts.isEnumDeclaration(node)) return "enum: use a union of literals";
  if (ts.isModuleDeclaration(node) && ts.isIdentifier(node.name) && !isGlobal(node)) {
    return "namespace: use a module";
  }
  if (ts.isExportAssignment(node)) return "default export: export by name";
  if (ts.canHaveModifiers(node)) {
    const isDefault = ts.getModifiers(node)?.some((each) => {
      return each.kind === ts.SyntaxKind.DefaultKeyword;
    });
    if (isDefault === true) return "default export: export by name";
  }
  if (ts.isParameter(node) && ts.isParameterPropertyDeclaration(node, node.parent)) {
    return "parameter property: declare the field";
  }
  return undefined;
}

function isGlobal(node: ts.ModuleDeclaration): boolean {
  return (node.flags & ts.NodeFlags.GlobalAugmentation) !== 0;
}

function isAssertion(node: ts.Node): boolean {
  if (ts.isNonNullExpression(node)) return true;
  if (ts.isTypeAssertionExpression(node)) return true;
  return ts.isAsExpression(node) && !ts.isConstTypeReference(node.type);
}

/** The first line of the statement or member that `node` is part of. */
function lineOfStatement(file: SourceFile, node: ts.Node): number {
  let part = node;
  while (!ts.isStatement(part) && !ts.isClassElement(part) && !ts.isSourceFile(part)) {
    part = part.parent;
  }
  return lineAt(file.tree, part.getStart(file.tree));
}
