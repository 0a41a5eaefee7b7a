/**
 * Time, chance and identity come from an `Environment` and from nowhere else.
 *
 * Looks at syntax: calls, references, destructuring and imports, also by way of `globalThis` or
 * a quoted member name. Only the two environments, tests and tools may name the real ones.
 */

import ts from "typescript";

import { finding, walk } from "./source-file.ts";

import type { Finding, SourceFile } from "./source-file.ts";

const RULE = "environment-only";

const ENVIRONMENTS = ["runtime/system-environment.ts", "runtime/virtual-environment.ts"];

const FORBIDDEN_MEMBERS: Readonly<Record<string, readonly string[]>> = {
  AbortSignal: ["timeout"],
  Bun: ["nanoseconds", "randomUUIDv7", "sleep", "sleepSync"],
  Date: ["now"],
  Math: ["random"],
  crypto: ["getRandomValues", "randomUUID"],
  performance: ["now", "timeOrigin"],
  process: ["hrtime", "nextTick", "uptime"],
};

const FORBIDDEN_GLOBALS: readonly string[] = [
  "clearInterval",
  "clearTimeout",
  "queueMicrotask",
  "setImmediate",
  "setInterval",
  "setTimeout",
];

const FORBIDDEN_MODULES = /^(node:)?(timers(\/promises)?|perf_hooks)$/;
const FORBIDDEN_IMPORTS: Readonly<Record<string, readonly string[]>> = {
  bun: FORBIDDEN_MEMBERS["Bun"] ?? [],
  crypto: ["randomBytes", "randomFillSync", "randomInt", "randomUUID"],
  process: FORBIDDEN_MEMBERS["process"] ?? [],
};

/** Reaches past the `Environment` to a clock, a timer, a random source or an id generator. */
export function checkDeterminism(file: SourceFile): readonly Finding[] {
  if (file.isTest || file.isTool || ENVIRONMENTS.includes(file.path)) return [];
  const findings: Finding[] = [];
  const declared = listDeclared(file);
  for (const node of walk(file.tree)) {
    const found = [
      nameMember(node),
      nameNewDate(node),
      nameGlobal(node, declared),
      ...nameDestructured(node),
      ...nameImports(node),
    ];
    for (const name of found) {
      if (name === undefined) continue;
      findings.push(finding(file, RULE, node, `${name}: take an Environment instead`));
    }
  }
  return findings;
}

/** `Date.now`, `globalThis.Date.now`, `Date["now"]`. */
function nameMember(node: ts.Node): string | undefined {
  const member = readMember(node);
  if (member === undefined) return undefined;
  const owner = nameOwner(member.owner);
  if (owner === undefined) return undefined;
  if (owner === "globalThis") {
    return FORBIDDEN_GLOBALS.includes(member.name) ? member.name : undefined;
  }
  const isForbidden = Object.hasOwn(FORBIDDEN_MEMBERS, owner)
    ? FORBIDDEN_MEMBERS[owner]?.includes(member.name)
    : false;
  return isForbidden === true ? `${owner}.${member.name}` : undefined;
}

function readMember(
  node: ts.Node,
): { readonly owner: ts.Expression; readonly name: string } | undefined {
  if (ts.isPropertyAccessExpression(node)) return { owner: node.expression, name: node.name.text };
  if (ts.isElementAccessExpression(node) && ts.isStringLiteralLike(node.argumentExpression)) {
    return { owner: node.expression, name: node.argumentExpression.text };
  }
  return undefined;
}

/** `Date`, also when it is written `globalThis.Date`. */
function nameOwner(owner: ts.Expression): string | undefined {
  if (ts.isIdentifier(owner)) return owner.text;
  const member = readMember(owner);
  if (member === undefined || !ts.isIdentifier(member.owner)) return undefined;
  return member.owner.text === "globalThis" ? member.name : undefined;
}

/** `new Date()` and `Date()` read the clock; `new Date(ms)` does not. */
function nameNewDate(node: ts.Node): string | undefined {
  const isNew = ts.isNewExpression(node);
  if (!isNew && !ts.isCallExpression(node)) return undefined;
  if (nameOwner(node.expression) !== "Date") return undefined;
  return isNew && (node.arguments ?? []).length > 0 ? undefined : "new Date()";
}

function nameGlobal(node: ts.Node, declared: ReadonlySet<string>): string | undefined {
  if (!ts.isIdentifier(node) || !FORBIDDEN_GLOBALS.includes(node.text)) return undefined;
  if (declared.has(node.text)) return undefined;
  const { parent } = node;
  const isMemberName =
    (ts.isPropertyAccessExpression(parent) && parent.name === node) ||
    (ts.isPropertyAssignment(parent) && parent.name === node) ||
    ts.isMethodDeclaration(parent) ||
    ts.isMethodSignature(parent) ||
    ts.isPropertySignature(parent) ||
    ts.isImportSpecifier(parent) ||
    ts.isTypeQueryNode(parent);
  return isMemberName ? undefined : node.text;
}

/** `const { now } = Date`, `const { now: clock } = performance`. */
function* nameDestructured(node: ts.Node): Iterable<string> {
  if (!ts.isVariableDeclaration(node) || !ts.isObjectBindingPattern(node.name)) return;
  const owner = node.initializer === undefined ? undefined : nameOwner(node.initializer);
  if (owner === undefined || !Object.hasOwn(FORBIDDEN_MEMBERS, owner)) return;
  for (const element of node.name.elements) {
    const name = (element.propertyName ?? element.name).getText();
    if (FORBIDDEN_MEMBERS[owner]?.includes(name) === true) yield `${owner}.${name}`;
  }
}

function* nameImports(node: ts.Node): Iterable<string> {
  if (!ts.isImportDeclaration(node) || !ts.isStringLiteralLike(node.moduleSpecifier)) return;
  const module = node.moduleSpecifier.text;
  if (FORBIDDEN_MODULES.test(module)) yield module;
  const forbidden = FORBIDDEN_IMPORTS[module.replace("node:", "")] ?? [];
  const bindings = node.importClause?.namedBindings;
  if (bindings === undefined || !ts.isNamedImports(bindings)) return;
  for (const element of bindings.elements) {
    const name = (element.propertyName ?? element.name).text;
    if (forbidden.includes(name)) yield `${module} ${name}`;
  }
}

/** Names that the file declares itself: a parameter called `setTimeout` is not the global one. */
function listDeclared(file: SourceFile): ReadonlySet<string> {
  const declared = new Set<string>();
  for (const node of walk(file.tree)) {
    if (
      (ts.isParameter(node) || ts.isVariableDeclaration(node) || ts.isFunctionDeclaration(node)) &&
      node.name !== undefined &&
      ts.isIdentifier(node.name)
    ) {
      declared.add(node.name.text);
    }
  }
  return declared;
}
