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
import type { CheckedRow, CheckedRows, LogWindow } from "./log-window.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import { FeedReading } from "../brokers/feed-reading.ts";
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

/** One look at the disk: as many rows as have about so many bytes, by what the last ones had. */
const LOOK_BYTES = 256 * 1_024;
const LOOK_ROWS_MAX = 64;
const LOOK_ROWS_FIRST = 16;

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
  /** Of the feeds of this thread that read the same log; absent: it reads alone. */
  readonly window?: LogWindow | undefined;
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
  /** For the next look at the disk. */
  #lookRows = LOOK_ROWS_FIRST;
  #isClosed = false;

  constructor(options: JournalFeedOptions) {
    this.#options = options;
    this.#reader = guarded(() => openLogReader(options.directory, options.topics));
  }

  read(cursor: FeedCursor | undefined, recordsMax: number, bytesMax: number): Promise<FeedBatch> {
    return this.#run(() => {
      assert(recordsMax >= 1, `a batch of ${recordsMax} records`);
      const place = this.#placeOf(cursor);
      if (cursor === undefined || cursor !== this.#known?.cursor) this.#begin(place);
      const lastId = this.#reader.lastId();
      if (place.id > lastId) throw stale(endsBefore(place.id, lastId));
      if (place.id === lastId && cursor !== undefined) return { records: [], cursor };
      return this.#take(place, lastId, recordsMax, bytesMax);
    });
  }

  passLoss(cursor: FeedCursor | undefined): Promise<FeedCursor> {
    return this.#run(() => {
      this.#options.window?.forget();
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
      for (const row of this.#reader.rows(place.id, lastId, 1)) this.#passRow(place, row);
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
    while (!isCut && place.id < lastId) {
      const { rows, throughId } = this.#rowsAfter(place.id, lastId);
      for (const row of rows) {
        if (!this.#reader.isRead(row.row.part)) continue;
        const found = this.#recordOf(row, place);
        const isLoss = found instanceof ShopError;
        isCut = records.length > 0 && (isLoss || row.row.bytes.length > bytesLeft);
        if (isCut) break;
        if (isLoss) throw found;
        const { topic, partition, sequence, bytes } = found;
        records.push(found);
        setSequence(place, topic, partition, sequence);
        place.id = row.row.id;
        place.count++;
        bytesLeft -= bytes.length;
        isCut = records.length === recordsMax;
        if (isCut) break;
      }
      if (!isCut) place.id = throughId;
    }
    const cursor = encodeCursor(place);
    this.#known = { cursor, place };
    const counted = this.#counted;
    if (counted !== undefined && counted.id < place.id) {
      this.#counted = { id: place.id, records: place.count };
    }
    return { records, cursor };
  }

  /** Some of what follows, from the disk or from what another has read. */
  #rowsAfter(afterId: number, throughId: number): CheckedRows {
    const { window, name } = this.#options;
    const read = (after: number, through: number, ofEveryTopic: boolean): CheckedRows => {
      const rowsMax = this.#lookRows;
      const found = ofEveryTopic
        ? this.#reader.rowsOfAll(after, through, rowsMax)
        : this.#reader.rows(after, through, rowsMax);
      let bytes = 1;
      for (const row of found) bytes += row.bytes.length;
      const fitting = Math.floor((LOOK_BYTES * found.length) / bytes);
      if (found.length > 0) this.#lookRows = Math.max(1, Math.min(LOOK_ROWS_MAX, fitting));
      const isAll = found.length < rowsMax;
      const lastId = isAll ? through : (found.at(-1)?.id ?? through);
      return { rows: found.map((row) => this.#checked(row)), throughId: lastId };
    };
    return window === undefined
      ? read(afterId, throughId, false)
      : window.next(name, afterId, throughId, read);
  }

  #checked(row: LogRow): CheckedRow {
    const found = this.#reader.placeOf(row.part);
    if (found === undefined || !isIntact(row)) return { row, record: undefined };
    const { topic, partition } = found;
    const { sequence, bytes, at: storedAtMs } = row;
    const reading = new FeedReading(bytes);
    return { row, record: { topic, partition, sequence, bytes, storedAtMs, reading } };
  }

  /** The record of the next row after `place`, or why it cannot be handed out. */
  #recordOf({ row, record }: CheckedRow, place: FeedPlace): FeedRecord | ShopError {
    if (record === undefined) {
      const found = this.#reader.placeOf(row.part);
      const where =
        found === undefined ? "" : `, ${found.topic}/${found.partition}/${row.sequence},`;
      const message = `record ${row.id}${where} of the log is damaged: bad checksum`;
      return new ShopError("DATA_DAMAGED", message, "never");
    }
    const { topic, partition, sequence } = record;
    const last = sequenceAt(place, topic, partition);
    if (sequence === last + 1 && last !== UNKNOWN_SEQUENCE) return record;
    const loss = lossBefore(`${topic}/${partition}`, last, sequence);
    return loss === undefined ? record : stale(loss);
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

  /** What others have read may be gone meanwhile, and is for those who had not passed it. */
  #begin(place: FeedPlace): void {
    this.#options.window?.forget();
    this.#checkKept(place);
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
