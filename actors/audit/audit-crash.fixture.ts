/**
 * A process that records one batch after the other and says so: `try n` before, `ok n` after.
 * Made to be killed at any point; whoever starts it again goes on at the cursor it finds.
 *
 * Only for tests. Run as `bun audit-crash.fixture.ts <directory> <batches>`.
 */

import type { FeedBatch } from "../brokers/feed.ts";

import { writeSync } from "node:fs";

import { createTestFeed, openAudit } from "./audit.fixture.ts";

const STDOUT = 1;

/** The same batches in every process: one order each; the cursor says which comes next. */
export function crashBatches(count: number): readonly FeedBatch[] {
  const feed = createTestFeed();
  return Array.from({ length: count }, (_, number) => ({
    records: feed.order(number),
    cursor: String(number + 1),
  }));
}

export function runCrashScript(directory: string, count: number): void {
  // Written at once and without a buffer of ours, so that a kill cannot take it back.
  const say = (line: string) => writeSync(STDOUT, `${line}\n`);
  const { projection } = openAudit(directory);
  const next = Number(projection.cursor() ?? 0);
  for (const [number, batch] of crashBatches(count).entries()) {
    if (number < next) continue;
    say(`try ${number}`);
    projection.apply(batch);
    say(`ok ${number}`);
    projection.maintain(number, 1);
  }
  projection.close();
}

if (import.meta.main) {
  const [directory = "", count = "0"] = process.argv.slice(2);
  runCrashScript(directory, Number(count));
}
