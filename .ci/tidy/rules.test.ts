/**
 * All rules are in the list that the check command runs: one snippet breaks each of them.
 *
 * A rule that is written and tested but not listed would never fire.
 */

import { expect, test } from "bun:test";

import { checkHouse } from "./rules.ts";
import { parseSource } from "./source-file.ts";

const GOOD = "/** What it is for. What it refuses. */\n";

test("every rule is run", () => {
  const bad = [
    `import { x } from "../actors/b.ts";`,
    `import { y } from "./y";`,
    `let z: any = y!;`,
    `// @ts-ignore`,
    `const timeout = 5;`,
    `try { setTimeout(f, Infinity); } catch {}`,
    `if (error.message === "x") throw new Error("${"x".repeat(80)}");`,
    ["// FIX", "ME"].join(""),
    `function f() {\n${"  call();\n".repeat(400)}}`,
  ].join("\n");
  const files = [
    parseSource("runtime/a.ts", bad),
    parseSource("gateway/a.ts", GOOD),
    parseSource("gateway/index.ts", GOOD),
    parseSource("gateway/a.test.ts", `${GOOD}test.only("x", f);\ntest.skip("y", f);`),
  ];
  const readme = { path: "runtime/README.md", text: "# Guarantees\n|a|b|\n|-|-|\n|x|y|" };
  const rules = new Set(checkHouse(files, readme).map((each) => each.rule));
  expect([...rules].sort()).toEqual([
    "assertion-reason",
    "construct",
    "empty-catch",
    "environment-only",
    "file-lines",
    "file-name",
    "focused-test",
    "function-lines",
    "guarantee-test",
    "import-direction",
    "import-extension",
    "infinity",
    "line-columns",
    "message-matching",
    "opening-doc",
    "plain-error",
    "silencer",
    "silent-skip",
    "trace",
    "unique-file-name",
    "unit-name",
  ]);
});

test("a house in order has no findings, and findings come in order", () => {
  expect(checkHouse([parseSource("runtime/a.ts", GOOD)], undefined)).toEqual([]);
  const files = ["runtime/b.ts", "actors/c.ts"].map((path) => {
    return parseSource(path, `let x: any;\n${GOOD}let y: any;`);
  });
  const places = checkHouse(files, undefined).map((each) => `${each.path}:${each.line}`);
  expect(places).toEqual([
    "actors/c.ts:1",
    "actors/c.ts:1",
    "actors/c.ts:3",
    "runtime/b.ts:1",
    "runtime/b.ts:1",
    "runtime/b.ts:3",
  ]);
});
