/**
 * The test command over small repositories of its own: whatever happens, the last line is true.
 *
 * Each repository is a folder under the system's temporary directory. Needs nothing but Bun.
 */

import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const COMMAND = join(import.meta.dir, "test.ts");
const TIMEOUT_MS = 60_000;
const roots: string[] = [];

const DOUBLE = "export function double(n: number): number {\n  return n * 2;\n}\n";
const DOUBLE_TEST = `
import { expect, test } from "bun:test";
import { double } from "./double.ts";
test("doubles", () => expect(double(2)).toBe(4));
`;

afterAll(() => {
  for (const root of roots) rmSync(root, { recursive: true, force: true });
});

test(
  "a run in which all is well ends well",
  async () => {
    const { lines, exitCode } = await run({
      "runtime/double.ts": DOUBLE,
      "runtime/double.test.ts": DOUBLE_TEST,
    });
    expect(lines.at(-1)).toBe("1 passed, 0 failed, 0 skipped");
    expect(exitCode).toBe(0);
  },
  TIMEOUT_MS,
);

test(
  "one failing test is enough to fail",
  async () => {
    const { lines, exitCode } = await run({
      "runtime/double.ts": DOUBLE,
      "runtime/double.test.ts": DOUBLE_TEST.replace("toBe(4)", "toBe(5)"),
    });
    expect(lines).toContain("coverage: 100.0 % of lines");
    expect(lines.at(-1)).toBe("0 passed, 1 failed, 0 skipped");
    expect(exitCode).toBe(1);
  },
  TIMEOUT_MS,
);

test(
  "failing, broken and dying tests are counted, and the line is still the last",
  async () => {
    const { lines, exitCode } = await run({
      "runtime/double.ts": DOUBLE,
      "runtime/double.test.ts": DOUBLE_TEST,
      "runtime/wrong.test.ts": `import { expect, test } from "bun:test";
        test("wrong", () => expect(1).toBe(2));`,
      "runtime/broken.test.ts": `import { nothing } from "./nothing.ts"; nothing();`,
      "runtime/dying.test.ts": `import { test } from "bun:test";
        test("dies", () => process.exit(0));`,
    });
    expect(lines.at(-1)).toBe("1 passed, 3 failed, 0 skipped");
    expect(exitCode).toBe(1);
  },
  TIMEOUT_MS,
);

test(
  "a file that no test imports pulls coverage under the floor",
  async () => {
    const { lines, exitCode } = await run({
      "runtime/double.ts": DOUBLE,
      "runtime/double.test.ts": DOUBLE_TEST,
      "actors/forgotten.ts": DOUBLE,
    });
    expect(lines.at(-1)).toBe("1 passed, 0 failed, 0 skipped");
    expect(lines.join("\n")).toContain("FAIL coverage is");
    expect(lines.join("\n")).toContain("3 lines uncovered  actors/forgotten.ts");
    expect(exitCode).toBe(1);
  },
  TIMEOUT_MS,
);

test(
  "skipped tests are listed with their reason",
  async () => {
    const { lines, exitCode } = await run({
      "runtime/double.ts": DOUBLE,
      "runtime/double.test.ts": `${DOUBLE_TEST}
        console.log("skip: kafka: no broker on 9092");
        test.skipIf(true)("publishes", () => {});`,
    });
    expect(lines.at(-1)).toBe("1 passed, 0 failed, 1 skipped");
    expect(lines).toContain("  kafka: no broker on 9092");
    expect(exitCode).toBe(0);
  },
  TIMEOUT_MS,
);

async function run(
  files: Readonly<Record<string, string>>,
): Promise<{ readonly lines: readonly string[]; readonly exitCode: number }> {
  const root = mkdtempSync(join(tmpdir(), "shopstream-command-"));
  roots.push(root);
  const all = { "package.json": "{}", ".ci/coverage-exempt.json": "{}", ...files };
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const command = Bun.spawn([process.execPath, COMMAND, root], { stdout: "pipe", stderr: "pipe" });
  const output = await new Response(command.stdout).text();
  return { lines: output.trimEnd().split("\n"), exitCode: await command.exited };
}
