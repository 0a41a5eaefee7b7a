/**
 * The way from (part, sequence) to a row of the log: in memory, rebuilt at open from segments.
 *
 * Ids count every record ever appended, 1, 2, 3, …. A closed segment stores, for a run of ids, the
 * part of each (two bytes a record); counting them gives the sequences. Records after the last
 * closed segment, the tail, are read row by row. `dropped` counts per part what was in segments
 * that are gone, `pruned` is the highest sequence removed. Refuses a directory that contradicts
 * itself: without it no record can be found, and guessing would hand out wrong ones.
 */

import type { Database } from "bun:sqlite";

import { assert, ShopError } from "../../../runtime/errors.ts";
import type { Damage } from "./journal-types.ts";
import { createPartitionIndex } from "./partition-index.ts";
import type { PartitionIndex } from "./partition-index.ts";
import { recordChecksum } from "./record-checksum.ts";
import type { Topology } from "./log-parts.ts";

/** Stands in a segment for a record that was lost before its part was known. */
export const PART_LOST = 0xffff;

export interface Segment {
  readonly firstId: number;
  readonly count: number;
  /** When its last record was appended, ms since the epoch. */
  readonly lastAtMs: number;
  readonly bytes: number;
  /** Records of it that are still in the log. */
  remaining: number;
}

export interface LogDirectory {
  readonly partitions: readonly PartitionIndex[];
  /** Closed segments, oldest first. */
  readonly segments: Segment[];
  /** Parts of the records after the last closed segment. */
  readonly tailParts: number[];
  tailBytes: number;
  tailLastAtMs: number;
  /** Id of the first record of the tail. */
  tailFirstId: number;
  readonly pruned: Float64Array;
  readonly dropped: Float64Array;
  /** Bytes removed from segments that are still there. */
  prunedBytes: number;
}

interface SegmentRow {
  readonly firstId: number;
  readonly lastAtMs: number;
  readonly bytes: number;
  readonly crc: number;
  readonly parts: Uint8Array;
}

interface TailRow {
  readonly id: number;
  readonly part: number;
  readonly sequence: number;
  readonly at: number;
  readonly bytes: number;
}

export function segmentChecksum(row: Omit<SegmentRow, "crc">): number {
  return recordChecksum(`segment|${row.firstId}|${row.lastAtMs}|${row.bytes}`, row.parts);
}

export function baseChecksum(prunedBytes: number, data: Uint8Array): number {
  return recordChecksum(`base|${prunedBytes}`, data);
}

/**
 * Reads the directory. `lastId` is how far the log must reach; what is missing in the tail is
 * added to `damage`. Throws `DATA_DAMAGED` when segments or base are not as they were written.
 */
export function loadDirectory(
  handle: Database,
  topology: Topology,
  lastId: number,
  damage: Damage[],
): LogDirectory {
  const base = loadBase(handle, topology.parts);
  const directory: LogDirectory = {
    partitions: Array.from(base.pruned, (sequence) => createPartitionIndex(sequence + 1)),
    segments: [],
    tailParts: [],
    tailBytes: 0,
    tailLastAtMs: 0,
    tailFirstId: 1 + base.dropped.reduce((sum, count) => sum + count, 0),
    ...base,
  };
  loadSegments(handle, directory);
  loadTail(handle, directory, topology, lastId, damage);
  return directory;
}

/** The part of each record of a segment, as stored. */
export function decodeParts(parts: Uint8Array): Uint16Array {
  assert(parts.length % 2 === 0, "a segment stores two bytes a record");
  return new Uint16Array(parts.slice().buffer);
}

export function encodeParts(parts: readonly number[]): Uint8Array {
  return new Uint8Array(Uint16Array.from(parts).buffer);
}

/** What `loadBase` reads: `pruned` of every part, then `dropped`. */
export function encodeBase({ pruned, dropped }: LogDirectory): Uint8Array {
  const both = new Float64Array(pruned.length + dropped.length);
  both.set(pruned);
  both.set(dropped, pruned.length);
  return new Uint8Array(both.buffer);
}

/** Per part, what is gone from the log; throws `DATA_DAMAGED` for a row that is not as written. */
export function loadBase(
  handle: Database,
  parts: number,
): Pick<LogDirectory, "pruned" | "dropped" | "prunedBytes"> {
  const pruned = new Float64Array(parts);
  const dropped = new Float64Array(parts);
  const row = handle
    .prepare<{ bytes: number; crc: number; data: Uint8Array }, []>(
      "SELECT bytes, crc, data FROM log_base",
    )
    .get();
  if (row === null) return { pruned, dropped, prunedBytes: 0 };
  if (row.crc !== baseChecksum(row.bytes, row.data)) refuse("its base fails its checksum");
  const stored = new Float64Array(row.data.slice().buffer);
  const storedParts = stored.length / 2;
  pruned.set(stored.subarray(0, storedParts));
  dropped.set(stored.subarray(storedParts));
  return { pruned, dropped, prunedBytes: row.bytes };
}

function loadSegments(handle: Database, directory: LogDirectory): void {
  const counts = Float64Array.from(directory.dropped);
  const rows = handle.prepare<SegmentRow, []>(
    `SELECT first_id AS firstId, last_at AS lastAtMs, bytes, crc, parts
     FROM log_segment ORDER BY first_id`,
  );
  for (const row of rows.iterate()) {
    if (row.crc !== segmentChecksum(row)) refuse(`segment ${row.firstId} fails its checksum`);
    if (row.firstId !== directory.tailFirstId) refuse(`no segment ${directory.tailFirstId}`);
    const parts = decodeParts(row.parts);
    let remaining = 0;
    for (let at = 0; at < parts.length; at++) {
      const part = parts[at]!; // `!`: within the length
      if (part === PART_LOST) continue;
      const sequence = counts[part]! + 1; // `!`: a segment with a good checksum has known parts
      counts[part] = sequence;
      if (sequence <= directory.pruned[part]!) continue; // `!`: as above
      directory.partitions[part]!.push(row.firstId + at); // `!`: as above
      remaining++;
    }
    const { firstId, lastAtMs, bytes } = row;
    directory.segments.push({ firstId, count: parts.length, lastAtMs, bytes, remaining });
    directory.tailFirstId += parts.length;
  }
}

/**
 * The tail's rows must have consecutive ids up to `lastId` and, per part, consecutive sequences.
 * A missing id belongs to the part in which a sequence is missing after it.
 */
function loadTail(
  handle: Database,
  directory: LogDirectory,
  topology: Topology,
  lastId: number,
  damage: Damage[],
): void {
  const { partitions, tailParts, tailFirstId } = directory;
  const lost: number[] = [];
  const rows = handle.prepare<TailRow, [number]>(
    `SELECT id, part, sequence, at, length(bytes) AS bytes FROM log WHERE id >= ? ORDER BY id`,
  );
  function lose(untilId: number): void {
    for (let id = tailFirstId + tailParts.length; id < untilId; id++) {
      lost.push(id);
      tailParts.push(PART_LOST);
    }
  }
  for (const row of rows.iterate(tailFirstId)) {
    lose(row.id);
    const partition = partitions[row.part];
    const gap = partition === undefined ? -1 : row.sequence - partition.last() - 1;
    if (partition === undefined || gap < 0 || gap > lost.length) {
      lose(row.id + 1);
      continue;
    }
    for (const id of lost.splice(0, gap)) {
      tailParts[id - tailFirstId] = row.part;
      partition.push(id);
      damage.push(missing(topology, row.part, partition.last()));
    }
    partition.push(row.id);
    tailParts.push(row.part);
    directory.tailBytes += row.bytes;
    directory.tailLastAtMs = row.at;
  }
  lose(lastId + 1);
  for (const id of lost) {
    damage.push({ what: "log", reason: `record ${id}, the newest of its partition, is missing` });
  }
}

function missing(topology: Topology, part: number, sequence: number): Damage {
  return {
    what: "log",
    topic: topology.topicOf(part),
    partition: topology.partitionOf(part),
    sequence,
    reason: "missing or out of place",
  };
}

function refuse(what: string): never {
  const message = `the log's index is damaged: ${what}; restore the data from a copy`;
  throw new ShopError("DATA_DAMAGED", message, "never");
}
