/**
 * Readers of the log that keep their own cursor, as groups that hold back what they still need.
 *
 * A feed reads the file by itself and never settles a delivery; all the journal knows of it is how
 * far it has been released. A feed that is not wanted any more is forgotten, since it would hold
 * the log for ever. Refuses to release for a feed it does not keep.
 */

import type { JournalCore } from "./journal-core.ts";
import type { FeedGroup, FeedStanding, ReleasedTopic } from "./journal-types.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { feedGroup, feedOfGroup } from "./group-names.ts";

/** True when `keepFeeds` would change nothing: then it need not write to a disk that is full. */
export function areFeedsKept({ settle }: JournalCore, feeds: readonly FeedGroup[]): boolean {
  const wanted = new Set(feeds.map(({ name }) => feedGroup(name)));
  return (
    knownFeeds(settle.groups()).every((group) => wanted.has(group)) &&
    feeds.every(({ name, topics }) => {
      const known = topicsOf(settle.positions(feedGroup(name)));
      return known.size === topics.length && topics.every((topic) => known.has(topic));
    })
  );
}

/**
 * Registers `feeds` at the oldest record kept, leaves those alone that are known, and forgets every
 * other. Returns the names of the forgotten. Inside a transaction.
 */
export function keepFeeds(
  { settle, topology }: JournalCore,
  feeds: readonly FeedGroup[],
): readonly string[] {
  const wanted = new Set(feeds.map(({ name }) => feedGroup(name)));
  const gone = knownFeeds(settle.groups()).filter((group) => !wanted.has(group));
  for (const group of gone) settle.forget(group);
  for (const { name, topics } of feeds) {
    const group = feedGroup(name);
    const before = settle.positions(group);
    const isNarrower = [...topicsOf(before)].some((topic) => !topics.includes(topic));
    if (isNarrower) settle.forget(group);
    for (const topic of topics) {
      if (topology.firstPart(topic) === undefined) {
        throw new ShopError("UNKNOWN_TOPIC", `feed ${name} reads no topic ${topic}`, "never");
      }
      settle.register(group, topic, "earliest");
    }
    if (!isNarrower) continue;
    for (const { topic, partition, position } of before) {
      if (topics.includes(topic)) settle.advance(group, topic, partition, position);
    }
  }
  return gone.map((group) => feedOfGroup(group) ?? group);
}

/** Everything up to `released` is safe with the feed. Inside a transaction. */
export function releaseFeed(
  { settle }: JournalCore,
  name: string,
  released: readonly ReleasedTopic[],
): void {
  const group = feedGroup(name);
  if (!settle.groups().includes(group)) {
    throw new ShopError("STALE", `the journal keeps nothing for a feed ${name}`, "never");
  }
  for (const { topic, sequences } of released) {
    sequences.forEach((sequence, partition) => settle.advance(group, topic, partition, sequence));
  }
}

/** What the feed has not released, and when the oldest of it was stored. */
export function feedStanding({ settle, log }: JournalCore, name: string): FeedStanding {
  let records = 0;
  let oldestId: number | undefined;
  for (const { consumer, partition, last } of settle.parts(feedGroup(name))) {
    const position = consumer.sets[partition]?.position ?? last;
    if (last <= position) continue;
    records += last - position;
    const id = log.idOf(consumer.firstPart + partition, position + 1);
    if (id !== undefined && (oldestId === undefined || id < oldestId)) oldestId = id;
  }
  const oldestAtMs = oldestId === undefined ? undefined : log.storedAtMs(oldestId);
  return { records, ...(oldestAtMs === undefined ? {} : { oldestAtMs }) };
}

function knownFeeds(groups: readonly string[]): readonly string[] {
  return groups.filter((group) => feedOfGroup(group) !== undefined);
}

function topicsOf(positions: readonly { readonly topic: string }[]): ReadonlySet<string> {
  return new Set(positions.map(({ topic }) => topic));
}
