/**
 * Entry of a views' thread whose views count what they are given: how often each record came.
 *
 * Only for tests. Each view keeps `<directory>/<view>-seen.db` and breaks, as a bug would, while
 * there is a file `<directory>/break-<view>`.
 */

import type { FeedBatch, Projection } from "../actors/brokers/feed.ts";
import type { View } from "../actors/contracts/topics.ts";
import type { ViewsThreadData } from "../actors/views/views-runner.ts";

import { Database } from "bun:sqlite";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { workerData } from "node:worker_threads";

import { VIEWS } from "../actors/contracts/topics.ts";
import { runViews } from "../actors/views/views-runner.ts";
import { InvariantError } from "../runtime/errors.ts";

function openCounting(directory: string, name: View): Projection {
  const handle = new Database(join(directory, `${name}-seen.db`));
  handle.run("PRAGMA journal_mode = WAL");
  handle.run("CREATE TABLE IF NOT EXISTS place (id INTEGER PRIMARY KEY, cursor TEXT NOT NULL)");
  handle.run(
    `CREATE TABLE IF NOT EXISTS seen (topic TEXT, partition INTEGER, sequence INTEGER,
     times INTEGER, PRIMARY KEY (topic, partition, sequence))`,
  );
  const count = handle.prepare<unknown, [string, number, number]>(
    "INSERT INTO seen VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1",
  );
  const put = handle.prepare<unknown, [string]>("INSERT OR REPLACE INTO place VALUES (1, ?)");
  const place = handle.prepare<{ cursor: string }, []>("SELECT cursor FROM place");
  return {
    name,
    topics: VIEWS[name],
    cursor: () => place.get()?.cursor,
    apply({ records, cursor }: FeedBatch) {
      if (existsSync(join(directory, `break-${name}`))) throw new InvariantError("on request");
      handle.transaction(() => {
        for (const { topic, partition, sequence } of records) count.run(topic, partition, sequence);
        put.run(cursor);
      })();
    },
    maintain: () => undefined,
    close: () => handle.close(true),
  };
}

// Made by the parent, which is of this build.
await runViews(workerData as ViewsThreadData, ({ views }, { directory }) =>
  views.map((name) => ({ name, kind: "projection", open: () => openCounting(directory, name) })),
);
