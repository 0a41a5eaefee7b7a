/** The journal's log as a feed: the suite of every feed, and what only a file can go through. */

import { Database } from "bun:sqlite";
import { afterAll, expect, test } from "bun:test";

import type { FeedHooks } from "../brokers/feed.suite.ts";
import type { Journal, JournalOptions } from "../stores/journal/journal-types.ts";

import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { FEED_PARTITIONS, FEED_TOPICS, testFeed } from "../brokers/feed.suite.ts";
import {
  commitOne,
  makeDirectory,
  openTestJournal,
  publish,
  removeDirectories,
  tamper,
  unitOf,
} from "../stores/journal/journal.fixture.ts";
import { journalPath } from "../stores/journal/journal.ts";
import { openJournalFeed } from "./journal-feed.ts";
import { LogWindow } from "./log-window.ts";

afterAll(removeDirectories);

const ALL_BYTES = 1_000_000;
const AGE_MS = 3_600_000;

testFeed("journal", () => feedHooks(undefined));
testFeed("shared journal", () => feedHooks(new LogWindow()));

async function feedHooks(window: LogWindow | undefined): Promise<FeedHooks> {
  const environment = createVirtualEnvironment();
  const directory = makeDirectory();
  const journal = openTestJournal(directory, {
    environment,
    topics: FEED_TOPICS,
    slots: FEED_PARTITIONS,
    tuning: { segmentRecords: 4 },
  });
  return {
    environment,
    async open(topics) {
      const feed = openJournalFeed({
        directory,
        name: "test",
        topics,
        environment,
        window,
        release: async ({ name, released }) => journal.releaseFeed(name, released),
        standing: async () => journal.feedStanding("test"),
      });
      journal.keepFeeds([{ name: "test", topics }]);
      return feed;
    },
    publish: (topic, frame) => void commitOne(journal, unitOf({ outgoing: [{ topic, frame }] })),
    prune: () => void journal.prune(environment.nowMs() + AGE_MS, ALL_BYTES),
    kept: (topic, partition) =>
      journal.read(topic, partition, 0, ALL_BYTES, ALL_BYTES).map(({ sequence }) => sequence),
    pass: (durationMs) => environment.advance(durationMs),
    stop: async () => journal.close(),
  };
}

/** A feed of all topics; the journal is open, or not, as the test likes. */
function feedOf(directory: string, journal?: Journal, topics: readonly string[] = ["orders"]) {
  return openJournalFeed({
    directory,
    name: "test",
    topics,
    environment: createVirtualEnvironment(),
    release: async ({ name, released }) => journal?.releaseFeed(name, released),
    standing: async () => journal?.feedStanding("test") ?? { records: 0 },
  });
}

test("a directory without a journal is refused", () => {
  expect(() => feedOf(makeDirectory())).toThrow("unable to open");
});

test("a commit is seen as soon as it was made, and an open feed is in nobody's way", async () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory, {
    tuning: { walFramesSoft: 10 },
  });
  const feed = feedOf(directory);
  let { cursor } = await feed.read(undefined, 10, ALL_BYTES);
  for (let round = 1; round <= 50; round++) {
    publish(journal, "orders", 1, 3);
    const batch = await feed.read(cursor, 10, ALL_BYTES);
    expect(batch.records.map(({ sequence }) => sequence)).toEqual([
      round * 3 - 2,
      round * 3 - 1,
      round * 3,
    ]);
    ({ cursor } = batch);
    journal.maintain();
  }
  // An open feed does not keep the journal from copying its WAL back.
  expect(journal.stats().checkpoints).toBeGreaterThan(1);
  await feed.close();
  journal.close();
});

test("a batch that ends early leaves no lock behind", async () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  publish(journal, "orders", 0, 100);
  const feed = feedOf(directory);
  await feed.read(undefined, 2, ALL_BYTES);
  await feed.read(undefined, 50, 1);
  journal.close();
  // A read transaction that is still open would be in the way of this.
  const handle = new Database(journalPath(directory));
  handle.run("DELETE FROM log WHERE id > 90");
  const truncated = handle.prepare<{ busy: number }, []>("PRAGMA wal_checkpoint(TRUNCATE)").get();
  expect(truncated?.busy).toBe(0);
  handle.close(true);
  await feed.close();
});

test("a damaged record is named, what is before it comes, and it can be passed by", async () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  publish(journal, "orders", 1, 5);
  journal.close();
  tamper(directory, "UPDATE log SET bytes = x'00' WHERE id = 3");
  const feed = feedOf(directory);
  const first = await feed.read(undefined, 10, ALL_BYTES);
  expect(first.records.map(({ sequence }) => sequence)).toEqual([1, 2]);
  await expect(feed.read(first.cursor, 10, ALL_BYTES)).rejects.toThrow("orders/1/3");
  await expect(feed.read(first.cursor, 10, ALL_BYTES)).rejects.toMatchObject({
    code: "DATA_DAMAGED",
  });
  const rest = await feed.read(await feed.passLoss(first.cursor), 10, ALL_BYTES);
  expect(rest.records.map(({ sequence }) => sequence)).toEqual([4, 5]);
  expect(await feed.lag(rest.cursor)).toEqual({ records: 0, ageMs: 0 });
  await feed.close();
});

test("a record whose place is damaged is damaged too, wherever it claims to be", async () => {
  for (const part of [-5, 3, 1_000]) {
    const directory = makeDirectory();
    const journal = openTestJournal(directory);
    publish(journal, "orders", 1, 4);
    journal.close();
    tamper(directory, `UPDATE log SET part = ${part} WHERE id = 2`);
    const feed = feedOf(directory, undefined, ["orders", "payments"]);
    const seen: number[] = [];
    let cursor: string | undefined;
    let losses = 0;
    while (seen.length < 3) {
      try {
        const batch = await feed.read(cursor, 10, ALL_BYTES);
        seen.push(...batch.records.map(({ sequence }) => sequence));
        ({ cursor } = batch);
      } catch {
        losses++;
        cursor = await feed.passLoss(cursor);
      }
    }
    expect(seen).toEqual([1, 3, 4]);
    // It is damaged where it stands, and missing where it belongs.
    expect(losses).toBe(2);
    await feed.close();
  }
});

test("a record that is missing between others is noticed when the next one comes", async () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  publish(journal, "orders", 1, 5);
  journal.close();
  tamper(directory, "DELETE FROM log WHERE id = 3");
  const feed = feedOf(directory);
  const first = await feed.read(undefined, 10, ALL_BYTES);
  expect(first.records).toHaveLength(2);
  const reading = feed.read(first.cursor, 10, ALL_BYTES);
  await expect(reading).rejects.toThrow("records 3 to 3 of orders/1 are gone");
  const rest = await feed.read(await feed.passLoss(first.cursor), 10, ALL_BYTES);
  expect(rest.records.map(({ sequence }) => sequence)).toEqual([4, 5]);
  await feed.close();
});

test("a log that ends before the cursor was replaced, and is gone on with at its end", async () => {
  const ahead = makeDirectory();
  const journal = openTestJournal(ahead);
  publish(journal, "orders", 1, 8);
  journal.close();
  const reader = feedOf(ahead);
  const { cursor } = await reader.read(undefined, 10, ALL_BYTES);
  await reader.close();

  const directory = makeDirectory();
  const older = openTestJournal(directory);
  publish(older, "orders", 1, 5);
  const feed = feedOf(directory);
  await expect(feed.read(cursor, 10, ALL_BYTES)).rejects.toMatchObject({ code: "STALE" });
  const passed = await feed.passLoss(cursor);
  expect((await feed.read(passed, 10, ALL_BYTES)).records).toEqual([]);
  publish(older, "orders", 1, 1);
  const next = await feed.read(passed, 10, ALL_BYTES);
  expect(next.records.map(({ sequence }) => sequence)).toEqual([6]);
  await feed.close();
  older.close();
});

test("a topic that the cursor does not know begins behind it", async () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  publish(journal, "orders", 1, 2);
  publish(journal, "payments", 1, 2);
  const narrow = feedOf(directory);
  const { cursor } = await narrow.read(undefined, 10, ALL_BYTES);
  await narrow.close();
  publish(journal, "payments", 1, 1);
  const wide = feedOf(directory, undefined, ["orders", "payments"]);
  const batch = await wide.read(cursor, 10, ALL_BYTES);
  expect(batch.records.map(({ topic, sequence }) => `${topic}/${sequence}`)).toEqual([
    "payments/3",
  ]);
  await wide.close();
  journal.close();
});

const options: Partial<JournalOptions> = { tuning: { segmentRecords: 2 } };

test("a feed holds the log over restarts, and a feed that is not kept any more does not", () => {
  const directory = makeDirectory();
  let journal = openTestJournal(directory, options);
  const later = createVirtualEnvironment().nowMs() + AGE_MS;
  const kept = (): number => journal.read("orders", 1, 0, 100, ALL_BYTES).length;
  expect(journal.keepFeeds([{ name: "one", topics: ["orders"] }])).toEqual([]);
  publish(journal, "orders", 1, 6);
  journal.releaseFeed("one", [{ topic: "orders", sequences: [0, 2, 0, 0] }]);
  journal.close();

  journal = openTestJournal(directory, options);
  expect(journal.keepFeeds([{ name: "one", topics: ["orders"] }])).toEqual([]);
  journal.prune(later, 100);
  expect(kept()).toBe(4);
  // Going back is no release; going beyond the log is cut off at its end.
  journal.releaseFeed("one", [{ topic: "orders", sequences: [0, 1, 0, 0] }]);
  journal.prune(later, 100);
  expect(kept()).toBe(4);
  expect(journal.keepFeeds([{ name: "two", topics: ["payments"] }])).toEqual(["one"]);
  expect(() => journal.releaseFeed("one", [])).toThrow("no");
  journal.prune(later, 100);
  expect(kept()).toBe(0);
  journal.releaseFeed("two", [{ topic: "payments", sequences: [9, 9, 9, 9] }]);
  publish(journal, "payments", 1, 2);
  journal.prune(later, 100);
  expect(journal.read("payments", 1, 0, 100, ALL_BYTES)).toHaveLength(2);
  journal.close();
});

test("a feed that reads less than before gives up the rest and keeps its place", () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory, options);
  const later = createVirtualEnvironment().nowMs() + AGE_MS;
  journal.keepFeeds([{ name: "one", topics: ["orders", "payments"] }]);
  publish(journal, "orders", 1, 6);
  publish(journal, "payments", 1, 6);
  journal.releaseFeed("one", [{ topic: "orders", sequences: [0, 4, 0, 0] }]);
  expect(journal.keepFeeds([{ name: "one", topics: ["orders"] }])).toEqual([]);
  journal.prune(later, 100);
  expect(journal.read("orders", 1, 0, 100, ALL_BYTES)).toHaveLength(2);
  expect(journal.read("payments", 1, 0, 100, ALL_BYTES)).toHaveLength(0);
  expect(() => journal.keepFeeds([{ name: "one", topics: ["nowhere"] }])).toThrow("nowhere");
  journal.close();
});
