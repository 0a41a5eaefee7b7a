/**
 * Reading windows: what roll-ups have, and what pieces add that none has had yet.
 *
 * Pieces are read first and windows after them, so that nothing is missed in between; a window
 * says which pieces it has, so that nothing counts twice. If pieces went away in the meantime
 * that no window named, several roll-ups may have passed, and it is read again.
 */

import type { Dimension, Metric } from "../analytics-metrics.ts";
import type { AnalyticsSettings } from "../analytics-tuning.ts";
import type { Granularity } from "../event-windows.ts";
import type { FreshDocument, MongoCollections, PileDocument } from "./mongo-collections.ts";
import type { SeriesCell } from "./series-cells.ts";

import { HOUR_MS, windowStart } from "../event-windows.ts";
import { countVisitors, createVisitorSketch, mergeVisitors } from "../visitor-sketch.ts";
import { PROGRESS, VISITORS } from "./mongo-collections.ts";
import { PROGRESS_START_MS, valuesMaxOf } from "./roll-up.ts";
import { CellSums, seriesName, unpackCells } from "./series-cells.ts";
import { unpackRegisters } from "./sparse-registers.ts";
import { bytesOf, cellsOfPile, claimsIn, registersOfPile, topPiles } from "./window-piles.ts";

/** Roll-ups that may get in the way of one question, before it takes what it has. */
const ATTEMPTS_MAX = 5;

export interface TimeRange {
  readonly fromMs: number;
  /** Exclusive. */
  readonly toMs: number;
}

export interface SeriesQuestion extends TimeRange {
  readonly granularity: Granularity;
  readonly metric: Metric;
  readonly dimension: Dimension;
}

export interface RealtimeCells {
  /** By question. */
  readonly cells: readonly (readonly SeriesCell[])[];
  readonly visitors: number;
  /** `undefined`: nothing has been stored. */
  readonly storedAtMs: number | undefined;
}

export interface WindowReader {
  /** The cells of each question, all as of one moment. */
  cells(questions: readonly SeriesQuestion[]): Promise<readonly (readonly SeriesCell[])[]>;
  realtime(questions: readonly SeriesQuestion[], range: TimeRange): Promise<RealtimeCells>;
}

export function createWindowReader(
  collections: MongoCollections,
  settings: AnalyticsSettings,
): WindowReader {
  const tops = async (granularity: Granularity, name: string, { fromMs, toMs }: TimeRange) => {
    const start = { $gte: new Date(windowStart(fromMs, HOUR_MS)), $lt: new Date(toMs) };
    return topPiles(await collections.piles(granularity, name).find({ start }).toArray());
  };

  async function readSeries(fresh: readonly FreshDocument[], question: SeriesQuestion) {
    const { granularity, metric, dimension } = question;
    const piles = await tops(granularity, seriesName(metric, dimension), question);
    return sumSeries(fresh, piles, question, valuesMaxOf(granularity, settings));
  }

  async function attempt<T>(
    names: readonly string[],
    read: (fresh: readonly FreshDocument[]) => Promise<Reading<T>>,
  ): Promise<T> {
    for (let number = 1; ; number++) {
      const fresh = await readFresh(collections, names);
      const { result, unnamed } = await read(fresh);
      if (unnamed.size === 0 || number === ATTEMPTS_MAX) return result;
      const ids = { projection: { _id: 1 } };
      const left = new Set((await collections.fresh.find({}, ids).toArray()).map(({ _id }) => _id));
      if (unnamed.isSubsetOf(left)) return result;
    }
  }

  return {
    cells: (questions) =>
      attempt(namesOf(questions), async (fresh) =>
        joined(await Promise.all(questions.map((question) => readSeries(fresh, question)))),
      ),
    realtime: (questions, range) =>
      attempt(namesOf(questions), async (fresh) => {
        const [series, visitors, progress] = await Promise.all([
          Promise.all(questions.map((question) => readSeries(fresh, question))),
          tops("hour", VISITORS, range),
          tops("hour", PROGRESS, { fromMs: PROGRESS_START_MS, toMs: PROGRESS_START_MS + 1 }),
        ]);
        const { result: cells, unnamed } = joined(series);
        const result = {
          cells,
          // To count a visitor twice is to count once, and so is a time.
          visitors: countVisitors(sumVisitors(fresh, visitors, range)),
          storedAtMs: newestOf(fresh, progress.get(PROGRESS_START_MS)),
        };
        return { result, unnamed };
      }),
  };
}

interface Reading<T> {
  readonly result: T;
  /** Pieces that were added because no window named them. */
  readonly unnamed: ReadonlySet<string>;
}

function joined<T>(readings: readonly Reading<T>[]): Reading<readonly T[]> {
  const unnamed = new Set(readings.flatMap((one) => [...one.unnamed]));
  return { result: readings.map(({ result }) => result), unnamed };
}

function namesOf(questions: readonly SeriesQuestion[]): readonly string[] {
  return questions.map(({ metric, dimension }) => seriesName(metric, dimension));
}

/** In the order in which roll-ups take them; only what `names` need. */
function readFresh(
  collections: MongoCollections,
  names: readonly string[],
): Promise<readonly FreshDocument[]> {
  const series = names.map((name) => [`cells.${name}`, 1] as const);
  const projection = { storedAt: 1, visitors: 1, ...Object.fromEntries(series) };
  return collections.fresh.find({}, { projection }).sort({ _id: 1 }).toArray();
}

/** What `question` asks for, of the windows and of the pieces that they do not have. */
export function sumSeries(
  fresh: readonly FreshDocument[],
  piles: ReadonlyMap<number, PileDocument>,
  { granularity, metric, dimension, fromMs, toMs }: SeriesQuestion,
  valuesMax: number,
): Reading<readonly SeriesCell[]> {
  const name = seriesName(metric, dimension);
  const isAsked = ({ startMs }: SeriesCell) => startMs >= fromMs && startMs < toMs;
  const sums = new CellSums(granularity, valuesMax);
  const named = new Map<number, ReadonlySet<string>>();
  const unnamed = new Set<string>();
  for (const [startMs, pile] of piles) {
    named.set(startMs, claimsIn(pile));
    sums.add(cellsOfPile(pile).filter(isAsked));
  }
  for (const { _id: claim, cells } of fresh) {
    const bytes = cells?.[name];
    if (bytes === undefined) continue;
    const more = unpackCells(bytesOf(bytes)).filter((cell) => {
      return isAsked(cell) && named.get(windowStart(cell.startMs, HOUR_MS))?.has(claim) !== true;
    });
    if (more.length > 0) unnamed.add(claim);
    sums.add(more);
  }
  return { result: [...sums.cells()], unnamed };
}

function sumVisitors(
  fresh: readonly FreshDocument[],
  piles: ReadonlyMap<number, PileDocument>,
  { fromMs, toMs }: TimeRange,
): Uint8Array {
  const all = createVisitorSketch();
  for (const pile of piles.values()) mergeVisitors(all, registersOfPile(pile));
  for (const { hour, registers } of fresh.flatMap(({ visitors }) => visitors)) {
    const startMs = hour.getTime();
    if (startMs < fromMs || startMs >= toMs) continue;
    mergeVisitors(all, unpackRegisters(bytesOf(registers)));
  }
  return all;
}

function newestOf(
  fresh: readonly FreshDocument[],
  progress: PileDocument | undefined,
): number | undefined {
  const times = [...fresh, ...(progress === undefined ? [] : [progress])];
  const newest = Math.max(...times.map(({ storedAt }) => storedAt?.getTime() ?? 0));
  return times.length === 0 ? undefined : newest;
}
