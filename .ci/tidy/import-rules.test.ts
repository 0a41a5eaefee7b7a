/**
 * The direction of imports: each forbidden arrow fires, each allowed one does not.
 *
 * Snippets only; nothing is read from the repository.
 */

import { expect, test } from "bun:test";

import { checkImports } from "./import-rules.ts";
import { parseSource } from "./source-file.ts";

test.each([
  ["runtime/a.ts", `import { x } from "../actors/b.ts";`],
  ["runtime/threads/a.ts", `import type { X } from "../../gateway/b.ts";`],
  ["runtime/a.test.ts", `import { x } from "../actors/b.ts";`],
  ["runtime/a.ts", `export { x } from "../actors/b.ts";`],
  ["runtime/a.ts", `const x = await import("../actors/b.ts");`],
  ["runtime/a.ts", `type X = import("../actors/b.ts").X;`],
  ["runtime/a.ts", `import { x } from "../.ci/b.ts";`],
  ["actors/order/a.ts", `import { x } from "../../gateway/b.ts";`],
  ["actors/a.ts", `import { x } from "../load/b.ts";`],
  ["gateway/a.ts", `import { x } from "../bench/b.ts";`],
  ["gateway/a.ts", `import { x } from "../deploy/b.ts";`],
  ["deploy/a.ts", `import { x } from "../load/b.ts";`],
  ["gateway/a.ts", `import { x } from "../actors/b.suite.ts";`],
  ["actors/a.ts", `import { x } from "./b.test.ts";`],
])("in %s it is refused to write %j", (path, text) => {
  expect(rulesFor(path, text)).toEqual(["import-direction"]);
});

test.each([
  ["runtime/a.ts", `import { x } from "./threads/b.ts";`],
  ["runtime/a.ts", `// import { x } from "../actors/b.ts";\nconst y = "../actors/b.ts";`],
  ["actors/a.ts", `import { x } from "../runtime/b.ts";`],
  ["gateway/a.ts", `import { x } from "../runtime/b.ts";\nimport { y } from "../actors/b.ts";`],
  ["bench/a.ts", `import { x } from "../gateway/b.ts";`],
  ["load/a.ts", `import { x } from "../actors/b.suite.ts";`],
  ["deploy/a.ts", `import { x } from "../runtime/b.ts";`],
  ["actors/a.test.ts", `import { x } from "../deploy/b.ts";`],
  ["actors/a.test.ts", `import { x } from "./b.suite.ts";`],
  ["actors/a.ts", `import page from "./page.html";\nimport { Elysia } from "elysia";`],
])("in %s it is allowed to write %j", (path, text) => {
  expect(rulesFor(path, text)).toEqual([]);
});

test("an import without an extension is refused", () => {
  expect(rulesFor("runtime/a.ts", `import { x } from "./b";`)).toEqual(["import-extension"]);
});

function rulesFor(path: string, text: string): string[] {
  return checkImports(parseSource(path, text)).map((each) => each.rule);
}
