/**
 * The values that had most of something over a stretch of hours, found in turns.
 *
 * A value has a row for each hour, and adding up all of them at once would hold up its thread for
 * as long as there are values. A step adds up a run of neighbouring values, each over all of its
 * hours, and tells the best of them; how many rows it looks at is bounded. Steps are moments of
 * their own: a value that appears behind the place that has been reached is missed until the next
 * time.
 */

import type { Database } from "bun:sqlite";

import type { Dimension, Metric } from "./analytics-metrics.ts";

import { HOUR_MS } from "./event-windows.ts";

/** The most rows of one hour that one step adds up. */
export const TOP_STEP_ROWS = 500;

export interface TopQuestion {
  readonly metric: Metric;
  readonly dimension: Dimension;
  /** Beginnings of hours; `toMs` is exclusive. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly by: "count" | "sumMinor";
  /** Best values of each currency. */
  readonly limit: number;
}

export interface TopValue {
  readonly value: string;
  /** Empty where there is no money. */
  readonly currency: string;
  readonly count: number;
  readonly sumMinor: number;
}

/** The last value that has been added up. */
export interface TopPlace {
  readonly currency: string;
  readonly value: string;
}

export interface TopStep {
  /** By currency, the best first; of equals, the one that comes first by name. */
  readonly best: readonly TopValue[];
  /** Absent at the end. */
  readonly next?: TopPlace;
}

type StepReader = (question: TopQuestion, after: TopPlace) => TopStep;

/** Before every value: none is empty. */
const START: TopPlace = { currency: "", value: "" };
/** After every text, as SQLite compares. */
const BEHIND_ALL = new Uint8Array();

type Bindings = Readonly<Record<`$${string}`, string | number | Uint8Array>>;

/** SQLite comes from the beginning of each hour straight to the values of the step. */
const HOURS = `WITH RECURSIVE hours (hour) AS (
  VALUES ($from) UNION ALL SELECT hour + ${HOUR_MS} FROM hours WHERE hour + ${HOUR_MS} < $to)`;
const WHERE = `granularity = 'hour' AND metric = $metric AND dimension = $dimension
  AND start = hour AND (currency, value) > ($currency, $value)`;

export function createTopReader(handle: Database, stepRows = TOP_STEP_ROWS): StepReader {
  /** Where the first of the hours has had its share; none: all of them have less left. */
  const end = handle.prepare<TopPlace, [Bindings]>(
    `${HOURS} SELECT currency, value FROM hours CROSS JOIN cells ON ${WHERE}
       AND (currency, value) = (SELECT currency, value FROM cells WHERE ${WHERE}
         ORDER BY currency, value LIMIT 1 OFFSET ${stepRows - 1})
     ORDER BY currency, value LIMIT 1`,
  );
  const bestBy = (figure: TopQuestion["by"]) =>
    handle.prepare<TopValue, [Bindings]>(
      `${HOURS} SELECT value, currency, count, sumMinor FROM (
         SELECT *, row_number() OVER
           (PARTITION BY currency ORDER BY ${figure} DESC, value) AS place
         FROM (SELECT value, currency, sum(count) AS count, sum(sum) AS sumMinor
               FROM hours CROSS JOIN cells ON ${WHERE}
                 AND (currency, value) <= ($lastCurrency, $lastValue)
               GROUP BY currency, value))
       WHERE place <= $limit ORDER BY currency, place`,
    );
  const best = { count: bestBy("count"), sumMinor: bestBy("sumMinor") };

  const ask = handle.transaction((question: TopQuestion, after: TopPlace): TopStep => {
    const { metric, dimension, fromMs, toMs, by, limit } = question;
    const range = {
      $metric: metric,
      $dimension: dimension,
      $from: fromMs,
      $to: toMs,
      $currency: after.currency,
      $value: after.value,
    };
    const next = end.get(range);
    const $lastCurrency = next?.currency ?? BEHIND_ALL;
    const $lastValue = next?.value ?? BEHIND_ALL;
    const found = best[by].all({ ...range, $lastCurrency, $lastValue, $limit: limit });
    return next === null ? { best: found } : { best: found, next };
  });
  return (question, after) => ask.deferred(question, after);
}

/** All steps of `question`, with a turn of the event loop between two. */
export async function findTop(
  question: TopQuestion,
  step: StepReader,
  turn: () => Promise<void>,
): Promise<readonly TopValue[]> {
  let { best, next } = step(question, START);
  while (next !== undefined) {
    await turn();
    const further = step(question, next);
    best = mergeTop(best, further.best, question);
    ({ next } = further);
  }
  return best;
}

/** The best of both; every value of `later` comes after those of `earlier` by name. */
export function mergeTop(
  earlier: readonly TopValue[],
  later: readonly TopValue[],
  { by, limit }: Pick<TopQuestion, "by" | "limit">,
): readonly TopValue[] {
  const byCurrency = Map.groupBy([...earlier, ...later], ({ currency }) => currency);
  return [...byCurrency.values()].flatMap((values) =>
    values.toSorted((one, other) => other[by] - one[by]).slice(0, limit),
  );
}
