/**
 * Who may import whom: `runtime/` nobody, `actors/` the runtime, `gateway/` both.
 *
 * Nothing in the product imports tests, benches, load scripts, `deploy/` or the checks. Type
 * imports count: a layer that names another's types depends on it.
 */

import { posix } from "node:path";
import ts from "typescript";

import { isTestCode } from "../source-tree.ts";
import { finding, walk } from "./source-file.ts";

import type { Finding, SourceFile } from "./source-file.ts";

const FORBIDDEN: Readonly<Record<string, readonly string[]>> = {
  runtime: ["actors", "gateway", "bench", "load", "deploy", ".ci"],
  actors: ["gateway", "bench", "load", "deploy", ".ci"],
  gateway: ["bench", "load", "deploy", ".ci"],
  deploy: ["bench", "load", ".ci"],
  bench: [],
  load: [],
  ".ci": [],
};

/** Imports against the direction of the layers, and of test code by code that is not a test. */
export function checkImports(file: SourceFile): readonly Finding[] {
  const findings: Finding[] = [];
  const layer = layerOf(file.path);
  for (const { node, specifier } of listImports(file)) {
    if (!specifier.startsWith(".")) continue;
    const target = posix.join(posix.dirname(file.path), specifier);
    if (!file.isTest && FORBIDDEN[layer]?.includes(layerOf(target)) === true) {
      const message = `${layer}/ must not import ${layerOf(target)}/`;
      findings.push(finding(file, "import-direction", node, message));
    }
    if (file.isTest && layer === "runtime" && ["actors", "gateway"].includes(layerOf(target))) {
      const message = `tests of runtime/ must not import ${layerOf(target)}/ either`;
      findings.push(finding(file, "import-direction", node, message));
    }
    if (!file.isTest && !file.isTool && isTestCode(target)) {
      findings.push(finding(file, "import-direction", node, "test code is for tests only"));
    }
    if (!/\.(ts|json|sql|html|css|js)$/.test(target)) {
      findings.push(finding(file, "import-extension", node, "write the file's extension"));
    }
  }
  return findings;
}

/** Every module that is named in an import, an export or a dynamic `import()`. */
function* listImports(
  file: SourceFile,
): Iterable<{ readonly node: ts.Node; readonly specifier: string }> {
  for (const node of walk(file.tree)) {
    const specifier =
      ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
        ? node.moduleSpecifier
        : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
          ? node.arguments[0]
          : ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
            ? node.argument.literal
            : undefined;
    if (specifier !== undefined && ts.isStringLiteralLike(specifier)) {
      yield { node, specifier: specifier.text };
    }
  }
}

function layerOf(path: string): string {
  return path.split("/", 1)[0] ?? "";
}
