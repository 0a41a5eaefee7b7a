/**
 * The linter and the compiler see the whole house, and a floating promise is an error.
 *
 * Runs the real linter with the repository's own settings on a snippet in a temporary directory.
 */

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ts from "typescript";

import { listSources, ROOT } from "./source-tree.ts";

const TIMEOUT_MS = 60_000;
const root = mkdtempSync(join(tmpdir(), "shopstream-lint-"));

afterAll(() => rmSync(root, { recursive: true, force: true }));

test(
  "a floating promise, a misused one and an any are errors",
  async () => {
    const findings = await lint(`
      export async function wait(): Promise<void> {}
      export function f(list: number[]): unknown {
        wait();
        list.forEach(async () => { await wait(); });
        const x: any = list;
        return x;
      }
    `);
    for (const rule of ["no-floating-promises", "no-misused-promises", "no-explicit-any"]) {
      expect(findings.output).toContain(rule);
    }
    expect(findings.exitCode).toBe(1);
  },
  TIMEOUT_MS,
);

test(
  "awaited promises are not",
  async () => {
    const findings = await lint(`
      export async function wait(): Promise<void> {}
      export async function f(): Promise<void> {
        await wait();
        void wait();
      }
    `);
    expect(findings).toMatchObject({ exitCode: 0 });
  },
  TIMEOUT_MS,
);

test("every source of the house is type-checked", () => {
  const { config } = ts.readConfigFile(join(ROOT, "tsconfig.json"), (path) =>
    ts.sys.readFile(path),
  );
  const checked = new Set(ts.parseJsonConfigFileContent(config, ts.sys, ROOT).fileNames);
  expect(listSources().filter((path) => !checked.has(join(ROOT, path)))).toEqual([]);
});

async function lint(text: string): Promise<{ readonly output: string; readonly exitCode: number }> {
  writeFileSync(join(root, "snippet.ts"), text);
  writeFileSync(join(root, "tsconfig.json"), `{ "compilerOptions": { "strict": true } }`);
  const linter = Bun.spawn(
    [
      process.execPath,
      join(ROOT, "node_modules/oxlint/bin/oxlint"),
      `--config=${join(ROOT, ".oxlintrc.json")}`,
      "--type-aware",
      "--deny-warnings",
      "--format=unix",
      root,
    ],
    { cwd: ROOT, stdout: "pipe", stderr: "pipe" },
  );
  const output = await new Response(linter.stdout).text();
  return { output, exitCode: await linter.exited };
}
