/**
 * The topic log: appended in order of arrival, read by partition, removed from the old end.
 *
 * Every record has a checksum over its part, its sequence and its bytes. Sequences of a partition
 * are gap-free; only whole prefixes are removed. All changes happen inside a transaction of the
 * caller and are taken back in memory when it is. Refuses nothing by itself: bounds are checked
 * before a unit is applied.
 */

import { assert } from "../../../runtime/errors.ts";
import type { JournalDatabase } from "./journal-database.ts";
import type { Damage } from "./journal-types.ts";
import {
  baseChecksum,
  decodeParts,
  encodeBase,
  encodeParts,
  loadDirectory,
  PART_LOST,
  segmentChecksum,
} from "./log-directory.ts";
import type { LogDirectory, Segment } from "./log-directory.ts";
import type { PartitionIndex } from "./partition-index.ts";
import { logChecksum } from "./record-checksum.ts";
import type { Topology } from "./log-parts.ts";
import type { UndoLog } from "./undo-log.ts";

/** A record as it was found, or what is wrong with it; bytes as far as they could be read. */
export interface Found {
  readonly bytes: Uint8Array;
  readonly damage?: string;
}

interface LogRow {
  readonly part: number;
  readonly sequence: number;
  readonly crc: number;
  readonly bytes: Uint8Array;
}

const EMPTY = new Uint8Array(0);

export class LogTable {
  readonly #undo: UndoLog;
  readonly #segmentRecords: number;
  readonly #directory: LogDirectory;
  readonly #insert;
  readonly #select;
  readonly #selectAt;
  readonly #insertSegment;
  readonly #selectParts;
  readonly #deleteSegment;
  readonly #replaceBase;
  readonly #sumRun;
  readonly #deleteRun;
  /** The transaction in hand has left a way back to the tail as it was. */
  #tailMarked = false;

  /** Reads the index; what the log lacks before `lastId` is added to `damage`. */
  constructor(
    { handle, undo }: JournalDatabase,
    topology: Topology,
    segmentRecords: number,
    lastId: number,
    damage: Damage[],
  ) {
    this.#undo = undo;
    this.#segmentRecords = segmentRecords;
    this.#directory = loadDirectory(handle, topology, lastId, damage);
    this.#insert = handle.prepare<unknown, [number, number, number, number, number, Uint8Array]>(
      "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)",
    );
    this.#select = handle.prepare<LogRow, [number]>(
      "SELECT part, sequence, crc, bytes FROM log WHERE id = ?",
    );
    this.#selectAt = handle.prepare<{ at: number }, [number]>("SELECT at FROM log WHERE id = ?");
    this.#insertSegment = handle.prepare<unknown, [number, number, number, number, Uint8Array]>(
      "INSERT INTO log_segment VALUES (?, ?, ?, ?, ?)",
    );
    this.#selectParts = handle.prepare<{ parts: Uint8Array }, [number]>(
      "SELECT parts FROM log_segment WHERE first_id = ?",
    );
    this.#deleteSegment = handle.prepare<unknown, [number]>(
      "DELETE FROM log_segment WHERE first_id = ?",
    );
    this.#replaceBase = handle.prepare<unknown, [number, number, Uint8Array]>(
      "INSERT OR REPLACE INTO log_base VALUES (1, ?, ?, ?)",
    );
    this.#sumRun = handle.prepare<{ bytes: number }, [number, number]>(
      "SELECT coalesce(sum(length(bytes)), 0) AS bytes FROM log WHERE id BETWEEN ? AND ?",
    );
    this.#deleteRun = handle.prepare<unknown, [number, number]>(
      "DELETE FROM log WHERE id BETWEEN ? AND ?",
    );
  }

  /** Closed segments, oldest first. */
  get segments(): readonly Segment[] {
    return this.#directory.segments;
  }

  get lastId(): number {
    return this.#directory.tailFirstId + this.#directory.tailParts.length - 1;
  }

  /** When the newest record after the closed segments came; `undefined` when there is none. */
  get tailLastAtMs(): number | undefined {
    return this.#directory.tailParts.length === 0 ? undefined : this.#directory.tailLastAtMs;
  }

  get records(): number {
    const { segments, tailParts } = this.#directory;
    return segments.reduce((sum, segment) => sum + segment.remaining, 0) + tailParts.length;
  }

  get bytes(): number {
    const { segments, tailBytes, prunedBytes } = this.#directory;
    return segments.reduce((sum, segment) => sum + segment.bytes, 0) + tailBytes - prunedBytes;
  }

  /** Sequence of the oldest record kept; one more than `last` when none is. */
  first(part: number): number {
    return this.#partition(part).first();
  }

  /** Sequence of the newest record; 0 when there was never one. */
  last(part: number): number {
    return this.#partition(part).last();
  }

  /** Row id of `sequence`; `undefined` when it was pruned or not yet written. */
  idOf(part: number, sequence: number): number | undefined {
    return this.#partition(part).idOf(sequence);
  }

  /** When the record with this row id was stored; `undefined`: there is none. */
  storedAtMs(id: number): number | undefined {
    return this.#selectAt.get(id)?.at;
  }

  /** Appends and returns the sequence. `bytes` are stored as they are. */
  append(part: number, bytes: Uint8Array, nowMs: number): number {
    if (!this.#tailMarked) this.#markTail();
    const directory = this.#directory;
    const index = this.#partition(part);
    const sequence = index.last() + 1;
    const id = directory.tailFirstId + directory.tailParts.length;
    this.#insert.run(id, part, sequence, nowMs, logChecksum(part, sequence, bytes), bytes);
    index.push(id);
    directory.tailParts.push(part);
    directory.tailBytes += bytes.length;
    directory.tailLastAtMs = nowMs;
    return sequence;
  }

  /**
   * Ends the transaction's appending. Closes the tail as a segment when it has enough records, or
   * any and `force` is true.
   */
  closeSegment(force: boolean): void {
    this.#tailMarked = false;
    const directory = this.#directory;
    const { segments, tailParts, tailFirstId, tailBytes, tailLastAtMs } = directory;
    const count = tailParts.length;
    if (count === 0 || (count < this.#segmentRecords && !force)) return;
    const parts = encodeParts(tailParts);
    const row = { firstId: tailFirstId, lastAtMs: tailLastAtMs, bytes: tailBytes, parts };
    this.#insertSegment.run(tailFirstId, tailLastAtMs, tailBytes, segmentChecksum(row), parts);
    const closed = tailParts.splice(0);
    const remaining = closed.filter((part) => part !== PART_LOST).length;
    segments.push({
      firstId: tailFirstId,
      lastAtMs: tailLastAtMs,
      bytes: tailBytes,
      count,
      remaining,
    });
    directory.tailBytes = 0;
    directory.tailFirstId = tailFirstId + count;
    this.#undo.push(() => {
      segments.pop();
      tailParts.push(...closed);
      directory.tailBytes = tailBytes;
      directory.tailFirstId = tailFirstId;
    });
  }

  /** The record at `sequence`, checked; `undefined` when it was pruned or not yet written. */
  find(part: number, sequence: number): Found | undefined {
    const id = this.#partition(part).idOf(sequence);
    if (id === undefined) return undefined;
    const row = this.#select.get(id);
    if (row === null) return { bytes: EMPTY, damage: "missing" };
    const { bytes } = row;
    if (row.part !== part || row.sequence !== sequence) return { bytes, damage: "out of place" };
    if (row.crc !== logChecksum(part, sequence, bytes)) return { bytes, damage: "bad checksum" };
    return { bytes };
  }

  /** Puts a good record without bytes where a damaged one is, or was. */
  replaceByNothing(part: number, sequence: number, nowMs: number): void {
    const id = this.#partition(part).idOf(sequence);
    if (id === undefined) return;
    this.#deleteRun.run(id, id);
    this.#insert.run(id, part, sequence, nowMs, logChecksum(part, sequence, EMPTY), EMPTY);
  }

  /** Removes up to `budget` records with id up to `throughId` and sequence up to `limit(part)`. */
  prune(throughId: number, limit: (part: number) => number, budget: number): number {
    const directory = this.#directory;
    const ids = this.#takeIds(throughId, limit, budget).toSorted((a, b) => a - b);
    if (ids.length === 0) return 0;
    const segments = directory.segments.map((segment) => ({ ...segment }));
    const dropped = Float64Array.from(directory.dropped);
    const { prunedBytes } = directory;
    this.#undo.push(() => {
      directory.segments.splice(0, directory.segments.length, ...segments);
      directory.dropped.set(dropped);
      directory.prunedBytes = prunedBytes;
    });
    this.#deleteIds(ids);
    this.#dropSegments();
    const data = encodeBase(directory);
    this.#replaceBase.run(directory.prunedBytes, baseChecksum(directory.prunedBytes, data), data);
    return ids.length;
  }

  #partition(part: number): PartitionIndex {
    const index = this.#directory.partitions[part];
    assert(index !== undefined, "a part is not in the log's index");
    return index;
  }

  #markTail(): void {
    this.#tailMarked = true;
    const directory = this.#directory;
    const { tailParts, tailBytes, tailLastAtMs } = directory;
    const records = tailParts.length;
    this.#undo.push(() => {
      for (const part of tailParts.splice(records).toReversed()) this.#partition(part).pop();
      directory.tailBytes = tailBytes;
      directory.tailLastAtMs = tailLastAtMs;
      this.#tailMarked = false;
    });
  }

  /** Takes prunable records out of the index and returns their ids, unsorted. */
  #takeIds(throughId: number, limit: (part: number) => number, budget: number): number[] {
    const { partitions, pruned } = this.#directory;
    const ids: number[] = [];
    for (let part = 0; part < partitions.length && ids.length < budget; part++) {
      const index = this.#partition(part);
      const last = limit(part);
      const from = ids.length;
      while (ids.length < budget && index.first() <= last) {
        const id = index.idOf(index.first());
        if (id === undefined || id > throughId) break;
        ids.push(id);
        index.shift();
      }
      if (ids.length === from) continue;
      const taken = ids.slice(from).toReversed();
      pruned[part] = index.first() - 1;
      this.#undo.push(() => {
        for (const id of taken) index.unshift(id);
        pruned[part] = index.first() - 1;
      });
    }
    return ids;
  }

  /** Deletes rows by runs of neighbours; `ids` ascend and are all in closed segments. */
  #deleteIds(ids: readonly number[]): void {
    const { segments } = this.#directory;
    let segment = 0;
    for (let at = 0; at < ids.length;) {
      const first = ids[at]!; // `!`: within the loop's bound
      let end = at + 1;
      while (ids[end] === first + (end - at)) end++;
      const last = first + (end - at) - 1;
      this.#directory.prunedBytes += this.#sumRun.get(first, last)?.bytes ?? 0;
      this.#deleteRun.run(first, last);
      for (let id = first; id <= last; id++) {
        while (id >= endOf(segments, segment)) segment++;
        segments[segment]!.remaining--; // `!`: every pruned id is in a closed segment
      }
      at = end;
    }
  }

  /** Forgets segments at the old end of which nothing is left. */
  #dropSegments(): void {
    const directory = this.#directory;
    const { segments, dropped } = directory;
    let empty = 0;
    while (segments[empty]?.remaining === 0) empty++;
    for (const segment of segments.splice(0, empty)) {
      const row = this.#selectParts.get(segment.firstId);
      assert(row !== null, `segment ${segment.firstId} is in the index but not in the table`);
      for (const part of decodeParts(row.parts)) {
        if (part < dropped.length) dropped[part]!++; // `!`: just compared
      }
      directory.prunedBytes -= segment.bytes;
      this.#deleteSegment.run(segment.firstId);
    }
  }
}

/** Id of the first record after the segment. */
function endOf(segments: readonly Segment[], index: number): number {
  const segment = segments[index];
  assert(segment !== undefined, "a pruned record is in no closed segment");
  return segment.firstId + segment.count;
}
