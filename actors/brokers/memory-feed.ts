/**
 * A feed over a log in memory: for tests of what is made of feeds, and the reference for others.
 *
 * It holds back the pruning of that log as a group of its own. A log in memory does not note when
 * a record came, so the time in the frame's header stands for it. Refuses topics without a log.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Feed, FeedBatch, FeedCursor, FeedLag, FeedRecord } from "./feed.ts";
import type { FeedPlace } from "./feed-cursor.ts";
import type { MemoryLog } from "./memory-log.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import { checkFrame, frameTimeMs } from "../../runtime/frames/frame.ts";
import {
  copyPlace,
  decodeCursor,
  encodeCursor,
  lossBefore,
  sequenceAt,
  setSequence,
} from "./feed-cursor.ts";

export interface MemoryFeedOptions {
  readonly log: MemoryLog;
  readonly name: string;
  readonly topics: readonly string[];
  readonly environment: Environment;
}

/** Throws `UNKNOWN_TOPIC`. */
export function openMemoryFeed(options: MemoryFeedOptions): Feed {
  const { log, topics } = options;
  const unknown = topics.find((topic) => !log.topics.includes(topic));
  if (unknown !== undefined) {
    const message = `no topic ${unknown}; there are ${log.topics.join(", ")}`;
    throw new ShopError("UNKNOWN_TOPIC", message, "never");
  }
  log.registerGroup(groupOf(options.name), topics, "earliest");
  return new MemoryFeed(options);
}

class MemoryFeed implements Feed {
  readonly #options: MemoryFeedOptions;
  #isClosed = false;

  constructor(options: MemoryFeedOptions) {
    this.#options = options;
  }

  async read(
    cursor: FeedCursor | undefined,
    recordsMax: number,
    bytesMax: number,
  ): Promise<FeedBatch> {
    this.#refuseWhenClosed();
    assert(recordsMax >= 1, `a batch of ${recordsMax} records`);
    const place = copyPlace(this.#placeOf(cursor));
    const records: FeedRecord[] = [];
    let bytesLeft = bytesMax;
    for (const [topic, partition] of this.#parts()) {
      const last = sequenceAt(place, topic, partition);
      const following = this.#recordsAfter(topic, partition, last, recordsMax);
      const tail = this.#tail(topic, partition);
      if (following.length === 0 && tail > last && records.length === 0) {
        throw stale(`records ${last + 1} to ${tail} of ${topic}/${partition} are gone`);
      }
      for (const record of following) {
        if (records.length === recordsMax) break;
        const loss = lossBefore(
          `${topic}/${partition}`,
          sequenceAt(place, topic, partition),
          record.sequence,
        );
        if (loss !== undefined && records.length === 0) throw stale(loss);
        const isOver = records.length > 0 && record.bytes.length > bytesLeft;
        if (loss !== undefined || isOver) break;
        records.push(record);
        bytesLeft -= record.bytes.length;
        setSequence(place, topic, partition, record.sequence);
        place.count++;
      }
    }
    return { records, cursor: encodeCursor(place) };
  }

  async passLoss(cursor: FeedCursor | undefined): Promise<FeedCursor> {
    this.#refuseWhenClosed();
    const place = copyPlace(this.#placeOf(cursor));
    for (const [topic, partition] of this.#parts()) {
      const last = sequenceAt(place, topic, partition);
      const [next] = this.#recordsAfter(topic, partition, last, 1);
      const before = next === undefined ? this.#tail(topic, partition) : next.sequence - 1;
      setSequence(place, topic, partition, before);
    }
    return encodeCursor(place);
  }

  async release(cursor: FeedCursor): Promise<void> {
    this.#refuseWhenClosed();
    const { log } = this.#options;
    const group = groupOf(this.#options.name);
    const place = decodeCursor(cursor);
    for (const [topic, partition] of this.#parts()) {
      const through = sequenceAt(place, topic, partition);
      const { position } = log.stored(group, topic, partition);
      for (let sequence = position + 1; sequence <= through; sequence++) {
        log.settle({ group, topic, partition, sequence, epoch: 0 });
      }
    }
  }

  async lag(cursor: FeedCursor | undefined): Promise<FeedLag> {
    this.#refuseWhenClosed();
    const place = this.#placeOf(cursor);
    return this.#lagAfter((topic, partition) => sequenceAt(place, topic, partition));
  }

  async unreleased(): Promise<FeedLag> {
    this.#refuseWhenClosed();
    const { log, name } = this.#options;
    return this.#lagAfter((topic, part) => log.stored(groupOf(name), topic, part).position);
  }

  #lagAfter(lastOf: (topic: string, partition: number) => number): FeedLag {
    let records = 0;
    let oldestMs = this.#options.environment.nowMs();
    for (const [topic, partition] of this.#parts()) {
      const last = lastOf(topic, partition);
      const after = this.#recordsAfter(topic, partition, last, Number.MAX_SAFE_INTEGER);
      records += after.length;
      for (const { storedAtMs } of after) oldestMs = Math.min(oldestMs, storedAtMs);
    }
    return { records, ageMs: this.#options.environment.nowMs() - oldestMs };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #recordsAfter(topic: string, partition: number, last: number, recordsMax: number): FeedRecord[] {
    return this.#options.log
      .read(topic, partition, last, recordsMax, Number.MAX_SAFE_INTEGER)
      .map(({ sequence, bytes }) => {
        const isFrame = checkFrame(bytes) === undefined;
        const storedAtMs = isFrame ? frameTimeMs(bytes) : this.#options.environment.nowMs();
        return { topic, partition, sequence, bytes, storedAtMs };
      });
  }

  /** The newest sequence there ever was. */
  #tail(topic: string, partition: number): number {
    const { log, name } = this.#options;
    return log.stored(groupOf(name), topic, partition).tail;
  }

  *#parts(): Iterable<readonly [topic: string, partition: number]> {
    const { topics, log } = this.#options;
    for (const topic of topics) {
      for (let partition = 0; partition < log.partitions; partition++) yield [topic, partition];
    }
  }

  #placeOf(cursor: FeedCursor | undefined): FeedPlace {
    if (cursor !== undefined) return decodeCursor(cursor);
    const place: FeedPlace = { id: 0, count: 0, sequences: {} };
    const { topics, log } = this.#options;
    const sequences = topics.map((topic) => {
      const firsts = Array.from({ length: log.partitions }, (_, partition) => {
        const [oldest] = this.#recordsAfter(topic, partition, 0, 1);
        return oldest === undefined ? this.#tail(topic, partition) : oldest.sequence - 1;
      });
      return [topic, firsts] as const;
    });
    return { ...place, sequences: Object.fromEntries(sequences) };
  }

  #refuseWhenClosed(): void {
    if (!this.#isClosed) return;
    throw new ShopError("CLOSED", `the feed ${this.#options.name} is closed`, "never");
  }
}

function groupOf(name: string): string {
  return `view.${name}`;
}

function stale(message: string): ShopError {
  return new ShopError("STALE", message, "never");
}
