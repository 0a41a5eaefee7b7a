/**
 * The read side of analytics: its own read-only connection, for any thread.
 *
 * A reader sees every batch that was committed before its question began, and all of a batch or
 * nothing of it. While there is no view yet, everything is empty. Questions are bounded by what
 * they look at and by what they answer; whoever asks for more is told the bound. Percentiles are
 * put together with turns of the event loop in between, so that others need not wait for them.
 */

import type { Database } from "bun:sqlite";

import type { Environment } from "../../runtime/environment.ts";
import type { AnalyticsAnswer, AnalyticsQuery, AnalyticsRow } from "./analytics-query.ts";
import type { RealtimeFigures, RealtimeSums } from "./realtime-figures.ts";
import type { TopPlace, TopQuestion, TopStep } from "./top-values.ts";

import { ShopError } from "../../runtime/errors.ts";
import { sqliteFailure } from "../stores/journal/sqlite-failure.ts";
import { analyticsFailure, openAnalyticsReader } from "./analytics-database.ts";
import { QUERY_CELLS_MAX, QUERY_ROWS_MAX, quantilesOf } from "./analytics-query.ts";
import { mergeEncoded, quantiles } from "./quantile-sketch.ts";
import { createSumsReader, findRealtimeTops, NO_FIGURES } from "./realtime-figures.ts";
import { createTopReader, findTop } from "./top-values.ts";

/** Sketches of windows, and rows, that are gone through between two turns. */
const TURN_STEPS = 200;

export interface AnalyticsReads {
  /** Rejects with `STORAGE_FAULT`, `DATA_DAMAGED` or `CLOSED`. */
  query(query: AnalyticsQuery): Promise<AnalyticsAnswer>;
  /** Of the hour of `nowMs` and the 23 before it. Rejects likewise. */
  realtime(nowMs: number): Promise<RealtimeFigures>;
  /** Idempotent. */
  close(): void;
}

interface OpenReads {
  readonly handle: Database;
  readonly query: (query: AnalyticsQuery) => FoundCells;
  readonly sums: (nowMs: number) => RealtimeSums;
  readonly top: (question: TopQuestion, after: TopPlace) => TopStep;
}

/** Nothing is opened before the first question. */
export function openAnalyticsReads(
  directory: string,
  environment: Pick<Environment, "defer">,
): AnalyticsReads {
  const turn = () => new Promise<void>((resolve) => environment.defer(resolve));
  let open: OpenReads | undefined;
  let isClosed = false;

  function run<T>(empty: T, ask: (opened: OpenReads) => T): T {
    if (isClosed) throw new ShopError("CLOSED", "the reads of analytics are closed", "never");
    try {
      open ??= openReads(directory);
      return open === undefined ? empty : ask(open);
    } catch (error) {
      // A handle that has seen its disk fail is not used again.
      if (sqliteFailure(error) === "fault") close();
      throw analyticsFailure(error);
    }
  }

  function close(): void {
    open?.handle.close(true);
    open = undefined;
  }

  return {
    async query(query) {
      const found = run(NO_CELLS, (opened) => opened.query(query));
      return found.kind === "cells" ? await answerOf(query, found, turn) : found;
    },
    async realtime(nowMs) {
      const sums = run<RealtimeSums>(NO_FIGURES, (opened) => opened.sums(nowMs));
      // Each step asks anew: the file may have been closed, or opened again, in between.
      const step = (question: TopQuestion, after: TopPlace) =>
        run<TopStep>({ best: [] }, (opened) => opened.top(question, after));
      const tops = await findRealtimeTops(nowMs, (question) => findTop(question, step, turn));
      return { ...sums, ...tops };
    },
    close() {
      isClosed = true;
      close();
    },
  };
}

function openReads(directory: string): OpenReads | undefined {
  const handle = openAnalyticsReader(directory);
  return (
    handle && {
      handle,
      query: createQuery(handle),
      sums: createSumsReader(handle),
      top: createTopReader(handle),
    }
  );
}

interface CellRow extends RowKey {
  readonly count: number;
  readonly sumMinor: number;
}

interface SketchRow extends RowKey {
  readonly sketch: Uint8Array | null;
}

interface RowKey {
  /** 0 where a whole range is one row. */
  readonly startMs: number;
  readonly currency: string;
  readonly value: string;
}

/** What the database has of a question. */
type FoundCells =
  | {
      readonly kind: "cells";
      readonly rows: readonly CellRow[];
      /** Of the rows; none when nobody asked for percentiles. */
      readonly sketches: readonly SketchRow[];
    }
  | Extract<AnalyticsAnswer, { readonly kind: "too_many" }>;

const NO_CELLS: FoundCells = { kind: "cells", rows: [], sketches: [] };

type Place = [granularity: string, metric: string, dimension: string, from: number, to: number];
type Filter = [...Place, anyCurrency: number, currency: string];

const WHERE = `WHERE granularity = ? AND metric = ? AND dimension = ? AND start >= ? AND start < ?
  AND (? OR currency = ?)`;
const FIGURES = `currency, value, sum(count) AS count, sum(sum) AS sumMinor FROM cells ${WHERE}`;
const LIMIT = `LIMIT ${QUERY_ROWS_MAX + 1}`;

function createQuery(handle: Database): (query: AnalyticsQuery) => FoundCells {
  const countCells = handle.prepare<{ cells: number }, Filter>(
    `SELECT count(*) AS cells FROM (SELECT 1 FROM cells ${WHERE} LIMIT ${QUERY_CELLS_MAX + 1})`,
  );
  const byWindow = handle.prepare<CellRow, Filter>(
    `SELECT start AS startMs, ${FIGURES} GROUP BY start, currency, value
     ORDER BY start, currency, value ${LIMIT}`,
  );
  const overRange = handle.prepare<CellRow, Filter>(
    `SELECT 0 AS startMs, ${FIGURES} GROUP BY currency, value ORDER BY currency, value ${LIMIT}`,
  );
  const sketchesOf = (start: string) =>
    handle.prepare<SketchRow, Filter>(
      `SELECT ${start} AS startMs, currency, value, sketch FROM cells ${WHERE}`,
    );
  const sketchesByWindow = sketchesOf("start");
  const sketchesOverRange = sketchesOf("0");

  const ask = handle.transaction((query: AnalyticsQuery): FoundCells => {
    const { window, metric, groupBy, fromMs, toMs, currency } = query;
    const isRange = window === "range";
    const filter: Filter = [
      isRange ? "hour" : window,
      metric,
      groupBy,
      fromMs,
      toMs,
      currency === undefined ? 1 : 0,
      currency ?? "",
    ];
    if ((countCells.get(...filter)?.cells ?? 0) > QUERY_CELLS_MAX) {
      return { kind: "too_many", what: "windows", limit: QUERY_CELLS_MAX };
    }
    const rows = (isRange ? overRange : byWindow).all(...filter);
    if (rows.length > QUERY_ROWS_MAX) {
      return { kind: "too_many", what: "rows", limit: QUERY_ROWS_MAX };
    }
    if (quantilesOf(query.aggregates).length === 0) return { kind: "cells", rows, sketches: [] };
    const sketches = (isRange ? sketchesOverRange : sketchesByWindow).all(...filter);
    return { kind: "cells", rows, sketches };
  });
  return (query) => ask.deferred(query);
}

async function answerOf(
  { aggregates, window, fromMs }: AnalyticsQuery,
  found: Extract<FoundCells, { readonly kind: "cells" }>,
  turn: () => Promise<void>,
): Promise<AnalyticsAnswer> {
  const asked = quantilesOf(aggregates);
  const shares = asked.map(([, share]) => share);
  const merged = await mergeByRow(found.sketches, turn);
  const rows: AnalyticsRow[] = [];
  for (const row of found.rows) {
    const values = quantiles(merged.get(rowKey(row)) ?? new Map<number, number>(), shares);
    const quantilesMinor = new Map(asked.map(([name], at) => [name, values[at] ?? 0]));
    rows.push({ ...row, startMs: window === "range" ? fromMs : row.startMs, quantilesMinor });
    if (shares.length > 0 && rows.length % TURN_STEPS === 0) await turn();
  }
  return { kind: "rows", rows };
}

async function mergeByRow(
  cells: readonly SketchRow[],
  turn: () => Promise<void>,
): Promise<ReadonlyMap<string, ReadonlyMap<number, number>>> {
  const merged = new Map<string, Map<number, number>>();
  for (const [at, { sketch, ...key }] of cells.entries()) {
    if (sketch === null) continue;
    const name = rowKey(key);
    let into = merged.get(name);
    if (into === undefined) merged.set(name, (into = new Map()));
    mergeEncoded(into, sketch);
    if ((at + 1) % TURN_STEPS === 0) await turn();
  }
  return merged;
}

function rowKey({ startMs, currency, value }: RowKey): string {
  return `${startMs} ${currency} ${value}`;
}
