/**
 * Which sequences of one partition a group has settled: a position and the runs above it.
 *
 * Acknowledgements come out of order, but mostly in runs, so the set is a watermark and a sorted
 * list of closed ranges. It refuses to forget: a sequence once in it stays in it.
 */

import { assert } from "../../../runtime/errors.ts";

export interface SettledSet {
  /** Everything at or below is in the set. */
  position: number;
  /** Closed ranges above `position`, flat: start, end, start, end, …; ascending, never touching. */
  ranges: number[];
}

export function hasSettled(set: SettledSet, sequence: number): boolean {
  if (sequence <= set.position) return true;
  const at = rangeBefore(set.ranges, sequence);
  return at >= 0 && sequence <= set.ranges[at + 1]!; // `!`: ranges come in pairs
}

/** Adds `sequence`; false when it was there. Moves the position over what became contiguous. */
export function addSettled(set: SettledSet, sequence: number): boolean {
  const { ranges } = set;
  if (sequence === set.position + 1) {
    set.position = sequence;
    if (ranges[0] === sequence + 1) {
      set.position = ranges[1]!; // `!`: ranges come in pairs
      ranges.splice(0, 2);
    }
    return true;
  }
  if (sequence <= set.position) return false;
  const at = rangeBefore(ranges, sequence);
  if (at >= 0 && sequence <= ranges[at + 1]!) return false; // `!`: ranges come in pairs
  const next = at + 2;
  const joinsLeft = at >= 0 && ranges[at + 1] === sequence - 1;
  const joinsRight = ranges[next] === sequence + 1;
  if (joinsLeft && joinsRight) ranges.splice(at + 1, 2);
  else if (joinsLeft) ranges[at + 1] = sequence;
  else if (joinsRight) ranges[next] = sequence;
  else ranges.splice(next, 0, sequence, sequence);
  return true;
}

/** Adds everything up to `sequence`; false when all of it was there. */
export function settleThrough(set: SettledSet, sequence: number): boolean {
  if (sequence <= set.position) return false;
  const { ranges } = set;
  let position = sequence;
  let gone = 0;
  // Ranges that begin at or right behind the new position become part of it.
  for (; gone < ranges.length; gone += 2) {
    const start = ranges[gone]!; // `!`: within the loop's bound
    if (start > position + 1) break;
    position = Math.max(position, ranges[gone + 1]!); // `!`: ranges come in pairs
  }
  ranges.splice(0, gone);
  set.position = position;
  return true;
}

/** Adds every sequence from `first` to `last`. */
export function addSettledRange(set: SettledSet, first: number, last: number): void {
  if (set.ranges.length === 0 && first <= set.position + 1) {
    set.position = Math.max(set.position, last);
    return;
  }
  for (let sequence = first; sequence <= last; sequence++) addSettled(set, sequence);
}

/** The lowest sequence from `from` on that is not in the set. */
export function nextUnsettled(set: SettledSet, from: number): number {
  const next = Math.max(from, set.position + 1);
  const at = rangeBefore(set.ranges, next);
  if (at < 0) return next;
  return Math.max(next, set.ranges[at + 1]! + 1); // `!`: ranges come in pairs
}

/** The sequences above the position, ascending. */
export function settledAbove(set: SettledSet): number[] {
  const above: number[] = [];
  for (let at = 0; at < set.ranges.length; at += 2) {
    const start = set.ranges[at]!; // `!`: within the loop's bound
    const end = set.ranges[at + 1]!; // `!`: ranges come in pairs
    for (let sequence = start; sequence <= end; sequence++) above.push(sequence);
  }
  return above;
}

/** All sets of one topic as bytes: per partition position, ranges, then (gap, length) each. */
export function encodeSettled(sets: readonly SettledSet[]): Uint8Array {
  const bytes: number[] = [];
  for (const set of sets) {
    pushVarint(bytes, set.position);
    pushVarint(bytes, set.ranges.length / 2);
    let from = set.position;
    for (let at = 0; at < set.ranges.length; at += 2) {
      const start = set.ranges[at]!; // `!`: within the loop's bound
      const end = set.ranges[at + 1]!; // `!`: ranges come in pairs
      pushVarint(bytes, start - from);
      pushVarint(bytes, end - start);
      from = end;
    }
  }
  return Uint8Array.from(bytes);
}

/** Reverses `encodeSettled`; the bytes have passed their checksum. */
export function decodeSettled(bytes: Uint8Array, partitions: number): SettledSet[] {
  let at = 0;
  function next(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      assert(byte !== undefined, "positions end in the middle");
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }
  const sets: SettledSet[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const set: SettledSet = { position: next(), ranges: [] };
    let from = set.position;
    for (let pairs = next(); pairs > 0; pairs--) {
      const start = from + next();
      from = start + next();
      set.ranges.push(start, from);
    }
    sets.push(set);
  }
  assert(at === bytes.length, "positions have bytes left over");
  return sets;
}

/** Index of the last range that starts at or before `sequence`; -2 when there is none. */
function rangeBefore(ranges: readonly number[], sequence: number): number {
  let low = 0;
  let high = ranges.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const start = ranges[middle * 2]!; // `!`: middle is below the number of ranges
    if (start <= sequence) low = middle + 1;
    else high = middle;
  }
  return low * 2 - 2;
}

/** LEB128, for whole numbers up to 2^53 - 1. */
function pushVarint(bytes: number[], value: number): void {
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
}
