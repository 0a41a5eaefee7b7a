/**
 * Waits for a server that was just started, and explains one that does not get there.
 *
 * Asks again and again in the server's own protocol. Gives up as soon as a process has ended, or at
 * the recipe's deadline; the last lines of the logs are in the error.
 */

import { existsSync, readFileSync } from "node:fs";

import { ShopError } from "../../runtime/errors.ts";

import type { Recipe, Site } from "./recipe.ts";

const ASK_EVERY_MS = 50;
const LOG_LINES = 15;

/** What is watched while waiting. */
export interface Starting {
  readonly logPaths: readonly string[];
  /** True when one of the processes is gone. */
  hasEnded(): boolean;
}

/** Resolves when `recipe.isReady`; rejects with `SERVER_UNUSABLE` when it will not be. */
export async function untilReady(recipe: Recipe, site: Site, starting: Starting): Promise<void> {
  const deadlineMs = performance.now() + recipe.startTimeoutMs;
  while (!(await recipe.isReady(site))) {
    const hasEnded = starting.hasEnded();
    if (!hasEnded && performance.now() < deadlineMs) {
      await Bun.sleep(ASK_EVERY_MS);
      continue;
    }
    const what = hasEnded
      ? "ended while starting"
      : `was not ready after ${recipe.startTimeoutMs / 1000} s`;
    const message = `${recipe.name} ${what}\n${lastLines(starting.logPaths)}`;
    throw new ShopError("SERVER_UNUSABLE", message, hasEnded ? "later" : "never");
  }
}

function lastLines(paths: readonly string[]): string {
  return paths
    .filter((path) => existsSync(path))
    .flatMap((path) => readFileSync(path, "utf8").trimEnd().split("\n").slice(-LOG_LINES))
    .join("\n");
}
