/**
 * A source file as the house rules see it: text, syntax tree, comments, and what kind it is.
 *
 * Rules look at syntax, so that a word in a comment or a string never counts as code. Nothing here
 * reads the disk.
 */

import ts from "typescript";

import { isTestCode } from "../source-tree.ts";

/** Where something is wrong; `line` counts from 1. */
export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly rule: string;
  readonly message: string;
}

export interface Comment {
  readonly firstLine: number;
  readonly lastLine: number;
  /** With its delimiters. */
  readonly text: string;
}

export interface SourceFile {
  /** From the root of the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
  readonly tree: ts.SourceFile;
  readonly comments: readonly Comment[];
  /** A test, or what only tests use. */
  readonly isTest: boolean;
  /** `bench/`, `load/`, `.ci/`: runs beside the product, never in it. */
  readonly isTool: boolean;
}

/** A rule over one file. */
export type FileRule = (file: SourceFile) => readonly Finding[];

/** `path` decides what kind of file it is. */
export function parseSource(path: string, text: string): SourceFile {
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, true);
  return {
    path,
    text,
    lines: text.split("\n"),
    tree,
    comments: listComments(tree),
    isTest: isTestCode(path),
    isTool: /^(bench|load|deploy|\.ci)\//.test(path),
  };
}

/** Every node below `root`, parents first. */
export function* walk(root: ts.Node): Iterable<ts.Node> {
  const pending: ts.Node[] = [root];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    yield node;
    const children: ts.Node[] = [];
    ts.forEachChild(node, (child) => void children.push(child));
    pending.push(...children.toReversed());
  }
}

/** The line on which `node` begins, from 1. */
export function lineOf(file: SourceFile, node: ts.Node): number {
  return lineAt(file.tree, node.getStart(file.tree));
}

/** A finding of `rule` at `where`: a node, or a line from 1. */
export function finding(
  file: SourceFile,
  rule: string,
  where: ts.Node | number,
  message: string,
): Finding {
  const line = typeof where === "number" ? where : lineOf(file, where);
  return { path: file.path, line, rule, message };
}

export function lineAt(tree: ts.SourceFile, position: number): number {
  return tree.getLineAndCharacterOfPosition(position).line + 1;
}

/** Comments stand between tokens, so every token is asked for those before and after it. */
function listComments(tree: ts.SourceFile): readonly Comment[] {
  const found = new Map<number, Comment>();
  const add = (range: ts.CommentRange): void => {
    found.set(range.pos, {
      firstLine: lineAt(tree, range.pos),
      lastLine: lineAt(tree, range.end),
      text: tree.text.slice(range.pos, range.end),
    });
  };
  const pending: ts.Node[] = [tree];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    for (const range of ts.getLeadingCommentRanges(tree.text, node.pos) ?? []) add(range);
    const children = node.getChildren(tree);
    if (children.length > 0) pending.push(...children);
    else for (const range of ts.getTrailingCommentRanges(tree.text, node.end) ?? []) add(range);
  }
  return [...found.values()].sort((a, b) => a.firstLine - b.firstLine);
}
