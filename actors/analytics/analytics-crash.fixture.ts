/**
 * A process that reads one log into the view, batch by batch, and says how far it is. Made to be
 * killed at any point.
 *
 * Only for tests. Run as `bun analytics-crash.fixture.ts <directory> <seed> <records>`; it goes on
 * where the view ends, prints each cursor once it is durable, and `done` at the end.
 */

import { writeSync } from "node:fs";

import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { batchAt, writeLog } from "./analytics-log.fixture.ts";
import { createAnalyticsProjection } from "./analytics-projection.ts";

const STDOUT = 1;
/** Small, so that a kill finds many places. */
const BATCH_RECORDS = 7;

export function runCrashScript(directory: string, seed: number, records: number): void {
  const entries = writeLog(seed, records);
  const environment = createVirtualEnvironment(seed);
  const view = createAnalyticsProjection({ directory, environment });
  for (let at = Number(view.cursor() ?? "0"); at < entries.length;) {
    const batch = batchAt(entries, at, BATCH_RECORDS);
    view.apply(batch);
    at = Number(batch.cursor);
    // Written at once and without a buffer of ours, so that a kill cannot take it back.
    writeSync(STDOUT, `${at}\n`);
  }
  view.close();
  writeSync(STDOUT, "done\n");
}

if (import.meta.main) {
  const [directory = "", seed = "0", records = "0"] = process.argv.slice(2);
  runCrashScript(directory, Number(seed), Number(records));
}
