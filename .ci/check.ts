/**
 * `bun run check`: types, lint, format, unused code and the house rules, all at once.
 *
 * One line per step with its time; the output of a step is printed only when it fails. Any failing
 * step, or one that is overdue, makes the exit code 1. Nothing is fixed: that is `bun run fmt`.
 */

import { join } from "node:path";

import { ROOT } from "./source-tree.ts";

interface Step {
  readonly name: string;
  readonly command: readonly string[];
}

const STEP_TIMEOUT_MS = 120_000;
const bun = process.execPath;
const bin = (path: string): string => join(ROOT, "node_modules", path);

const STEPS: readonly Step[] = [
  { name: "types", command: [bun, "check", "--no-script", "--no-pretty"] },
  {
    name: "lint",
    command: [bun, bin("oxlint/bin/oxlint"), "--type-aware", "--deny-warnings", "--format=unix"],
  },
  { name: "format", command: [bun, "fmt", "--no-script", "--check"] },
  { name: "unused", command: [bun, bin("knip/bin/knip.js"), "--no-progress"] },
  { name: "tidy", command: [bun, ".ci/tidy.ts"] },
];

const results = await Promise.all(STEPS.map(runStep));
process.exitCode = results.every(Boolean) ? 0 : 1;

/** Runs one step to its end; true when it passed. */
async function runStep(step: Step): Promise<boolean> {
  const startedMs = performance.now();
  const child = Bun.spawn([...step.command], {
    cwd: ROOT,
    stdout: "pipe",
    stderr: "pipe",
    timeout: STEP_TIMEOUT_MS,
    killSignal: "SIGKILL",
    env: { ...process.env, NO_COLOR: "1" },
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  const passed = exitCode === 0;
  console.log(`${passed ? "ok  " : "FAIL"} ${step.name.padEnd(7)} ${seconds} s`);
  if (!passed) console.log(`${stdout}${stderr}`.trimEnd());
  return passed;
}
