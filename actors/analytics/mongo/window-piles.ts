/**
 * Windows as documents that are written once: each new one has all that the one before it had.
 *
 * The number of a document is the place in its hour's line: of two processes that roll up the
 * same hour, one gets the place, and the other leaves its pieces for the next time. A document
 * names the claims that are in it, so that whoever also sees such a claim in `fresh` does not
 * count it twice. Decides without the server, as far as it can; refuses columns that differ in
 * length.
 */

import type { Collection, Filter } from "mongodb";

import { Binary, Long } from "mongodb";

import type { Granularity } from "../event-windows.ts";
import type { PileDocument } from "./mongo-collections.ts";
import type { SeriesCell } from "./series-cells.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { MINUTE_MS } from "../event-windows.ts";
import { createVisitorSketch, mergeVisitors } from "../visitor-sketch.ts";
import { insertNew } from "./mongo-collections.ts";
import { CellSums } from "./series-cells.ts";
import { packRegisters, unpackRegisters } from "./sparse-registers.ts";

/** What a claim brings to one hour of one series. */
export interface PilePart<T> {
  readonly claim: string;
  readonly content: T;
}

/** What a pile is made of. */
export interface PileKind<T> {
  body(top: PileDocument | undefined, contents: readonly T[]): Partial<PileDocument>;
}

export function cellPile(
  granularity: Granularity,
  valuesMax: number,
): PileKind<readonly SeriesCell[]> {
  return {
    body(top, contents) {
      const sums = new CellSums(granularity, valuesMax);
      if (top !== undefined) sums.add(cellsOfPile(top));
      for (const cells of contents) sums.add(cells);
      return columnsOf([...sums.cells()]);
    },
  };
}

export const visitorPile: PileKind<Uint8Array> = {
  body(top, contents) {
    const all = createVisitorSketch();
    if (top !== undefined) mergeVisitors(all, registersOfPile(top));
    for (const registers of contents) mergeVisitors(all, registers);
    return { registers: new Binary(packRegisters(all)) };
  },
};

/** Of times at which records were stored. */
export const progressPile: PileKind<number> = {
  body: (top, contents) => ({
    storedAt: new Date(Math.max(top?.storedAt?.getTime() ?? 0, ...contents)),
  }),
};

export function cellsOfPile(pile: PileDocument): readonly SeriesCell[] {
  const {
    _id: id,
    start,
    at = [],
    currency = [],
    value = [],
    count = [],
    sumMinor = [],
    sketch = [],
  } = pile;
  const isMoney = sketch.length > 0;
  const columns = { currency, value, count, sumMinor, ...(isMoney ? { sketch } : {}) };
  for (const [name, column] of Object.entries(columns)) {
    if (column.length === at.length) continue;
    const what = `${name} has ${column.length} entries, not ${at.length}`;
    throw new ShopError("DATA_DAMAGED", `mongodb: the window ${id}: ${what}`, "never");
  }
  return at.map((minute, place) => ({
    startMs: start.getTime() + minute * MINUTE_MS,
    currency: currency[place] ?? "",
    value: value[place] ?? "",
    count: Number(count[place]),
    sumMinor: Number(sumMinor[place]),
    sketch: isMoney ? bytesOf(sketch[place]) : null,
  }));
}

export function registersOfPile({ registers }: PileDocument): Uint8Array {
  return unpackRegisters(bytesOf(registers));
}

/** As written, or as read. */
export function bytesOf(bytes: Binary | Uint8Array | undefined): Uint8Array {
  if (bytes === undefined) return new Uint8Array();
  return bytes instanceof Binary ? bytes.buffer : bytes;
}

function columnsOf(cells: readonly SeriesCell[]): Partial<PileDocument> {
  const sketches = cells.map(({ sketch }) => sketch).filter((sketch) => sketch !== null);
  return {
    at: cells.map(({ startMs }) => Math.floor((startMs / MINUTE_MS) % 60)),
    currency: cells.map(({ currency }) => currency),
    value: cells.map(({ value }) => value),
    count: cells.map(({ count }) => Long.fromNumber(count)),
    sumMinor: cells.map(({ sumMinor }) => Long.fromNumber(sumMinor)),
    sketch: sketches.map((sketch) => new Binary(sketch)),
  };
}

/** The documents of each hour that count, by its start. */
export function topPiles(piles: readonly PileDocument[]): ReadonlyMap<number, PileDocument> {
  const tops = new Map<number, PileDocument>();
  for (const pile of piles) {
    const startMs = pile.start.getTime();
    if (pile.number > (tops.get(startMs)?.number ?? -1)) tops.set(startMs, pile);
  }
  return tops;
}

export function claimsIn(pile: PileDocument | undefined): ReadonlySet<string> {
  return new Set(pile === undefined ? [] : [...pile.added, ...pile.before]);
}

/**
 * The document that comes after `top`; `undefined`: it has all of `parts`. `isFresh` tells claims
 * that may still be seen in `fresh`; those that `top` brought are named once more, for readers who
 * saw them there before they went away.
 */
export function nextPile<T>(
  startMs: number,
  top: PileDocument | undefined,
  parts: readonly PilePart<T>[],
  kind: PileKind<T>,
  isFresh: (claim: string) => boolean,
): PileDocument | undefined {
  const has = claimsIn(top);
  const more = parts.filter(({ claim }) => !has.has(claim));
  if (more.length === 0) return undefined;
  const number = (top?.number ?? -1) + 1;
  return {
    _id: `${startMs}/${number}`,
    start: new Date(startMs),
    number,
    added: more.map(({ claim }) => claim),
    before: top === undefined ? [] : [...top.added, ...top.before.filter(isFresh)],
    ...kind.body(
      top,
      more.map(({ content }) => content),
    ),
  };
}

/** Parts of one series, by the start of their hour. */
export type PileParts<T> = ReadonlyMap<number, readonly PilePart<T>[]>;

/** Everything that is stored of the hours of `parts`. */
export function readHours<T>(
  collection: Collection<PileDocument>,
  parts: PileParts<T>,
): Promise<readonly PileDocument[]> {
  return collection.find(ofHours(parts)).toArray();
}

/**
 * Adds `parts` to what was `stored`. Resolves with the claims that another's roll-up kept from it.
 */
export async function advancePiles<T>(
  collection: Collection<PileDocument>,
  stored: readonly PileDocument[],
  parts: PileParts<T>,
  kind: PileKind<T>,
  isFresh: (claim: string) => boolean,
): Promise<ReadonlySet<string>> {
  const tops = topPiles(stored);
  const next = [...parts].flatMap(([startMs, ofHour]) => {
    const pile = nextPile(startMs, tops.get(startMs), ofHour, kind, isFresh);
    return pile === undefined ? [] : [pile];
  });
  if (next.length === 0) return new Set();
  const taken = await insertNew(collection, next);
  // A place that is free because others have gone on, and removed what was there, is no place.
  const places = { projection: { start: 1, number: 1 } };
  const after = topPiles(await collection.find(ofHours(parts), places).toArray());
  const isOurs = (pile: PileDocument, at: number) =>
    !taken.has(at) && after.get(pile.start.getTime())?.number === pile.number;
  const ours = new Map(next.filter(isOurs).map((pile) => [pile.start.getTime(), pile]));
  const past = stored.filter(({ start, number }) => {
    return number < (ours.get(start.getTime())?.number ?? 0);
  });
  if (past.length > 0) await collection.deleteMany({ _id: { $in: past.map(({ _id }) => _id) } });
  return new Set(next.filter((pile, at) => !isOurs(pile, at)).flatMap(({ added }) => added));
}

function ofHours<T>(parts: PileParts<T>): Filter<PileDocument> {
  return { start: { $in: [...parts.keys()].map((startMs) => new Date(startMs)) } };
}
