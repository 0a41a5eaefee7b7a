/**
 * `bun run test`: every test that needs no server, the skips with their reasons, and coverage.
 *
 * Fails when a test fails, when the run takes longer than its deadline, or when coverage is below
 * the floor. The last line is always `N passed, N failed, N skipped`. An argument names another
 * root than the repository's, for the test of this command.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { judgeCoverage, parseLcov, percent } from "./coverage.ts";
import { listCovered, listTests, ROOT } from "./source-tree.ts";
import { countTests, listSkips } from "./test-report.ts";

import type { TestRun } from "./test-report.ts";

const PROCESSES = 2;
const TEST_TIMEOUT_MS = 60_000;
const SUITE_TIMEOUT_MS = 8 * 60_000;
const WORST_FILES_MAX = 10;
const LCOV_PATH = "coverage/lcov.info";
const EXEMPT_PATH = ".ci/coverage-exempt.json";

const root = process.argv[2] ?? ROOT;

process.exitCode = await main();

async function main(): Promise<number> {
  const scratch = mkdtempSync(join(tmpdir(), "shopstream-test-"));
  rmSync(join(root, LCOV_PATH), { force: true });
  const run = await runTests(join(scratch, "junit.xml"));
  rmSync(scratch, { recursive: true, force: true });

  printSkips(run);
  const problems = run.overdue ? [`the run took longer than ${SUITE_TIMEOUT_MS / 1000} s`] : [];
  try {
    problems.push(...(await reportCoverage()));
  } catch (error) {
    problems.push(`no coverage: ${String(error)}`);
  }
  for (const problem of problems) console.log(`FAIL ${problem}`);

  const counts = countTests(run);
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed > 0 || problems.length > 0 ? 1 : 0;
}

async function runTests(junitPath: string): Promise<TestRun & { readonly overdue: boolean }> {
  const bun = Bun.spawn(
    [
      process.execPath,
      "test",
      "--no-orphans",
      `--parallel=${PROCESSES}`,
      `--timeout=${TEST_TIMEOUT_MS}`,
      "--coverage",
      "--coverage-reporter=lcov",
      "--coverage-dir=coverage",
      "--reporter=junit",
      `--reporter-outfile=${junitPath}`,
      ...listTests(root).map((path) => `./${path}`),
    ],
    { cwd: root, stdout: "pipe", stderr: "pipe", env: { ...process.env, NO_COLOR: "1" } },
  );
  let overdue = false;
  const deadline = setTimeout(() => {
    overdue = true;
    bun.kill("SIGKILL");
  }, SUITE_TIMEOUT_MS);
  const [stdout, stderr] = await Promise.all([relay(bun.stdout), relay(bun.stderr)]);
  const exitCode = await bun.exited;
  clearTimeout(deadline);

  const junit = Bun.file(junitPath);
  return {
    junit: (await junit.exists()) ? await junit.text() : undefined,
    output: `${stdout}\n${stderr}`,
    exitCode,
    overdue,
  };
}

/** Prints a stream as it comes, without the lines of passing tests, and returns all of it. */
async function relay(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let all = "";
  let rest = "";
  for await (const chunk of stream) {
    const text = decoder.decode(chunk, { stream: true });
    all += text;
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (!isNoise(line)) console.log(line);
  }
  if (rest !== "" && !isNoise(rest)) console.log(rest);
  return all;
}

function isNoise(line: string): boolean {
  return line.trim() === "" || /^(\((pass|skip|todo)\) |skip: |\S+\.test\.ts:$)/.test(line);
}

function printSkips(run: TestRun): void {
  const skips = listSkips(run);
  if (skips.length === 0) return;
  console.log("\nskipped:");
  for (const skip of skips) console.log(`  ${skip}`);
}

/** Prints the summary of coverage; returns the reasons to fail. */
async function reportCoverage(): Promise<readonly string[]> {
  const lcov = Bun.file(join(root, LCOV_PATH));
  if (!(await lcov.exists())) return ["no coverage report was written"];
  const sources = new Map<string, string>();
  for (const path of listCovered(root)) sources.set(path, await Bun.file(join(root, path)).text());
  const exempt = await readExempt();
  const verdict = judgeCoverage(parseLcov(await lcov.text()), sources, exempt);

  console.log(`\ncoverage: ${percent(verdict.linesCovered, verdict.lines)} of lines`);
  for (const file of verdict.worst.slice(0, WORST_FILES_MAX)) {
    const share = percent(file.linesCovered, file.lines).padStart(7);
    console.log(`  ${share}  ${file.lines - file.linesCovered} lines uncovered  ${file.path}`);
  }
  for (const [path, reason] of exempt) console.log(`  exempt: ${path}: ${reason}`);
  return verdict.problems;
}

async function readExempt(): Promise<Map<string, string>> {
  const parsed: unknown = await Bun.file(join(root, EXEMPT_PATH)).json();
  if (typeof parsed !== "object" || parsed === null) {
    throw new Error(`${EXEMPT_PATH} must be an object of path → reason`);
  }
  return new Map(Object.entries(parsed).map(([path, reason]) => [path, String(reason)]));
}
