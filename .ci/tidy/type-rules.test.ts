/**
 * Ways around the compiler fire; the same words in comments, strings and names do not.
 *
 * Assertions are accepted with a reason on their line or on the line above, and only then.
 */

import { expect, test } from "bun:test";

import { parseSource } from "./source-file.ts";
import { checkAssertions, checkConstructs } from "./type-rules.ts";

test.each([
  ["construct", `let x: any;`],
  ["construct", `function f(x: Record<string, any>) {}`],
  ["construct", `enum Colour { Red }`],
  ["construct", `const enum Colour { Red }`],
  ["construct", `namespace N { export const x = 1; }`],
  ["construct", `export default 1;`],
  ["construct", `export default function f() {}`],
  ["construct", `class A { constructor(private readonly x: number) {} }`],
  ["silencer", `// @ts-ignore\nf();`],
  ["silencer", `f(); // @ts-expect-error because`],
  ["silencer", `/* @ts-nocheck */`],
  ["silencer", `function f() {\n  // oxlint-disable-next-line\n}`],
  ["silencer", `/* c8 ignore next */`],
])("a %s is refused: %j", (rule, text) => {
  expect(checkConstructs(parseSource("runtime/a.ts", text)).map((each) => each.rule)).toEqual([
    rule,
  ]);
});

test.each([
  `const any = 1; const enumerate = { any };`,
  `const text = "any enum @ts-ignore";`,
  "const text = `// @ts-ignore ${1} // @ts-ignore`;",
  `// any default export is refused, as is an enum`,
  `const pattern = /\\/\\/ @ts-ignore/;`,
  `export { x as y } from "./b.ts";`,
  `declare global { interface Window { x: number } }`,
])("is allowed: %j", (text) => {
  expect(checkConstructs(parseSource("runtime/a.ts", text))).toEqual([]);
});

test.each([
  `const x = y as string;`,
  `const x = y!;`,
  `const x = <string>y;`,
  `const x = f(\n  y as unknown as string,\n);`,
  `// A reason, too far away.\n\nconst z = 1;\nconst x = y!.z;`,
  `const url = "https://x"; const x = y!;`,
])("an assertion needs a reason: %j", (text) => {
  const findings = checkAssertions(parseSource("runtime/a.ts", text));
  expect(new Set(findings.map((each) => each.rule))).toEqual(new Set(["assertion-reason"]));
});

test.each([
  `const x = ["a"] as const;`,
  `const x = y as string; // checked by the caller`,
  `// Checked by the caller.\nconst x = y!;`,
  `// Checked by the caller.\nconst x = f(\n  y!,\n);`,
  `const x = f(\n  // The ring is never empty here.\n  y!,\n);`,
  `let x!: number;`,
  `const isBad = !y;`,
  `import { a as b } from "./b.ts";`,
])("no reason is missing: %j", (text) => {
  expect(checkAssertions(parseSource("runtime/a.ts", text))).toEqual([]);
});

test("tests and tools may assert without a reason", () => {
  expect(checkAssertions(parseSource("runtime/a.test.ts", `f(y!);`))).toEqual([]);
  expect(checkAssertions(parseSource("bench/a.ts", `f(y!);`))).toEqual([]);
});
