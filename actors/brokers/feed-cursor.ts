/**
 * A place in a feed, and the text a reader keeps of it.
 *
 * A place says how far the log was read as a whole and, for each partition, the sequence that was
 * read last, so that a record that is gone is noticed whether or not another follows it. Refuses
 * text that it did not write.
 */

import type { FeedCursor } from "./feed.ts";

import { assert, ShopError } from "../../runtime/errors.ts";

/** The sequence of a partition of which nothing is known: whatever comes first is next. */
export const UNKNOWN_SEQUENCE = -1;

export interface FeedPlace {
  /** Everything up to this record of the whole log was looked at; 0: nothing. */
  id: number;
  /** Records of the feed's topics that were passed. */
  count: number;
  /** By topic and partition, the sequence read last. */
  readonly sequences: Readonly<Record<string, number[]>>;
}

export function encodeCursor({ id, count, sequences }: FeedPlace): FeedCursor {
  return JSON.stringify({ id, count, sequences });
}

/** Throws `DATA_DAMAGED` for anything but what `encodeCursor` made. */
export function decodeCursor(cursor: FeedCursor): FeedPlace {
  const place = parseJson(cursor);
  if (isPlace(place)) return place;
  const text = cursor.slice(0, 80);
  throw new ShopError("DATA_DAMAGED", `not the cursor of a feed: ${text}`, "never");
}

export function copyPlace({ id, count, sequences }: FeedPlace): FeedPlace {
  const copies = Object.entries(sequences).map(([topic, list]) => [topic, list.slice()] as const);
  return { id, count, sequences: Object.fromEntries(copies) };
}

export function sequenceAt({ sequences }: FeedPlace, topic: string, partition: number): number {
  const sequence = sequences[topic]?.[partition];
  return sequence ?? refusePart(topic, partition);
}

export function setSequence(
  { sequences }: FeedPlace,
  topic: string,
  partition: number,
  sequence: number,
): void {
  const list = sequences[topic];
  if (list?.[partition] === undefined) refusePart(topic, partition);
  list[partition] = sequence;
}

/**
 * What is wrong with finding `found` next in a partition where `last` was read last; `undefined`
 * when it follows.
 */
export function lossBefore(place: string, last: number, found: number): string | undefined {
  if (last === UNKNOWN_SEQUENCE || found === last + 1) return undefined;
  if (found <= last) return `${place}/${found} came again after ${last}: the log was replaced`;
  return `records ${last + 1} to ${found - 1} of ${place} are gone`;
}

/** Its message is made for nobody as long as nothing is wrong. */
function refusePart(topic: string, partition: number): never {
  assert(false, `a place has no partition ${topic}/${partition}`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isPlace(value: unknown): value is FeedPlace {
  if (typeof value !== "object" || value === null) return false;
  if (!("id" in value && "count" in value && "sequences" in value)) return false;
  const { id, count, sequences } = value;
  if (!isWhole(id, 0) || !isWhole(count, 0)) return false;
  if (typeof sequences !== "object" || sequences === null) return false;
  return Object.values(sequences).every(
    (list: unknown) =>
      Array.isArray(list) && list.every((sequence) => isWhole(sequence, UNKNOWN_SEQUENCE)),
  );
}

function isWhole(value: unknown, least: number): boolean {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= least;
}
