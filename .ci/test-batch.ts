/**
 * One run of `bun test` over some files: its output as it comes, its report, its coverage.
 *
 * Never throws for what the tests do; a run that is overdue is killed, and says so. Lines of
 * passing tests are not shown.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { TestRun } from "./test-report.ts";

const TEST_TIMEOUT_MS = 60_000;

export interface TestBatch {
  readonly root: string;
  readonly paths: readonly string[];
  /** Files at a time; 1 is one after the other, in one process. */
  readonly processes: number;
  readonly timeoutMs: number;
}

export interface BatchRun extends TestRun {
  readonly overdue: boolean;
  /** The LCOV report; empty when none was written. */
  readonly lcov: string;
}

export async function runBatch(batch: TestBatch): Promise<BatchRun> {
  const scratch = mkdtempSync(join(tmpdir(), "shopstream-test-"));
  const junitPath = join(scratch, "junit.xml");
  const bun = Bun.spawn(
    [
      process.execPath,
      "test",
      "--no-orphans",
      ...(batch.processes > 1 ? [`--parallel=${batch.processes}`] : []),
      `--timeout=${TEST_TIMEOUT_MS}`,
      "--coverage",
      "--coverage-reporter=lcov",
      `--coverage-dir=${scratch}`,
      "--reporter=junit",
      `--reporter-outfile=${junitPath}`,
      ...batch.paths.map((path) => `./${path}`),
    ],
    { cwd: batch.root, stdout: "pipe", stderr: "pipe", env: { ...process.env, NO_COLOR: "1" } },
  );
  let overdue = false;
  const deadline = setTimeout(() => {
    overdue = true;
    bun.kill("SIGKILL");
  }, batch.timeoutMs);
  const [stdout, stderr] = await Promise.all([relay(bun.stdout), relay(bun.stderr)]);
  const exitCode = await bun.exited;
  clearTimeout(deadline);

  const junit = await readIfThere(junitPath);
  const lcov = (await readIfThere(join(scratch, "lcov.info"))) ?? "";
  rmSync(scratch, { recursive: true, force: true });
  return { junit, lcov, output: `${stdout}\n${stderr}`, exitCode, overdue };
}

async function readIfThere(path: string): Promise<string | undefined> {
  const file = Bun.file(path);
  return (await file.exists()) ? await file.text() : undefined;
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
