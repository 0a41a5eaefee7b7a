/**
 * The conformance suite that every feed runs: what a reader may rely on, whatever the log.
 *
 * Cases know the port alone and what a host brings: a log to publish to and to prune. Nothing
 * waits for time to pass; a feed is asked, and answers what there is.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { Environment } from "../../runtime/environment.ts";
import type { Feed, FeedBatch, FeedCursor, FeedRecord } from "./feed.ts";

import { assert } from "../../runtime/errors.ts";
import { encodeFrame } from "../../runtime/frames/frame.ts";

export const FEED_TOPICS = ["alpha", "beta"] as const;
export const FEED_PARTITIONS = 3;
type FeedTopic = (typeof FEED_TOPICS)[number];

const ALL_BYTES = 1_000_000;
const CASE_TIMEOUT_MS = 60_000;
const FRAME_TYPE = 900;
const PAGE_RECORDS = 7;

/** A log of two topics, and feeds on it. One set of hooks serves one case. */
export interface FeedHooks {
  readonly environment: Environment;
  /** The same name again after a close goes on where the log knows it. Throws `UNKNOWN_TOPIC`. */
  open(topics: readonly string[]): Promise<Feed>;
  publish(topic: FeedTopic, frame: Uint8Array): void;
  /** Removes everything that no reader needs. */
  prune(): void;
  /** Sequences that are still in the log. */
  kept(topic: FeedTopic, partition: number): readonly number[];
  pass(durationMs: number): Promise<void>;
  stop(): Promise<void>;
}

/** Registers the suite for one feed. `newHooks` is called once per case. */
export function testFeed(name: string, newHooks: () => Promise<FeedHooks>): void {
  describe(`${name} feed`, () => {
    for (const [sentence, run] of CASES) {
      test(
        sentence,
        async () => {
          const hooks = await newHooks();
          try {
            await run(new FeedBench(hooks));
          } finally {
            await hooks.stop();
          }
        },
        CASE_TIMEOUT_MS,
      );
    }
    test(
      "any mixture of publishing, reading, reopening and pruning gives each once",
      () =>
        fc.assert(
          fc.asyncProperty(fc.array(fc.nat(99), { maxLength: 60 }), (moves) =>
            playMoves(newHooks, moves),
          ),
          { numRuns: 25 },
        ),
      CASE_TIMEOUT_MS,
    );
  });
}

class FeedBench {
  readonly hooks: FeedHooks;
  #published = 0;

  constructor(hooks: FeedHooks) {
    this.hooks = hooks;
  }

  open(topics: readonly string[] = FEED_TOPICS): Promise<Feed> {
    return this.hooks.open(topics);
  }

  /** Publishes one record; its payload is its number in the test. */
  publish(topic: FeedTopic, partition: number, payloadBytes = 0): void {
    const text = new TextEncoder().encode(`${++this.#published}`);
    const payload = new Uint8Array(Math.max(payloadBytes, text.length));
    payload.set(text);
    const frame = encodeFrame({
      type: FRAME_TYPE,
      slot: partition,
      key: "k",
      payload,
      id: this.hooks.environment.newId(),
      timeMs: this.hooks.environment.nowMs(),
    });
    this.hooks.publish(topic, frame);
  }

  publishMany(topic: FeedTopic, partition: number, count: number): void {
    for (let index = 0; index < count; index++) this.publish(topic, partition);
  }
}

/** Reads until nothing comes, `recordsMax` at a time. */
async function readAll(feed: Feed, from?: FeedCursor, recordsMax = PAGE_RECORDS) {
  const records: FeedRecord[] = [];
  const batches: FeedBatch[] = [];
  let cursor = from;
  for (;;) {
    const batch = await feed.read(cursor, recordsMax, ALL_BYTES);
    cursor = batch.cursor;
    if (batch.records.length === 0) return { records, batches, cursor };
    records.push(...batch.records);
    batches.push(batch);
  }
}

const placesOf = (records: readonly FeedRecord[]): string[] =>
  records.map(({ topic, partition, sequence }) => `${topic}/${partition}/${sequence}`);

const sorted = (texts: readonly string[]): string[] => texts.toSorted();

const CASES: readonly (readonly [string, (bench: FeedBench) => Promise<void>])[] = [
  ["every record comes once, in the order of its partition, as it was published", everyRecord],
  ["an empty log gives nothing, and its cursor goes on with what comes later", emptyLog],
  ["a reader that comes back with its cursor gets what follows it and nothing else", resume],
  ["a batch keeps to its bytes, and one record that is larger comes alone", bytesMax],
  ["records of other topics are left out, also when there are many", otherTopics],
  ["a topic that does not exist is refused by name", unknownTopic],
  ["what was not released stays however old it is, and goes once it is released", release],
  ["without a cursor it begins at the oldest record that is kept", oldest],
  ["a reader whose next record is gone is told, also when none follows", stale],
  ["a reader that passes over a loss gets what is kept, and nothing twice", passLoss],
  ["lag counts the records that follow and tells the age of the first", lag],
  ["what was not released is counted, with the age of the first, at no cursor", unreleased],
  ["a cursor that no feed wrote is refused", badCursor],
  ["a closed feed answers nothing, and closing again is no error", closed],
];

async function everyRecord(bench: FeedBench): Promise<void> {
  const feed = await bench.open();
  for (let index = 0; index < 30; index++) bench.publish(index % 2 ? "alpha" : "beta", index % 3);
  const { records, batches } = await readAll(feed);
  expect(batches.every((batch) => batch.records.length <= PAGE_RECORDS)).toBe(true);
  const next = new Map<string, number>();
  const numbers = new Map<string, number>();
  for (const { topic, partition, sequence, bytes, storedAtMs } of records) {
    const place = `${topic}/${partition}`;
    expect(sequence).toBe(next.get(place) ?? 1);
    next.set(place, sequence + 1);
    expect(storedAtMs).toBe(bench.hooks.environment.nowMs());
    const number = Number(new TextDecoder().decode(bytes).match(/\d+$/)?.[0]);
    expect(number).toBeGreaterThan(numbers.get(place) ?? 0);
    numbers.set(place, number);
  }
  expect(records).toHaveLength(30);
}

async function emptyLog(bench: FeedBench): Promise<void> {
  const feed = await bench.open();
  const first = await feed.read(undefined, 10, ALL_BYTES);
  expect(first.records).toEqual([]);
  expect(await feed.lag(undefined)).toEqual({ records: 0, ageMs: 0 });
  bench.publish("beta", 2);
  const second = await feed.read(first.cursor, 10, ALL_BYTES);
  expect(placesOf(second.records)).toEqual(["beta/2/1"]);
}

async function resume(bench: FeedBench): Promise<void> {
  let feed = await bench.open();
  bench.publishMany("alpha", 0, 5);
  bench.publishMany("beta", 1, 5);
  const { records, cursor } = await feed.read(undefined, 4, ALL_BYTES);
  await feed.close();
  bench.publishMany("alpha", 0, 2);
  feed = await bench.open();
  const rest = await readAll(feed, cursor);
  expect(rest.records).toHaveLength(8);
  expect(new Set(placesOf([...records, ...rest.records])).size).toBe(12);
  expect((await feed.read(rest.cursor, 10, ALL_BYTES)).records).toEqual([]);
}

async function bytesMax(bench: FeedBench): Promise<void> {
  const feed = await bench.open();
  for (let index = 0; index < 4; index++) bench.publish("alpha", 1, 400);
  bench.publish("alpha", 1, 5_000);
  bench.publish("alpha", 1, 400);
  const sizes: number[] = [];
  let cursor: FeedCursor | undefined;
  for (;;) {
    const batch = await feed.read(cursor, 100, 1_200);
    ({ cursor } = batch);
    if (batch.records.length === 0) break;
    sizes.push(batch.records.length);
  }
  expect(sizes).toEqual([2, 2, 1, 1]);
}

async function otherTopics(bench: FeedBench): Promise<void> {
  const feed = await bench.open(["beta"]);
  bench.publishMany("alpha", 0, 50);
  bench.publish("beta", 0);
  bench.publishMany("alpha", 0, 50);
  expect(await feed.lag(undefined)).toMatchObject({ records: 1 });
  const { records, cursor } = await readAll(feed);
  expect(placesOf(records)).toEqual(["beta/0/1"]);
  expect(await feed.lag(cursor)).toEqual({ records: 0, ageMs: 0 });
}

async function unknownTopic(bench: FeedBench): Promise<void> {
  expect(await codeOf(bench.open(["alpha", "gamma"]))).toBe("UNKNOWN_TOPIC");
}

async function release(bench: FeedBench): Promise<void> {
  const feed = await bench.open();
  bench.publishMany("alpha", 1, 20);
  bench.hooks.prune();
  expect(bench.hooks.kept("alpha", 1)).toHaveLength(20);
  const { cursor } = await feed.read(undefined, 8, ALL_BYTES);
  bench.hooks.prune();
  expect(bench.hooks.kept("alpha", 1)).toHaveLength(20);
  await feed.release(cursor);
  bench.hooks.prune();
  expect(bench.hooks.kept("alpha", 1)[0]).toBe(9);
  const { records } = await readAll(feed, cursor);
  expect(records).toHaveLength(12);
}

async function oldest(bench: FeedBench): Promise<void> {
  const feed = await bench.open();
  bench.publishMany("alpha", 1, 10);
  bench.publishMany("beta", 2, 3);
  const { cursor } = await readAll(feed);
  await feed.release(cursor);
  bench.hooks.prune();
  bench.publish("alpha", 1);
  const { records } = await readAll(feed);
  expect(sorted(placesOf(records))).toEqual(["alpha/1/11"]);
}

async function stale(bench: FeedBench): Promise<void> {
  const { feed, early } = await loseSome(bench);
  const error = await errorOf(feed.read(early, 10, ALL_BYTES));
  expect(error.code).toBe("STALE");
  expect(error.message).toContain("alpha/1");
  const later = await bench.open();
  expect(await codeOf(later.read(early, 10, ALL_BYTES))).toBe("STALE");
}

async function passLoss(bench: FeedBench): Promise<void> {
  const { feed, early } = await loseSome(bench);
  bench.publish("alpha", 1);
  expect(await codeOf(feed.read(early, 10, ALL_BYTES))).toBe("STALE");
  const cursor = await feed.passLoss(early);
  const { records, cursor: end } = await readAll(feed, cursor);
  expect(placesOf(records)).toEqual(["alpha/1/11"]);
  bench.publish("alpha", 1);
  expect(placesOf((await readAll(feed, end)).records)).toEqual(["alpha/1/12"]);
}

/** Ten records of which the reader at `early` has read four; all are released and gone. */
async function loseSome(
  bench: FeedBench,
): Promise<{ readonly feed: Feed; readonly early: FeedCursor }> {
  const feed = await bench.open();
  bench.publishMany("alpha", 1, 10);
  const { cursor: early } = await feed.read(undefined, 4, ALL_BYTES);
  const { cursor: end } = await readAll(feed, early);
  await feed.release(end);
  bench.hooks.prune();
  expect(bench.hooks.kept("alpha", 1)).toEqual([]);
  return { feed, early };
}

async function lag(bench: FeedBench): Promise<void> {
  const feed = await bench.open();
  bench.publishMany("alpha", 0, 3);
  await bench.hooks.pass(500);
  bench.publishMany("beta", 1, 4);
  await bench.hooks.pass(250);
  expect(await feed.lag(undefined)).toEqual({ records: 7, ageMs: 750 });
  const { cursor } = await feed.read(undefined, 3, ALL_BYTES);
  expect(await feed.lag(cursor)).toEqual({ records: 4, ageMs: 250 });
  const { cursor: end } = await readAll(feed, cursor);
  expect(await feed.lag(end)).toEqual({ records: 0, ageMs: 0 });
  bench.publishMany("alpha", 2, 2);
  expect(await feed.lag(end)).toEqual({ records: 2, ageMs: 0 });
  // An older cursor still counts from where it stands.
  expect(await feed.lag(cursor)).toMatchObject({ records: 6 });
}

async function unreleased(bench: FeedBench): Promise<void> {
  const feed = await bench.open();
  expect(await feed.unreleased()).toEqual({ records: 0, ageMs: 0 });
  bench.publishMany("alpha", 0, 3);
  await bench.hooks.pass(500);
  bench.publishMany("beta", 1, 4);
  await bench.hooks.pass(250);
  expect(await feed.unreleased()).toEqual({ records: 7, ageMs: 750 });
  const two = await feed.read(undefined, 2, ALL_BYTES);
  expect(placesOf(two.records)).toEqual(["alpha/0/1", "alpha/0/2"]);
  expect(await feed.unreleased()).toMatchObject({ records: 7 });
  await feed.release(two.cursor);
  expect(await feed.unreleased()).toEqual({ records: 5, ageMs: 750 });
  const { cursor } = await feed.read(two.cursor, 1, ALL_BYTES);
  await feed.release(cursor);
  expect(await feed.unreleased()).toEqual({ records: 4, ageMs: 250 });
  bench.hooks.prune();
  expect(await feed.unreleased()).toEqual({ records: 4, ageMs: 250 });
  await feed.release((await readAll(feed, cursor)).cursor);
  expect(await feed.unreleased()).toEqual({ records: 0, ageMs: 0 });
}

async function badCursor(bench: FeedBench): Promise<void> {
  const feed = await bench.open();
  bench.publish("alpha", 0);
  for (const text of ["", "7", "null", '{"id":1}', '{"id":-1,"count":0,"sequences":{}}']) {
    expect(await codeOf(feed.read(text, 1, ALL_BYTES))).toBe("DATA_DAMAGED");
  }
}

async function closed(bench: FeedBench): Promise<void> {
  const feed = await bench.open();
  const { cursor } = await feed.read(undefined, 1, ALL_BYTES);
  await feed.close();
  await feed.close();
  expect(await codeOf(feed.read(cursor, 1, ALL_BYTES))).toBe("CLOSED");
  expect(await codeOf(feed.lag(cursor))).toBe("CLOSED");
  expect(await codeOf(feed.release(cursor))).toBe("CLOSED");
  expect(await codeOf(feed.unreleased())).toBe("CLOSED");
}

/** Each number is one move; what came must be what was published, each once, in order. */
async function playMoves(
  newHooks: () => Promise<FeedHooks>,
  moves: readonly number[],
): Promise<void> {
  const hooks = await newHooks();
  const bench = new FeedBench(hooks);
  const next = new Map<string, number>();
  let feed = await bench.open();
  let cursor: FeedCursor | undefined;
  let published = 0;
  let seen = 0;
  async function read(recordsMax: number, bytes: number): Promise<number> {
    const batch = await feed.read(cursor, recordsMax, bytes);
    for (const { topic, partition, sequence } of batch.records) {
      expect(sequence).toBe(next.get(`${topic}/${partition}`) ?? 1);
      next.set(`${topic}/${partition}`, sequence + 1);
    }
    ({ cursor } = batch);
    seen += batch.records.length;
    return batch.records.length;
  }
  for (const move of moves) {
    if (move < 50) {
      const topic = FEED_TOPICS[move % FEED_TOPICS.length];
      assert(topic !== undefined, "there is a topic");
      bench.publish(topic, move % FEED_PARTITIONS);
      published++;
    } else if (move < 80) {
      await read((move % 5) + 1, (move % 3) * 200);
    } else if (move < 88) {
      await feed.close();
      feed = await bench.open();
    } else if (move < 94) {
      if (cursor !== undefined) await feed.release(cursor);
    } else hooks.prune();
  }
  expect((await feed.lag(cursor)).records).toBe(published - seen);
  for (;;) if ((await read(3, ALL_BYTES)) === 0) break;
  expect(seen).toBe(published);
  await hooks.stop();
}

async function errorOf(
  promise: Promise<unknown>,
): Promise<{ readonly code: string; readonly message: string }> {
  try {
    await promise;
  } catch (error) {
    assert(error instanceof Error && "code" in error, `not an expected failure: ${String(error)}`);
    return { code: String(error.code), message: error.message };
  }
  return { code: "none", message: "" };
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return (await errorOf(promise)).code;
}
