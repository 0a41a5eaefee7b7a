/**
 * The best values in turns against a plain sum over everything: the same, however small the steps.
 */

import { afterAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { TopQuestion, TopValue } from "./top-values.ts";

import { openAnalyticsDatabase } from "./analytics-database.ts";
import { HOUR_MS } from "./event-windows.ts";
import { createTopReader, findTop, mergeTop } from "./top-values.ts";

const directory = mkdtempSync(join(tmpdir(), "shopstream-top-"));
const handle = openAnalyticsDatabase(directory);
afterAll(() => {
  handle.close(true);
  rmSync(directory, { recursive: true });
});

interface Cell {
  readonly hour: number;
  readonly currency: string;
  readonly value: string;
  readonly count: number;
  readonly sumMinor: number;
}

const HOURS = 24;
const question: Omit<TopQuestion, "by"> = {
  metric: "revenue",
  dimension: "product",
  fromMs: HOUR_MS,
  toMs: (HOURS + 1) * HOUR_MS,
  limit: 3,
};

function store(cells: readonly Cell[]): void {
  const insert = handle.prepare<unknown, (string | number | null)[]>(
    `INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)
       ON CONFLICT DO UPDATE SET count = count + excluded.count, sum = sum + excluded.sum`,
  );
  handle.transaction(() => {
    handle.run("DELETE FROM cells");
    // Neighbours of what is asked for, which must not be added to it.
    insert.run("minute", "revenue", "product", HOUR_MS, "EUR", "a", 1_000, 1_000);
    insert.run("hour", "revenue", "size", HOUR_MS, "EUR", "a", 1_000, 1_000);
    insert.run("hour", "units", "product", HOUR_MS, "EUR", "a", 1_000, 1_000);
    for (const { hour, currency, value, count, sumMinor } of cells) {
      const place = ["hour", "revenue", "product", hour * HOUR_MS, currency, value];
      insert.run(...place, count, sumMinor);
    }
  })();
}

/** Everything at once, in the order of bytes where figures are equal. */
function naiveTop(cells: readonly Cell[], by: TopQuestion["by"]): readonly TopValue[] {
  const sums = new Map<string, TopValue>();
  for (const { hour, currency, value, count, sumMinor } of cells) {
    if (hour < 1 || hour > HOURS) continue;
    const known = sums.get(`${currency} ${value}`) ?? { count: 0, sumMinor: 0 };
    sums.set(`${currency} ${value}`, {
      value,
      currency,
      count: known.count + count,
      sumMinor: known.sumMinor + sumMinor,
    });
  }
  const sorted = [...sums.values()].toSorted(
    (one, other) =>
      byBytes(one.currency, other.currency) ||
      other[by] - one[by] ||
      byBytes(one.value, other.value),
  );
  const byCurrency = Map.groupBy(sorted, ({ currency }) => currency);
  return [...byCurrency.values()].flatMap((values) => values.slice(0, question.limit));
}

function byBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

const cell: fc.Arbitrary<Cell> = fc.record({
  hour: fc.integer({ min: 0, max: HOURS + 1 }),
  currency: fc.constantFrom("", "EUR", "USD"),
  // Among them two whose order differs between UTF-8 and JavaScript.
  value: fc.constantFrom("a", "b", "b1", "c", "d", "e", "\uffee", "\u{1f600}", "zz", "(other)"),
  count: fc.integer({ min: 0, max: 5 }),
  sumMinor: fc.integer({ min: 0, max: 9 }),
});

describe("the best values", () => {
  test("are those of a plain sum, however few rows a step looks at", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(cell, { maxLength: 120 }),
        fc.integer({ min: 1, max: 6 }),
        fc.constantFrom("count", "sumMinor"),
        async (cells, stepRows, by) => {
          store(cells);
          const step = createTopReader(handle, stepRows);
          const found = await findTop({ ...question, by }, step, async () => {});
          expect(found).toEqual(naiveTop(cells, by));
        },
      ),
      { numRuns: 300 },
    );
  });

  test("let others have their turn after so many rows of an hour", async () => {
    const cells = Array.from({ length: 95 }, (_, number) => {
      const value = `product-${number}`;
      return { hour: 1 + (number % 2), currency: "EUR", value, count: number, sumMinor: 1 };
    });
    store([...cells, ...cells.map((one) => ({ ...one, hour: 5 }))]);
    let turns = 0;
    const found = await findTop(
      { ...question, by: "count" },
      createTopReader(handle, 10),
      async () => {
        turns++;
      },
    );
    expect(found.map(({ value }) => value)).toEqual(["product-94", "product-93", "product-92"]);
    expect(found[0]).toMatchObject({ count: 2 * 94, sumMinor: 2 });
    expect(turns).toBe(9);
  });

  test("of two steps are merged by currency, and of equals the earlier goes first", () => {
    const value = (name: string, currency: string, count: number): TopValue => {
      return { value: name, currency, count, sumMinor: 0 };
    };
    const earlier = [value("a", "EUR", 5), value("b", "EUR", 2)];
    const later = [value("c", "EUR", 5), value("d", "EUR", 3), value("a", "USD", 1)];
    const merged = mergeTop(earlier, later, { by: "count", limit: 3 });
    expect(merged.map((one) => `${one.value}${one.currency}`)).toEqual([
      "aEUR",
      "cEUR",
      "dEUR",
      "aUSD",
    ]);
  });
});
