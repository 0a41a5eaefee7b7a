/**
 * Every way past the `Environment` fires, and nothing that only looks like one does.
 *
 * Comments, strings, members of other objects and names of the file's own are such look-alikes.
 */

import { expect, test } from "bun:test";

import { checkDeterminism } from "./determinism-rules.ts";
import { parseSource } from "./source-file.ts";

test.each([
  [`const t = Date.now();`, "Date.now"],
  [`const t = Date["now"]();`, "Date.now"],
  [`const t = globalThis.Date.now();`, "Date.now"],
  [`const now = Date.now;`, "Date.now"],
  [`const { now } = Date;`, "Date.now"],
  [`const { now: clock } = performance;`, "performance.now"],
  [`const t = new Date();`, "new Date()"],
  [`const t = new Date;`, "new Date()"],
  [`const t = Date();`, "new Date()"],
  [`const r = Math.random();`, "Math.random"],
  [`const t = performance.now();`, "performance.now"],
  [`setTimeout(f, 5);`, "setTimeout"],
  [`const later = setTimeout;`, "setTimeout"],
  [`globalThis.setTimeout(f, 5);`, "setTimeout"],
  [`globalThis["setInterval"](f, 5);`, "setInterval"],
  [`setImmediate(f);`, "setImmediate"],
  [`queueMicrotask(f);`, "queueMicrotask"],
  [`const id = crypto.randomUUID();`, "crypto.randomUUID"],
  [`const id = Bun.randomUUIDv7();`, "Bun.randomUUIDv7"],
  [`await Bun.sleep(5);`, "Bun.sleep"],
  [`const t = Bun.nanoseconds();`, "Bun.nanoseconds"],
  [`const t = process.hrtime.bigint();`, "process.hrtime"],
  [`const signal = AbortSignal.timeout(5);`, "AbortSignal.timeout"],
  [`import { setTimeout as wait } from "node:timers/promises";`, "node:timers/promises"],
  [`import { performance } from "node:perf_hooks";`, "node:perf_hooks"],
  [`import { randomUUID as id } from "node:crypto";`, "node:crypto randomUUID"],
  [`import { sleep } from "bun";`, "bun sleep"],
  ["const text = `${Date.now()}`;", "Date.now"],
])("refuses %j", (text, name) => {
  const findings = checkDeterminism(parseSource("runtime/a.ts", text));
  expect(findings.map((each) => each.message)).toEqual([`${name}: take an Environment instead`]);
});

test.each([
  `// Date.now() is refused here\nconst x = 1;`,
  `/* setTimeout(f, 5) */`,
  `const text = "Date.now() and setTimeout";`,
  "const text = `Math.random() ${1}`;",
  `const t = environment.nowMs();`,
  `const t = new Date(timeMs).toISOString();`,
  `const t = Date.UTC(2024, 1);`,
  `const t = Date.parse(text);`,
  `const n = Math.floor(1.5);`,
  `faults.setTimeout(5);`,
  `const api = { setTimeout: 5, queueMicrotask() {} };`,
  `interface Clock { setTimeout: number; setImmediate(): void }`,
  `function f(setTimeout: (g: () => void) => void) { setTimeout(g); }`,
  `type Handle = ReturnType<typeof setTimeout>;`,
  `import { createHash } from "node:crypto";`,
  `const pattern = /Date.now()/;`,
  `const x = holder.constructor["now"]; const y = toString.now;`,
])("allows %j", (text) => {
  expect(checkDeterminism(parseSource("runtime/a.ts", text))).toEqual([]);
});

test.each([
  "runtime/system-environment.ts",
  "runtime/a.test.ts",
  "runtime/a.suite.ts",
  "runtime/a.fixture.ts",
  "bench/a.ts",
  "load/a.ts",
  ".ci/a.ts",
])("does not concern %s", (path) => {
  expect(checkDeterminism(parseSource(path, `setTimeout(f, Date.now());`))).toEqual([]);
});

test("a finding names its line", () => {
  const file = parseSource("actors/a.ts", `/** Doc. */\n\nconst t =\n  Date.now();`);
  expect(checkDeterminism(file)[0]).toMatchObject({ path: "actors/a.ts", line: 4 });
});
