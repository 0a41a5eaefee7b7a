/**
 * Errors that vanish, have no code, or are told apart by their text.
 *
 * Each refused form has an allowed neighbour here.
 */

import { expect, test } from "bun:test";

import { checkErrors } from "./error-rules.ts";
import { parseSource } from "./source-file.ts";

test.each([
  ["empty-catch", `try { f(); } catch {}`],
  ["empty-catch", `try { f(); } catch (error) { /* never mind */ }`],
  ["plain-error", `throw new Error("no");`],
  ["plain-error", `const error = Error("no");`],
  ["message-matching", `if (error.message.includes("busy")) retry();`],
  ["message-matching", `if (error.message === "busy") retry();`],
  ["message-matching", `if ("busy" !== cause.message) retry();`],
  ["message-matching", `if (/busy/.test(error.message)) retry();`],
  ["message-matching", `if (event.error.message.startsWith("busy")) retry();`],
])("%s: %j", (rule, text) => {
  expect(rulesFor("actors/a.ts", text)).toEqual([rule]);
});

test.each([
  `try { f(); } catch (error) { report(error); }`,
  `throw new ShopError("CLOSED", "no", "never");`,
  `class MyError extends Error {}`,
  `// throw new Error("no")`,
  `const text = "catch {}";`,
  `if (error.code === "busy") retry();`,
  `if (error.message === previous.error.message) count++;`,
  `if (frame.message.includes("x")) f();`,
  "log(`failed: ${error.message}`);",
  `if (error instanceof Error) report(error.message);`,
])("is allowed: %j", (text) => {
  expect(rulesFor("actors/a.ts", text)).toEqual([]);
});

test("tests and tools may throw plain errors, but swallow none", () => {
  for (const path of ["actors/a.test.ts", "load/a.ts", "bench/a.ts", ".ci/a.ts"]) {
    expect(rulesFor(path, `throw new Error("no");`)).toEqual([]);
    expect(rulesFor(path, `try { f(); } catch {}`)).toEqual(["empty-catch"]);
  }
});

function rulesFor(path: string, text: string): string[] {
  return checkErrors(parseSource(path, text)).map((each) => each.rule);
}
