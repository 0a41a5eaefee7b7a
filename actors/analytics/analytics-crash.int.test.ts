/**
 * A process that fills the view is killed again and again, at whatever point it has reached.
 *
 * What it had said is durable stays, and in the end the windows are those of the reference: every
 * message counted once.
 */

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { writeLog } from "./analytics-log.fixture.ts";
import { createAnalyticsProjection } from "./analytics-projection.ts";
import { expectedCells, isWhole, storedCells } from "./analytics-state.fixture.ts";
import { ANALYTICS_SETTINGS } from "./analytics-tuning.ts";
import { NaiveAnalytics } from "./naive-analytics.fixture.ts";

const SCRIPT = join(import.meta.dir, "analytics-crash.fixture.ts");
const RECORDS = 900;
const KILLS = 8;

/** Runs the script until it has printed `lines` lines and kills it; true when it was done first. */
async function runUntil(directory: string, seed: number, lines: number): Promise<boolean> {
  const child = Bun.spawn(["bun", SCRIPT, directory, String(seed), String(RECORDS)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk, { stream: true });
    if (text.split("\n").length > lines && child.exitCode === null) child.kill("SIGKILL");
  }
  await child.exited;
  const said = text.split("\n").slice(0, -1);
  if (said.at(-1) === "done") return true;
  const cursor = said.at(-1);
  if (cursor === undefined) return false;
  const environment = createVirtualEnvironment();
  const view = createAnalyticsProjection({ directory, environment });
  expect(Number(view.cursor())).toBeGreaterThanOrEqual(Number(cursor));
  view.close();
  return false;
}

test("killed wherever it is, the view ends with every message counted once", async () => {
  const directory = mkdtempSync(join(tmpdir(), "shopstream-analytics-"));
  try {
    const seed = 11;
    for (let kill = 0; kill < KILLS; kill++) {
      // A prime step: the kills meet the batches at different places.
      if (await runUntil(directory, seed, 1 + ((kill * 7) % 13))) break;
    }
    expect(await runUntil(directory, seed, RECORDS)).toBe(true);
    expect(isWhole(directory)).toBe(true);
    const reference = new NaiveAnalytics(ANALYTICS_SETTINGS).read(writeLog(seed, RECORDS));
    expect(storedCells(directory)).toEqual(expectedCells(reference.cells));
  } finally {
    rmSync(directory, { recursive: true });
  }
});
