/**
 * Rows of the ledger, added up and cut to a length that fits an answer.
 *
 * Adding up loses nothing: sums over what is left out are in the rows that remain, and a row that
 * does not balance is the last to be left out.
 */

import type { LedgerRow } from "../contracts/order-state.ts";

/** Rows one shard answers with; some 250 bytes each. */
const ROWS_MAX = 1_024;

/** Rows in one answer to a caller of the API. */
export const LEDGER_ROWS_MAX = 4_096;

/** Stands for all partitions of a topic that are not listed. */
export const OTHER_PARTITIONS = -1;

/** The figures of a row. */
export type LedgerCounts = Omit<LedgerRow, "group" | "topic" | "partition" | "imbalance">;

const ZERO: LedgerCounts = {
  published: 0,
  acked: 0,
  dead: 0,
  inFlight: 0,
  parked: 0,
  waiting: 0,
  redriven: 0,
};

export function sumOfRows(rows: readonly LedgerRow[]): LedgerCounts {
  return rows.reduce<LedgerCounts>(
    (sum, row) => ({
      published: sum.published + row.published,
      acked: sum.acked + row.acked,
      dead: sum.dead + row.dead,
      inFlight: sum.inFlight + row.inFlight,
      parked: sum.parked + row.parked,
      waiting: sum.waiting + row.waiting,
      redriven: sum.redriven + row.redriven,
    }),
    ZERO,
  );
}

/** At most `rowsMax` rows and one for each group and topic with the sum of those left out. */
export function foldRows(rows: readonly LedgerRow[], rowsMax = ROWS_MAX): readonly LedgerRow[] {
  if (rows.length <= rowsMax) return rows;
  const isWrong = ({ imbalance }: LedgerRow): number => (imbalance === undefined ? 1 : 0);
  const ranked = rows.toSorted((left, right) => isWrong(left) - isWrong(right));
  const others = Map.groupBy(
    ranked.slice(rowsMax),
    ({ group, topic, imbalance }) => `${group}/${topic}/${imbalance !== undefined}`,
  );
  const folded = [...others.values()].flatMap((left) => {
    const [first] = left;
    if (first === undefined) return [];
    const { group, topic, imbalance } = first;
    const sum = { group, topic, partition: OTHER_PARTITIONS, ...sumOfRows(left) };
    return [imbalance === undefined ? sum : { ...sum, imbalance }];
  });
  return [...ranked.slice(0, rowsMax), ...folded];
}
