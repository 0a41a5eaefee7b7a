/**
 * Two kinds of failure and nothing else: `ShopError` with a code, or a broken invariant.
 *
 * Refuses an empty `catch`, a plain `Error` outside tests and tools, and decisions on the text of
 * a message: whoever rewords an error must not change what the program does.
 */

import ts from "typescript";

import { finding, walk } from "./source-file.ts";

import type { Finding, SourceFile } from "./source-file.ts";

const TEXT_TESTS = ["includes", "match", "startsWith", "endsWith", "search", "indexOf"];

const COMPARISONS: readonly ts.SyntaxKind[] = [
  ts.SyntaxKind.EqualsEqualsEqualsToken,
  ts.SyntaxKind.ExclamationEqualsEqualsToken,
  ts.SyntaxKind.EqualsEqualsToken,
  ts.SyntaxKind.ExclamationEqualsToken,
];

export function checkErrors(file: SourceFile): readonly Finding[] {
  const findings: Finding[] = [];
  const isProduct = !file.isTest && !file.isTool;
  for (const node of walk(file.tree)) {
    if (ts.isCatchClause(node) && node.block.statements.length === 0) {
      findings.push(finding(file, "empty-catch", node, "an error must not vanish"));
    }
    if (isProduct && isPlainError(node)) {
      const message = "throw a ShopError with a code, or assert";
      findings.push(finding(file, "plain-error", node, message));
    }
    if (isProduct && decidesOnMessage(node)) {
      const message = "branch on a code, not on the text of a message";
      findings.push(finding(file, "message-matching", node, message));
    }
  }
  return findings;
}

function isPlainError(node: ts.Node): boolean {
  if (!ts.isNewExpression(node) && !ts.isCallExpression(node)) return false;
  return ts.isIdentifier(node.expression) && node.expression.text === "Error";
}

function decidesOnMessage(node: ts.Node): boolean {
  if (ts.isBinaryExpression(node) && COMPARISONS.includes(node.operatorToken.kind)) {
    const isText = [node.left, node.right].some((side) => ts.isStringLiteralLike(side));
    return isText && (isErrorMessage(node.left) || isErrorMessage(node.right));
  }
  if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return false;
  const { expression: subject, name } = node.expression;
  if (TEXT_TESTS.includes(name.text)) return isErrorMessage(subject);
  return ["test", "exec"].includes(name.text) && node.arguments.some(isErrorMessage);
}

/** `error.message`, by the usual names of a caught error: other things have messages too. */
function isErrorMessage(node: ts.Node): boolean {
  if (!ts.isPropertyAccessExpression(node) || node.name.text !== "message") return false;
  const owner = ts.isPropertyAccessExpression(node.expression)
    ? node.expression.name
    : node.expression;
  return ts.isIdentifier(owner) && /^(e|err|error|cause|failure|reason)$|Error$/.test(owner.text);
}
