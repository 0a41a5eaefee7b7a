/**
 * Installs what some servers need: asks first, shows each step, leaves no half download behind.
 *
 * Without a terminal to ask on, and without `--yes`, nothing is installed and the answer is an
 * error that lists what would have been.
 */

import { mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";

import { ShopError } from "../../runtime/errors.ts";
import { planInstall } from "./install-plan.ts";
import { cacheDirectory, whyUnmet } from "./needs.ts";
import { tryAgain } from "./try-again.ts";

import type { InstallStep } from "./install-plan.ts";
import type { Need } from "./recipe.ts";

const OUTPUT_LINES = 20;
const STEP_TIMEOUT_MS = 15 * 60_000;

export interface InstallTalk {
  /** Shown to people as it goes on. */
  tell(line: string): void;
  /** True when what is listed may be installed. */
  confirm(titles: readonly string[]): boolean;
}

/** Resolves when all needs are met. Rejects with `SERVER_UNUSABLE` when one cannot be. */
export async function installNeeds(needs: readonly Need[], talk: InstallTalk): Promise<void> {
  if (needs.every((need) => whyUnmet(need) === undefined)) return;
  mkdirSync(cacheDirectory(), { recursive: true });
  // In the cache itself, so that the last move is a rename.
  const scratch = mkdtempSync(join(cacheDirectory(), ".download-"));
  try {
    const plan = (): readonly InstallStep[] =>
      planInstall(needs, {
        isMet: (need) => whyUnmet(need) === undefined,
        has: (program) => Bun.which(program) !== null,
        isRoot: process.getuid?.() === 0,
        scratch,
      });
    const titles = plan().map((step) => step.title);
    if (!talk.confirm(titles)) {
      const message = `not installed: ${titles.join("; ")}. Say --yes to install without asking`;
      throw new ShopError("SERVER_UNUSABLE", message, "never");
    }
    // Planned anew each time: what is there by then is left, a list of packages is fetched again.
    await tryAgain(async () => {
      for (const step of plan()) await runStep(step, talk);
    }, talk);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  const unmet = needs.map(whyUnmet).filter((reason) => reason !== undefined);
  if (unmet.length === 0) return;
  throw new ShopError("SERVER_UNUSABLE", `still missing: ${unmet.join(", ")}`, "never");
}

async function runStep(step: InstallStep, talk: InstallTalk): Promise<void> {
  talk.tell(`${step.title} …`);
  const startedMs = performance.now();
  if (step.result !== undefined) {
    // Of a try that broke off.
    rmSync(step.result.from, { recursive: true, force: true });
    mkdirSync(step.result.from, { recursive: true });
  }
  const child = Bun.spawn([...step.argv], {
    cwd: step.cwd,
    env: { ...Bun.env, ...step.env },
    stdin: "inherit",
    stdout: "pipe",
    stderr: "pipe",
    timeout: STEP_TIMEOUT_MS,
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (exitCode !== 0) {
    const output = `${stdout}\n${stderr}`.trim().split("\n").slice(-OUTPUT_LINES).join("\n");
    const message = `${step.title}: ${step.argv[0] ?? ""} ended with ${exitCode}\n${output}`;
    // One that was ended, by whomever or for its time, is not begun again.
    throw new ShopError("SERVER_UNUSABLE", message, child.signalCode === null ? "later" : "never");
  }
  if (step.result !== undefined) {
    mkdirSync(dirname(step.result.to), { recursive: true });
    renameSync(step.result.from, step.result.to);
  }
  talk.tell(`${step.title}: ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
}
