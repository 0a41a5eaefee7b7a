/**
 * The read side of analytics: its own read-only connection, for any thread.
 *
 * A reader sees every batch that was committed before its question began, and all of a batch or
 * nothing of it. While there is no view yet, everything is empty. Questions are bounded by what
 * they look at and by what they answer; whoever asks for more is told the bound.
 */

import type { Database } from "bun:sqlite";

import type { AnalyticsAnswer, AnalyticsQuery, AnalyticsRow } from "./analytics-query.ts";
import type { RealtimeFigures } from "./realtime-figures.ts";

import { ShopError } from "../../runtime/errors.ts";
import { sqliteFailure } from "../stores/journal/sqlite-failure.ts";
import { analyticsFailure, openAnalyticsReader } from "./analytics-database.ts";
import { QUERY_CELLS_MAX, QUERY_ROWS_MAX, quantilesOf } from "./analytics-query.ts";
import { mergeEncoded, quantile } from "./quantile-sketch.ts";
import { createRealtimeReader, NO_FIGURES } from "./realtime-figures.ts";

export interface AnalyticsReads {
  /** Throws `STORAGE_FAULT`, `DATA_DAMAGED` or `CLOSED`. */
  query(query: AnalyticsQuery): AnalyticsAnswer;
  /** Of the hour of `nowMs` and the 23 before it. Throws likewise. */
  realtime(nowMs: number): RealtimeFigures;
  /** Idempotent. */
  close(): void;
}

interface OpenReads {
  readonly handle: Database;
  readonly query: (query: AnalyticsQuery) => AnalyticsAnswer;
  readonly realtime: (nowMs: number) => RealtimeFigures;
}

/** Nothing is opened before the first question. */
export function openAnalyticsReads(directory: string): AnalyticsReads {
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
    query: (query) => run({ kind: "rows", rows: [] }, (opened) => opened.query(query)),
    realtime: (nowMs) => run(NO_FIGURES, (opened) => opened.realtime(nowMs)),
    close() {
      isClosed = true;
      close();
    },
  };
}

function openReads(directory: string): OpenReads | undefined {
  const handle = openAnalyticsReader(directory);
  return handle && { handle, query: createQuery(handle), realtime: createRealtimeReader(handle) };
}

interface CellRow {
  readonly startMs: number;
  readonly currency: string;
  readonly value: string;
  readonly count: number;
  readonly sumMinor: number;
}
type Place = [granularity: string, metric: string, dimension: string, from: number, to: number];
type Filter = [...Place, anyCurrency: number, currency: string];

const WHERE = `WHERE granularity = ? AND metric = ? AND dimension = ? AND start >= ? AND start < ?
  AND (? OR currency = ?)`;
const FIGURES = `currency, value, sum(count) AS count, sum(sum) AS sumMinor FROM cells ${WHERE}`;
const LIMIT = `LIMIT ${QUERY_ROWS_MAX + 1}`;

function createQuery(handle: Database): (query: AnalyticsQuery) => AnalyticsAnswer {
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
  const sketches = handle.prepare<
    Pick<CellRow, "startMs" | "currency" | "value"> & { readonly sketch: Uint8Array | null },
    Filter
  >(`SELECT start AS startMs, currency, value, sketch FROM cells ${WHERE}`);

  const ask = handle.transaction((query: AnalyticsQuery): AnalyticsAnswer => {
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
    const asked = quantilesOf(query.aggregates);
    const startOf = (startMs: number) => (isRange ? 0 : startMs);
    const merged = asked.length === 0 ? new Map() : mergeByRow(sketches.all(...filter), startOf);
    return {
      kind: "rows",
      rows: rows.map((row): AnalyticsRow => {
        const sketch = merged.get(rowKey(row)) ?? new Map<number, number>();
        const quantilesMinor = new Map(
          asked.map(([name, share]) => [name, quantile(sketch, share) ?? 0]),
        );
        return { ...row, startMs: isRange ? fromMs : row.startMs, quantilesMinor };
      }),
    };
  });
  return (query) => ask.deferred(query);
}

type RowKey = Pick<CellRow, "startMs" | "currency" | "value">;

function mergeByRow(
  cells: readonly (RowKey & { readonly sketch: Uint8Array | null })[],
  startOf: (startMs: number) => number,
): ReadonlyMap<string, ReadonlyMap<number, number>> {
  const merged = new Map<string, Map<number, number>>();
  for (const { startMs, currency, value, sketch } of cells) {
    if (sketch === null) continue;
    const key = rowKey({ startMs: startOf(startMs), currency, value });
    let into = merged.get(key);
    if (into === undefined) merged.set(key, (into = new Map()));
    mergeEncoded(into, sketch);
  }
  return merged;
}

function rowKey({ startMs, currency, value }: RowKey): string {
  return `${startMs} ${currency} ${value}`;
}
