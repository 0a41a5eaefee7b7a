/**
 * The records of one partition of a log in memory: bytes side by side, not objects.
 *
 * A log keeps hundreds of thousands of records for whoever comes to read them; as objects each of
 * them would be visited by every full collection of garbage. Here a segment of many is one object.
 * Refuses to change what it has: bytes are copied in, and the views given out stay as they are even
 * when the record is dropped. Room goes back a segment at a time.
 */

import type { LogRecord } from "./log-source.ts";

import { assert } from "../../runtime/errors.ts";

/** A partition that gets few records takes little room; the segments double up to the largest. */
const SEGMENT_BYTES_MIN = 2_048;
const SEGMENT_BYTES_MAX = 65_536;

interface Segment {
  /** Sequence of its first record. */
  readonly first: number;
  readonly bytes: Uint8Array;
  /** Where each record ends; it starts where the one before it ends. */
  readonly ends: number[];
}

export class RecordRun {
  #segments: Segment[] = [];
  /** Sequence of the oldest record that is still there, or of the next to come. */
  #first = 1;
  #next = 1;

  get first(): number {
    return this.#first;
  }

  /** Sequence of the newest record, be it there or not; 0: there was none. */
  get tail(): number {
    return this.#next - 1;
  }

  append(bytes: Uint8Array): LogRecord {
    const segment = this.#segmentFor(bytes.byteLength);
    const start = segment.ends.at(-1) ?? 0;
    const end = start + bytes.byteLength;
    segment.bytes.set(bytes, start);
    segment.ends.push(end);
    return { sequence: this.#next++, bytes: segment.bytes.subarray(start, end) };
  }

  get(sequence: number): Uint8Array | undefined {
    if (sequence < this.#first || sequence >= this.#next) return undefined;
    return recordIn(this.#segments[this.#segmentOf(sequence)], sequence);
  }

  /** Records above `after`, at most `framesMax` and `bytesMax`, but one however large it is. */
  read(after: number, framesMax: number, bytesMax: number): LogRecord[] {
    const records: LogRecord[] = [];
    let bytesLeft = bytesMax;
    let sequence = Math.max(after + 1, this.#first);
    let at = this.#segmentOf(sequence);
    while (records.length < framesMax && sequence < this.#next) {
      const segment = this.#segments[at];
      assert(segment !== undefined, "what is not dropped is in a segment");
      const bytes = recordIn(segment, sequence);
      if (bytes === undefined) {
        at++;
        continue;
      }
      bytesLeft -= bytes.byteLength;
      if (records.length > 0 && bytesLeft < 0) break;
      records.push({ sequence: sequence++, bytes });
    }
    return records;
  }

  /** Drops the records up to `sequence`; how many bytes they had. */
  dropThrough(sequence: number): number {
    let dropped = 0;
    let gone = 0;
    for (const segment of this.#segments) {
      const next = segment.first + segment.ends.length;
      const until = Math.min(sequence + 1, next);
      if (until > this.#first) {
        dropped += endOf(segment, until - 1) - endOf(segment, this.#first - 1);
        this.#first = until;
      }
      if (until < next) break;
      gone++;
    }
    // The last one may have room for more.
    this.#segments.splice(0, Math.min(gone, this.#segments.length - 1));
    return dropped;
  }

  #segmentFor(bytes: number): Segment {
    const last = this.#segments.at(-1);
    if (last !== undefined && (last.ends.at(-1) ?? 0) + bytes <= last.bytes.length) return last;
    const usual = Math.min(SEGMENT_BYTES_MAX, 2 * (last?.bytes.length ?? SEGMENT_BYTES_MIN / 2));
    const segment: Segment = {
      first: this.#next,
      // Of a buffer of its own: views of an array without one would have to make it first.
      bytes: new Uint8Array(new ArrayBuffer(Math.max(usual, bytes))),
      ends: [],
    };
    // An old one of which nothing is left gives its place up.
    if (last !== undefined && this.#first === this.#next) this.#segments = [];
    this.#segments.push(segment);
    return segment;
  }

  /** Index of the last segment that begins at or before `sequence`; 0 when there is none. */
  #segmentOf(sequence: number): number {
    let low = 0;
    let high = this.#segments.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      const { first } = this.#segments[middle]!; // `!`: middle is between low and high
      if (first <= sequence) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function recordIn(segment: Segment | undefined, sequence: number): Uint8Array | undefined {
  const end = segment?.ends[sequence - segment.first];
  if (segment === undefined || end === undefined) return undefined;
  return segment.bytes.subarray(endOf(segment, sequence - 1), end);
}

/** Where the record ends; 0 for the one before the segment's first. */
function endOf({ first, ends }: Segment, sequence: number): number {
  return sequence < first ? 0 : (ends[sequence - first] ?? 0);
}
