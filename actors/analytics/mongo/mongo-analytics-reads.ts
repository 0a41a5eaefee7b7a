/**
 * Questions to analytics, answered from MongoDB: same questions, same answers as the embedded
 * view.
 *
 * What was stored before a question began is in its answer, and nothing is in it twice: pieces
 * that no roll-up has had yet are added to the windows that lack them. Bounded as the embedded
 * view is, by what an answer looks at and by what it says; whoever asks for more is told the
 * bound.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { AnalyticsAnswer, AnalyticsQuery, AnalyticsRow } from "../analytics-query.ts";
import type { AnalyticsReads } from "../analytics-reads.ts";
import type { AnalyticsSettings } from "../analytics-tuning.ts";
import type { TopQuestion, TopValue } from "../top-values.ts";
import type { MongoHooks } from "./mongo-client.ts";
import type { MongoSettings } from "./mongo-settings.ts";
import type { SeriesCell } from "./series-cells.ts";
import type { WindowReader } from "./window-reader.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { QUERY_CELLS_MAX, QUERY_ROWS_MAX, quantilesOf } from "../analytics-query.ts";
import { ANALYTICS_SETTINGS } from "../analytics-tuning.ts";
import { HOUR_MS } from "../event-windows.ts";
import { mergeEncoded, quantiles } from "../quantile-sketch.ts";
import {
  findRealtimeTops,
  NO_FIGURES,
  REALTIME_HOURS,
  realtimeFromMs,
} from "../realtime-figures.ts";
import { mergeTop } from "../top-values.ts";
import { openMongoClient } from "./mongo-client.ts";
import { collectionsOf } from "./mongo-collections.ts";
import { mongoFailure } from "./mongo-failure.ts";
import { createWindowReader } from "./window-reader.ts";

/** Sketches of windows, and rows, that are gone through between two turns. */
const TURN_STEPS = 200;

export interface MongoReadsOptions extends MongoHooks {
  readonly environment: Pick<Environment, "defer" | "startTimer">;
  readonly analytics?: AnalyticsSettings;
}

/** Rejects with `SERVER_UNUSABLE`, naming `mongodb.url`, within ten seconds. */
export async function openMongoAnalyticsReads(
  settings: MongoSettings,
  options: MongoReadsOptions,
): Promise<AnalyticsReads> {
  const { environment, analytics = ANALYTICS_SETTINGS } = options;
  const handle = await openMongoClient(settings, environment, options);
  const reader = createWindowReader(collectionsOf(handle, settings.prefix), analytics);
  const turn = () => new Promise<void>((resolve) => environment.defer(resolve));
  let isClosed = false;

  async function guarded<T>(work: () => Promise<T>): Promise<T> {
    if (isClosed) throw new ShopError("CLOSED", "the reads of analytics are closed", "never");
    try {
      return await work();
    } catch (error) {
      throw mongoFailure(error);
    }
  }

  return {
    query: (query) => guarded(() => answerOf(reader, query, turn)),
    realtime: (nowMs) => guarded(() => realtimeOf(reader, nowMs)),
    close() {
      if (isClosed) return;
      isClosed = true;
      // Whatever is under way is rejected; there is nobody to tell how the sockets ended.
      handle.close().catch(() => undefined);
    },
  };
}

async function answerOf(
  reader: WindowReader,
  query: AnalyticsQuery,
  turn: () => Promise<void>,
): Promise<AnalyticsAnswer> {
  const { metric, groupBy, window, fromMs, toMs, currency, aggregates } = query;
  const granularity = window === "range" ? "hour" : window;
  const [read = []] = await reader.cells([
    { granularity, metric, dimension: groupBy, fromMs, toMs },
  ]);
  const cells = currency === undefined ? read : read.filter((cell) => cell.currency === currency);
  if (cells.length > QUERY_CELLS_MAX) {
    return { kind: "too_many", what: "windows", limit: QUERY_CELLS_MAX };
  }
  const rows = groupRows(cells, window === "range" ? fromMs : undefined);
  if (rows.length > QUERY_ROWS_MAX)
    return { kind: "too_many", what: "rows", limit: QUERY_ROWS_MAX };
  const asked = quantilesOf(aggregates);
  const shares = asked.map(([, share]) => share);
  const answer: AnalyticsRow[] = [];
  let steps = 0;
  for (const { sketches, ...row } of rows) {
    const merged = new Map<number, number>();
    for (const sketch of shares.length === 0 ? [] : sketches) {
      mergeEncoded(merged, sketch);
      if (++steps % TURN_STEPS === 0) await turn();
    }
    const values = quantiles(merged, shares);
    const quantilesMinor = new Map(asked.map(([name], at) => [name, values[at] ?? 0]));
    answer.push({ ...row, quantilesMinor });
  }
  return { kind: "rows", rows: answer };
}

interface Row {
  readonly startMs: number;
  readonly currency: string;
  readonly value: string;
  count: number;
  sumMinor: number;
  readonly sketches: Uint8Array[];
}

/** In the order of answers. `startMs`: of a range, which is one row for each value. */
function groupRows(cells: readonly SeriesCell[], startMs: number | undefined): readonly Row[] {
  const rows = new Map<string, Row>();
  for (const { sketch, ...cell } of cells) {
    const start = startMs ?? cell.startMs;
    const key = `${start} ${cell.currency} ${cell.value}`;
    let row = rows.get(key);
    if (row === undefined) {
      row = { ...cell, startMs: start, count: 0, sumMinor: 0, sketches: [] };
      rows.set(key, row);
    }
    row.count += cell.count;
    row.sumMinor += cell.sumMinor;
    if (sketch !== null) row.sketches.push(sketch);
  }
  return [...rows.values()].toSorted(
    (one, other) =>
      one.startMs - other.startMs ||
      compareText(one.currency, other.currency) ||
      compareText(one.value, other.value),
  );
}

function compareText(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}

async function realtimeOf(
  reader: WindowReader,
  nowMs: number,
): ReturnType<AnalyticsReads["realtime"]> {
  const fromMs = realtimeFromMs(nowMs);
  const range = { granularity: "hour", fromMs, toMs: fromMs + REALTIME_HOURS * HOUR_MS } as const;
  const questions = [
    { ...range, metric: "orders", dimension: "all" },
    { ...range, metric: "revenue", dimension: "all" },
    { ...range, metric: "units", dimension: "product" },
    { ...range, metric: "revenue", dimension: "product" },
    { ...range, metric: "behavior", dimension: "event" },
  ] as const;
  const { cells, visitors, storedAtMs } = await reader.realtime(questions, range);
  if (storedAtMs === undefined) return NO_FIGURES;
  const found = async (question: TopQuestion): Promise<readonly TopValue[]> => {
    const at = questions.findIndex(({ metric, dimension }) => {
      return metric === question.metric && dimension === question.dimension;
    });
    return bestOf(cells[at] ?? [], question);
  };
  const tops = await findRealtimeTops(nowMs, found);
  const hours = (at: number) =>
    groupRows(cells[at] ?? [], undefined).map(({ startMs, currency, count, sumMinor }) => {
      return { startMs, currency, count, sumMinor };
    });
  return { storedAtMs, orders: hours(0), revenue: hours(1), visitors, ...tops };
}

/** As `findTop` finds them: the best of each currency, of equals the first by name. */
function bestOf(cells: readonly SeriesCell[], question: TopQuestion): readonly TopValue[] {
  const values = groupRows(cells, 0).map(({ value, currency, count, sumMinor }) => {
    return { value, currency, count, sumMinor };
  });
  return mergeTop(values, [], question);
}
