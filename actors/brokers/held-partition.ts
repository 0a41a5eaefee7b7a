/**
 * A partition that a member of a remote group holds, and what came of it and is not handed out.
 *
 * Records come in ascending order; what was settled before them, what is not there and what does
 * not concern the group are settled here, and everything else waits. Does no I/O. Refuses nothing:
 * a record that came before is dropped.
 */

import type { Delivery } from "./broker.ts";
import type { Partition } from "./group-partition.ts";

import { addSettledRange } from "../stores/journal/settled-set.ts";
import { isSettled, passBy, soundType } from "./group-partition.ts";

/** Handed-out places at the front of a buffer above which they are given back. */
const PASSED_PLACES_MAX = 1_024;

/** A record as the server gave it. */
export interface RemoteRecord extends Pick<Delivery, "bytes" | "fault"> {
  /** Ascending within an assignment; what is left out does not exist. */
  readonly sequence: number;
  /** By the server's count; absent: 1, or what was remembered of it. */
  readonly attempt?: number;
  readonly notBeforeMs?: number;
}

export interface Held {
  readonly partition: Partition;
  /** Received, not handed out. */
  readonly buffer: RemoteRecord[];
  /** Records before it have been handed out. */
  head: number;
  /** About to be lost: nothing more of it is handed out. */
  isEnding: boolean;
}

/**
 * Takes records in. `types`: those that concern the group; absent: all. Returns the bytes of what
 * waits now, and the sequences that do not concern the group and so are settled.
 */
export function takeIn(
  held: Held,
  records: readonly RemoteRecord[],
  types: ReadonlySet<number> | undefined,
): { readonly bytes: number; readonly passed: readonly number[] } {
  const { partition, buffer } = held;
  const before = buffer.length;
  const passed: number[] = [];
  let bytes = 0;
  for (const record of records) {
    const { sequence, attempt } = record;
    if (sequence <= partition.tail) continue;
    passGap(partition, partition.tail + 1, sequence - 1);
    partition.tail = sequence;
    partition.isChanged = true;
    if (isSettled(partition, sequence)) {
      // Settled by whoever had the partition before.
      partition.books.passedBy++;
      continue;
    }
    if (types !== undefined && !isOneOf(types, record.bytes)) {
      passBy(partition, sequence);
      passed.push(sequence);
      continue;
    }
    if (attempt !== undefined && attempt > 1) partition.attempts.set(sequence, attempt);
    buffer.push(record);
    bytes += record.bytes.byteLength;
  }
  // The server is told of each by its own means.
  if (passed.length > 0) partition.passed = [];
  partition.books.waiting += buffer.length - before;
  return { bytes, passed };
}

/** Gives back the places of what was handed out. */
export function dropHandedOut(held: Held): void {
  const { buffer, head } = held;
  if (head < buffer.length && head <= PASSED_PLACES_MAX) return;
  buffer.splice(0, head);
  held.head = 0;
}

/** Sequences that do not exist, or not any more. */
function passGap({ settled, books }: Partition, first: number, last: number): void {
  if (last < first) return;
  addSettledRange(settled, first, last);
  books.passedBy += last - first + 1;
}

/** What is no sound frame concerns everybody. */
function isOneOf(types: ReadonlySet<number>, bytes: Uint8Array): boolean {
  const type = soundType(bytes);
  return type === undefined || types.has(type);
}
