/**
 * `bun run test`: every test that needs no server, the skips with their reasons, and coverage.
 * `bun run test:services` (`--services`): those that start real servers, one file after the other.
 *
 * When SHOPSTREAM_REQUIRE names a server, `bun run test` runs both: what must not be skipped must
 * not be left out either. Fails when a test fails, when a run takes longer than its deadline, or
 * when coverage is below the floor. The last line is always `N passed, N failed, N skipped`; a file
 * that was left out counts as one skip. An argument names another root than the repository's, for
 * the test of this command.
 */

import { mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";

import { SERVICE_NAMES } from "../deploy/services/recipe.ts";
import { judgeCoverage, parseLcov, percent } from "./coverage.ts";
import { isServerCode, listCovered, listServerTests, listTests, ROOT } from "./source-tree.ts";
import { runBatch } from "./test-batch.ts";
import { countTests, listSkips } from "./test-report.ts";

import type { BatchRun, TestBatch } from "./test-batch.ts";

const PROCESSES = 2;
const SUITE_TIMEOUT_MS = 8 * 60_000;
const SERVER_FILE_TIMEOUT_MS = 20 * 60_000;
const WORST_FILES_MAX = 10;
const LCOV_PATH = "coverage/lcov.info";
const SERVER_LCOV_PATH = "coverage/services.lcov.info";
const EXEMPT_PATH = ".ci/coverage-exempt.json";

const root = process.argv.slice(2).find((each) => !each.startsWith("--")) ?? ROOT;
const isServices = process.argv.includes("--services");

process.exitCode = await main();

async function main(): Promise<number> {
  const serverTests = listServerTests(root);
  const withServers = isServices || requiresServers();
  const counts = { passed: 0, failed: 0, skipped: withServers ? 0 : serverTests.length };
  const problems: string[] = [];
  const skips: string[] = [];
  const tally = (run: BatchRun, batch: TestBatch): void => {
    const { passed, failed, skipped } = countTests(run);
    counts.passed += passed;
    counts.failed += failed;
    counts.skipped += skipped;
    skips.push(...listSkips(run));
    if (run.overdue) problems.push(`the run took longer than ${batch.timeoutMs / 1000} s`);
  };

  if (!isServices) await runPlain(serverTests, tally);
  if (withServers) await runServerTests(serverTests, tally);
  else if (serverTests.length > 0) {
    skips.push(`${serverTests.length} files need real servers: bun run test:services`);
  }
  printSkips(skips);
  try {
    if (!isServices) problems.push(...(await reportCoverage(false)));
    if (withServers) problems.push(...(await reportCoverage(true)));
  } catch (error) {
    problems.push(`no coverage: ${String(error)}`);
  }
  for (const problem of problems) console.log(`FAIL ${problem}`);
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed > 0 || problems.length > 0 ? 1 : 0;
}

/** Whether SHOPSTREAM_REQUIRE names a server. */
function requiresServers(): boolean {
  const names = (Bun.env["SHOPSTREAM_REQUIRE"] ?? "").split(",").map((each) => each.trim());
  return SERVICE_NAMES.some((name) => names.includes(name));
}

type Tally = (run: BatchRun, batch: TestBatch) => void;

async function runPlain(serverTests: readonly string[], tally: Tally): Promise<void> {
  rmSync(join(root, LCOV_PATH), { force: true });
  const paths = listTests(root).filter((path) => !serverTests.includes(path));
  const batch = { root, paths, processes: PROCESSES, timeoutMs: SUITE_TIMEOUT_MS };
  const run = await runBatch(batch);
  tally(run, batch);
  await writeReport(LCOV_PATH, run.lcov);
}

/** One process for each file: what a file leaves behind is gone before the next one starts. */
async function runServerTests(serverTests: readonly string[], tally: Tally): Promise<void> {
  const reports: string[] = [];
  for (const [index, path] of serverTests.entries()) {
    const startedMs = performance.now();
    const batch = { root, paths: [path], processes: 1, timeoutMs: SERVER_FILE_TIMEOUT_MS };
    const run = await runBatch(batch);
    tally(run, batch);
    reports.push(run.lcov);
    const { passed, failed } = countTests(run);
    const word = failed > 0 ? "FAIL" : passed > 0 ? "ok  " : "skip";
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    console.log(`${word} ${index + 1}/${serverTests.length} ${path} ${seconds} s`);
  }
  await writeReport(SERVER_LCOV_PATH, reports.join("\n"));
}

async function writeReport(path: string, lcov: string): Promise<void> {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  await Bun.write(join(root, path), lcov);
}

function printSkips(skips: readonly string[]): void {
  if (skips.length === 0) return;
  console.log("\nskipped:");
  for (const skip of new Set(skips)) console.log(`  ${skip}`);
}

/** Prints the summary of coverage; returns the reasons to fail. `ofServers`: of server code. */
async function reportCoverage(ofServers: boolean): Promise<readonly string[]> {
  const lcov = await readReports(ofServers);
  const sources = new Map<string, string>();
  for (const path of listCovered(root)) {
    if (isServerCode(path) !== ofServers) continue;
    sources.set(path, await Bun.file(join(root, path)).text());
  }
  if (sources.size === 0) return [];
  if (lcov.trim() === "") return ["no coverage report was written"];
  const exempt = await readExempt(ofServers);
  const verdict = judgeCoverage(parseLcov(lcov), sources, exempt);

  const what = ofServers ? "coverage of server code" : "coverage";
  console.log(`\n${what}: ${percent(verdict.linesCovered, verdict.lines)} of lines`);
  for (const file of verdict.worst.slice(0, WORST_FILES_MAX)) {
    const share = percent(file.linesCovered, file.lines).padStart(7);
    console.log(`  ${share}  ${file.lines - file.linesCovered} lines uncovered  ${file.path}`);
  }
  for (const [path, reason] of exempt) console.log(`  exempt: ${path}: ${reason}`);
  return verdict.problems.map((problem) => (ofServers ? `server code: ${problem}` : problem));
}

/** Server code has tests without servers, too: both reports count for it. */
async function readReports(ofServers: boolean): Promise<string> {
  const texts: string[] = [];
  for (const path of ofServers ? [LCOV_PATH, SERVER_LCOV_PATH] : [LCOV_PATH]) {
    const file = Bun.file(join(root, path));
    if (await file.exists()) texts.push(await file.text());
  }
  return texts.join("\n");
}

async function readExempt(ofServers: boolean): Promise<Map<string, string>> {
  const parsed: unknown = await Bun.file(join(root, EXEMPT_PATH)).json();
  if (typeof parsed !== "object" || parsed === null) {
    throw new Error(`${EXEMPT_PATH} must be an object of path → reason`);
  }
  const all = Object.entries(parsed).map(([path, reason]): [string, string] => {
    return [path, String(reason)];
  });
  return new Map(all.filter(([path]) => isServerCode(path) === ofServers));
}
