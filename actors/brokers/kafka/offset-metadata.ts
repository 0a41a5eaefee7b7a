/**
 * What a group remembers of a partition beside its committed offset, in the offset's metadata.
 *
 * A committed offset says only that everything below is settled. The text beside it, of which the
 * server takes 4,096 bytes, carries what was settled above, what had been handed out, and what was
 * postponed until when, so that acknowledgements out of order and retries outlive the member.
 * What does not fit is left out, oldest first kept: it is handed out once more. Text that is not
 * of this form is refused as if there were none.
 */

import type { SettledSet } from "../../stores/journal/settled-set.ts";

/** Of the text; the server's default for `offset.metadata.max.bytes`. */
export const METADATA_BYTES_MAX = 4_096;

const MARK = "s1:";
const RAW_BYTES_MAX = Math.floor(((METADATA_BYTES_MAX - MARK.length) / 4) * 3) - 3;
/** Bytes that attempts may take; the ranges have the rest. */
const ATTEMPTS_BYTES_MAX = 1_400;

export interface PartitionMemory {
  readonly settled: Readonly<SettledSet>;
  /** Everything unsettled up to here has been handed out at least once. */
  readonly cursor: number;
  /** Next attempt, and when it is due, of those that are not simply at their second. */
  readonly attempts: ReadonlyMap<
    number,
    { readonly attempt: number; readonly notBeforeMs: number }
  >;
  /** Dead letters before this offset are among the settled. */
  readonly lettersThrough: number;
}

/** The text for `memory`; its position is the committed offset and not part of the text. */
export function encodeMemory(memory: PartitionMemory): string {
  const { settled, cursor, attempts, lettersThrough } = memory;
  const bytes: number[] = [];
  pushVarint(bytes, lettersThrough);
  pushVarint(bytes, Math.max(0, cursor - settled.position));
  const entries = entryBytes(settled.position, attempts);
  const ranges = rangeBytes(settled, RAW_BYTES_MAX - entries.length - bytes.length);
  // Both by themselves: their lengths are known only now.
  const all = Uint8Array.from([...bytes, ...entries, ...ranges]);
  return MARK + Buffer.from(all).toString("base64");
}

/** Reverses `encodeMemory`; `undefined` for any other text. */
export function decodeMemory(text: string, position: number): PartitionMemory | undefined {
  if (!text.startsWith(MARK)) return undefined;
  const bytes = Buffer.from(text.slice(MARK.length), "base64");
  const next = reader(bytes);
  const lettersThrough = next();
  const handedOut = next();
  const attempts = readEntries(next, position);
  const ranges = readRanges(next, position);
  if (lettersThrough === undefined || handedOut === undefined) return undefined;
  if (attempts === undefined || ranges === undefined) return undefined;
  const settled = { position, ranges };
  return { settled, cursor: position + handedOut, attempts, lettersThrough };
}

function entryBytes(position: number, attempts: PartitionMemory["attempts"]): number[] {
  const bytes: number[] = [];
  let count = 0;
  let last = position;
  for (const [sequence, { attempt, notBeforeMs }] of [...attempts].toSorted(([a], [b]) => a - b)) {
    const entry: number[] = [];
    pushVarint(entry, sequence - last);
    pushVarint(entry, attempt);
    pushVarint(entry, Math.ceil(notBeforeMs));
    if (bytes.length + entry.length > ATTEMPTS_BYTES_MAX) break;
    bytes.push(...entry);
    last = sequence;
    count++;
  }
  const head: number[] = [];
  pushVarint(head, count);
  return [...head, ...bytes];
}

function rangeBytes({ position, ranges }: Readonly<SettledSet>, room: number): number[] {
  const bytes: number[] = [];
  let from = position;
  for (let at = 0; at < ranges.length; at += 2) {
    const start = ranges[at]!; // `!`: within the loop's bound
    const end = ranges[at + 1]!; // `!`: ranges come in pairs
    const range: number[] = [];
    pushVarint(range, start - from);
    pushVarint(range, end - start);
    if (bytes.length + range.length > room) break;
    bytes.push(...range);
    from = end;
  }
  return bytes;
}

function readEntries(
  next: () => number | undefined,
  position: number,
): PartitionMemory["attempts"] | undefined {
  const attempts = new Map<number, { readonly attempt: number; readonly notBeforeMs: number }>();
  const count = next();
  if (count === undefined) return undefined;
  let sequence = position;
  for (let entry = 0; entry < count; entry++) {
    const gap = next();
    const attempt = next();
    const notBeforeMs = next();
    if (gap === undefined || attempt === undefined || notBeforeMs === undefined) return undefined;
    sequence += gap;
    attempts.set(sequence, { attempt, notBeforeMs });
  }
  return attempts;
}

/** Up to the end of the text. */
function readRanges(next: () => number | undefined, position: number): number[] | undefined {
  const ranges: number[] = [];
  let from = position;
  for (let gap = next(); gap !== undefined; gap = next()) {
    const length = next();
    if (length === undefined || gap < 2) return undefined;
    ranges.push(from + gap, from + gap + length);
    from += gap + length;
  }
  return ranges;
}

function reader(bytes: Uint8Array): () => number | undefined {
  let at = 0;
  return () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at];
      if (byte === undefined || !Number.isSafeInteger(scale)) return undefined;
      at++;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
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
