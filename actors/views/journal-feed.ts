/**
 * The journal's log as a feed: read from the file by the thread that wants it, at its own pace.
 *
 * Nothing passes through the journal's thread but the release of what is not needed any more, and
 * the question what has not been released. A
 * record is handed out once, checked against its checksum and against the sequence that must
 * follow in its partition. Refuses to go on over a record that is damaged or gone, until it is
 * told to with `passLoss`.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Feed, FeedBatch, FeedCursor, FeedLag, FeedRecord } from "../brokers/feed.ts";
import type { FeedPlace } from "../brokers/feed-cursor.ts";
import type { FeedRelease, FeedStanding } from "../stores/journal/journal-types.ts";
import type { LogReader, LogRow } from "./log-reader.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import {
  copyPlace,
  decodeCursor,
  encodeCursor,
  lossBefore,
  sequenceAt,
  setSequence,
  UNKNOWN_SEQUENCE,
} from "../brokers/feed-cursor.ts";
import { sqliteFailure, storageError } from "../stores/journal/sqlite-failure.ts";
import { isIntact, openLogReader } from "./log-reader.ts";

export interface JournalFeedOptions {
  readonly directory: string;
  /** As the journal keeps it, see `Journal.keepFeeds`. */
  readonly name: string;
  readonly topics: readonly string[];
  readonly environment: Environment;
  /** Tells the journal; resolves once it has put it down. */
  readonly release: (release: FeedRelease) => Promise<void>;
  /** Asks the journal what has not been released to it. */
  readonly standing: () => Promise<FeedStanding>;
}

/** Throws `STORAGE_FAULT` while `directory` has no journal, and `UNKNOWN_TOPIC`. */
export function openJournalFeed(options: JournalFeedOptions): Feed {
  return new JournalFeed(options);
}

class JournalFeed implements Feed {
  readonly #options: JournalFeedOptions;
  readonly #reader: LogReader;
  /** The place behind the last batch: the cursor that is nearly always asked for. */
  #known: { readonly cursor: FeedCursor; readonly place: FeedPlace } | undefined;
  /** Records up to `id`, counted on from some place, so that none is counted twice. */
  #counted: { readonly id: number; readonly records: number } | undefined;
  #isClosed = false;

  constructor(options: JournalFeedOptions) {
    this.#options = options;
    this.#reader = guarded(() => openLogReader(options.directory, options.topics));
  }

  read(cursor: FeedCursor | undefined, recordsMax: number, bytesMax: number): Promise<FeedBatch> {
    return this.#run(() => {
      assert(recordsMax >= 1, `a batch of ${recordsMax} records`);
      const place = this.#placeOf(cursor);
      if (cursor === undefined || cursor !== this.#known?.cursor) this.#checkKept(place);
      const lastId = this.#reader.lastId();
      if (place.id > lastId) throw stale(endsBefore(place.id, lastId));
      if (place.id === lastId && cursor !== undefined) return { records: [], cursor };
      return this.#take(place, lastId, recordsMax, bytesMax);
    });
  }

  passLoss(cursor: FeedCursor | undefined): Promise<FeedCursor> {
    return this.#run(() => {
      const place = copyPlace(this.#placeOf(cursor));
      const lastId = this.#reader.lastId();
      if (place.id > lastId) {
        place.id = lastId;
        for (const list of Object.values(place.sequences)) list.fill(UNKNOWN_SEQUENCE);
        return encodeCursor(place);
      }
      const gone = this.#reader.gone();
      this.#eachPart((topic, partition) => {
        const last = sequenceAt(place, topic, partition);
        if (last === UNKNOWN_SEQUENCE) return;
        setSequence(place, topic, partition, Math.max(last, gone(topic, partition)));
      });
      for (const row of this.#reader.rows(place.id, lastId)) {
        this.#passRow(place, row);
        break;
      }
      return encodeCursor(place);
    });
  }

  async release(cursor: FeedCursor): Promise<void> {
    const place = await this.#run(() => this.#placeOf(cursor));
    const { name, topics, release } = this.#options;
    const released = topics.map((topic) => ({
      topic,
      sequences: (place.sequences[topic] ?? []).map((sequence) => Math.max(0, sequence)),
    }));
    await release({ name, released });
  }

  lag(cursor: FeedCursor | undefined): Promise<FeedLag> {
    return this.#run(() => {
      const place = this.#placeOf(cursor);
      const lastId = this.#reader.lastId();
      if (place.id >= lastId) return { records: 0, ageMs: 0 };
      const known = this.#counted;
      const from =
        known === undefined || known.id < place.id || known.id > lastId
          ? { id: place.id, records: place.count }
          : known;
      const counted = from.records + this.#reader.count(from.id, lastId);
      this.#counted = { id: lastId, records: counted };
      const records = counted - place.count;
      const atMs = records === 0 ? undefined : this.#reader.nextAtMs(place.id);
      if (atMs === undefined) return { records, ageMs: 0 };
      return { records, ageMs: Math.max(0, this.#options.environment.nowMs() - atMs) };
    });
  }

  async unreleased(): Promise<FeedLag> {
    await this.#run(() => undefined);
    const { environment, standing } = this.#options;
    const { records, oldestAtMs } = await standing();
    const ageMs = oldestAtMs === undefined ? 0 : environment.nowMs() - oldestAtMs;
    return { records, ageMs: Math.max(0, ageMs) };
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#reader.close();
  }

  #take(from: FeedPlace, lastId: number, recordsMax: number, bytesMax: number): FeedBatch {
    const place = copyPlace(from);
    const records: FeedRecord[] = [];
    let bytesLeft = bytesMax;
    let isCut = false;
    for (const row of this.#reader.rows(from.id, lastId)) {
      const found = this.#recordOf(row, place);
      const isLoss = found instanceof ShopError;
      isCut = records.length > 0 && (isLoss || row.bytes.length > bytesLeft);
      if (isCut) break;
      if (isLoss) throw found;
      const { topic, partition, sequence, bytes } = found;
      records.push(found);
      setSequence(place, topic, partition, sequence);
      place.id = row.id;
      place.count++;
      bytesLeft -= bytes.length;
      isCut = records.length === recordsMax;
      if (isCut) break;
    }
    if (!isCut) place.id = lastId;
    const cursor = encodeCursor(place);
    this.#known = { cursor, place };
    const counted = this.#counted;
    if (counted !== undefined && counted.id < place.id) {
      this.#counted = { id: place.id, records: place.count };
    }
    return { records, cursor };
  }

  /** The record of `row`, the next one after `place`, or why it cannot be handed out. */
  #recordOf(row: LogRow, place: FeedPlace): FeedRecord | ShopError {
    const found = this.#reader.placeOf(row.part);
    if (found === undefined || !isIntact(row)) {
      const where =
        found === undefined ? "" : `, ${found.topic}/${found.partition}/${row.sequence},`;
      const message = `record ${row.id}${where} of the log is damaged: bad checksum`;
      return new ShopError("DATA_DAMAGED", message, "never");
    }
    const { topic, partition } = found;
    const last = sequenceAt(place, topic, partition);
    const loss = lossBefore(`${topic}/${partition}`, last, row.sequence);
    if (loss !== undefined) return stale(loss);
    return { topic, partition, sequence: row.sequence, bytes: row.bytes, storedAtMs: row.at };
  }

  /** Makes `row`, the next one, follow; one that is damaged counts as passed. */
  #passRow(place: FeedPlace, row: LogRow): void {
    const found = this.#reader.placeOf(row.part);
    if (found !== undefined) {
      const { topic, partition } = found;
      const last = sequenceAt(place, topic, partition);
      const follows = last !== UNKNOWN_SEQUENCE && row.sequence === last + 1;
      if (!follows) setSequence(place, topic, partition, UNKNOWN_SEQUENCE);
      if (isIntact(row)) return;
      if (follows) setSequence(place, topic, partition, row.sequence);
    }
    place.id = row.id;
    place.count++;
  }

  /** What was read may be gone; what was not must be there, even where nothing follows it. */
  #checkKept(place: FeedPlace): void {
    const gone = this.#reader.gone();
    this.#eachPart((topic, partition) => {
      const last = sequenceAt(place, topic, partition);
      const through = gone(topic, partition);
      if (last === UNKNOWN_SEQUENCE || through <= last) return;
      throw stale(`records ${last + 1} to ${through} of ${topic}/${partition} are gone`);
    });
  }

  /** A topic that the cursor does not know begins behind it. */
  #placeOf(cursor: FeedCursor | undefined): FeedPlace {
    if (cursor !== undefined && cursor === this.#known?.cursor) return this.#known.place;
    const { topics } = this.#options;
    const found = cursor === undefined ? undefined : decodeCursor(cursor);
    const gone = found === undefined ? this.#reader.gone() : undefined;
    const sequences: Record<string, number[]> = {};
    for (const topic of topics) {
      const stored = found?.sequences[topic];
      sequences[topic] = Array.from(
        { length: this.#reader.slots },
        (_, partition) => stored?.[partition] ?? gone?.(topic, partition) ?? UNKNOWN_SEQUENCE,
      );
    }
    return { id: found?.id ?? 0, count: found?.count ?? 0, sequences };
  }

  #eachPart(look: (topic: string, partition: number) => void): void {
    for (const topic of this.#options.topics) {
      for (let partition = 0; partition < this.#reader.slots; partition++) look(topic, partition);
    }
  }

  /** One look at the log: everything `work` sees is of the same moment. */
  async #run<T>(work: () => T): Promise<T> {
    if (this.#isClosed) {
      throw new ShopError("CLOSED", `the feed ${this.#options.name} is closed`, "never");
    }
    return guarded(() => this.#reader.snapshot(work));
  }
}

function endsBefore(id: number, lastId: number): string {
  return `the log ends at record ${lastId}, before record ${id} that was read: it was replaced`;
}

function stale(message: string): ShopError {
  return new ShopError("STALE", message, "never");
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    const failure = sqliteFailure(error);
    throw failure === undefined ? error : storageError(failure, error);
  }
}
