/**
 * Windows as piles, decided without a server: what comes next, what counts, what is never counted
 * twice.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { FreshDocument, PileDocument } from "./mongo-collections.ts";
import type { SeriesCell } from "./series-cells.ts";

import { HOUR_MS, MINUTE_MS } from "../event-windows.ts";
import { addValue, encodeSketch } from "../quantile-sketch.ts";
import { planRollUp } from "./roll-up.ts";
import { CellSums, packCells, unpackCells } from "./series-cells.ts";
import { cellPile, cellsOfPile, claimsIn, nextPile, topPiles } from "./window-piles.ts";
import { sumSeries } from "./window-reader.ts";

function cell(value: string, count: number, startMs = 0, amountMinor?: number): SeriesCell {
  const sketch = new Map<number, number>();
  if (amountMinor !== undefined) addValue(sketch, amountMinor, count);
  return {
    startMs,
    currency: amountMinor === undefined ? "" : "USD",
    value,
    count,
    sumMinor: count * (amountMinor ?? 0),
    sketch: amountMinor === undefined ? null : encodeSketch(sketch),
  };
}

const everything = () => true;
const anyCell = fc
  .record({
    value: fc.constantFrom("a", "b", "c", "d", "e"),
    count: fc.integer({ min: 1, max: 9 }),
    minute: fc.integer({ min: 0, max: 119 }),
    amountMinor: fc.integer({ min: 1, max: 1_000_000 }),
  })
  .map(({ value, count, minute, amountMinor }) =>
    cell(value, count, minute * MINUTE_MS, amountMinor),
  );

describe("cells", () => {
  test("are the same after packing", () => {
    const cells = [cell("a", 1), cell("b", 2, MINUTE_MS, 500)];
    expect(unpackCells(packCells(cells))).toEqual(cells);
  });

  test("past the values that a window keeps are added to (other)", () => {
    const sums = new CellSums("hour", 2);
    sums.add([cell("a", 1), cell("b", 2), cell("c", 3), cell("a", 4), cell("d", 5)]);
    sums.add([cell("", 7), cell("c", 1, HOUR_MS)]);
    const found = [...sums.cells()].map(({ startMs, value, count }) => [startMs, value, count]);
    expect(found).toEqual([
      [0, "a", 5],
      [0, "b", 2],
      [0, "(other)", 8],
      [0, "", 7],
      [HOUR_MS, "c", 1],
    ]);
  });
});

describe("a pile", () => {
  const kind = cellPile("minute", 10);
  const part = (claim: string, count: number) => ({ claim, content: [cell("a", count)] });

  test("has what the one before it had, and names what came", () => {
    const first = nextPile(0, undefined, [part("x", 1)], kind, everything);
    const second = nextPile(0, first, [part("x", 1), part("y", 2)], kind, everything);
    expect(second).toMatchObject({ _id: "0/1", number: 1, added: ["y"], before: ["x"] });
    expect(second && cellsOfPile(second)).toEqual([cell("a", 3)]);
    expect(nextPile(0, second, [part("x", 1), part("y", 2)], kind, everything)).toBeUndefined();
  });

  test("names a claim for as long as it is fresh, and once more after that", () => {
    const isFresh = (claim: string) => claim === "x";
    let pile = nextPile(0, undefined, [part("x", 1), part("y", 1)], kind, isFresh);
    for (const claim of ["z1", "z2", "z3"]) {
      pile = nextPile(0, pile, [part(claim, 1)], kind, isFresh);
    }
    expect(claimsIn(pile)).toEqual(new Set(["x", "z2", "z3"]));
  });

  test("counts by its number, not by when it was found", () => {
    const pile = (number: number): PileDocument => {
      return { _id: `0/${number}`, start: new Date(0), number, added: [], before: [] };
    };
    expect(topPiles([pile(1), pile(3), pile(2)]).get(0)?.number).toBe(3);
  });

  test("with a column that is too short is refused with its name", () => {
    const pile = nextPile(0, undefined, [part("x", 1)], kind, everything);
    const broken = { ...pile, count: [] } as unknown as PileDocument; // the damage that is tested
    expect(() => cellsOfPile(broken)).toThrow("the window 0/0: count has 0 entries, not 1");
  });
});

test("what a reader adds up is the same wherever the roll-ups fell", () => {
  const pieces = fc.array(fc.array(anyCell, { minLength: 1, maxLength: 8 }), { maxLength: 12 });
  fc.assert(
    fc.property(pieces, fc.array(fc.nat({ max: 12 })), fc.nat({ max: 12 }), (all, cuts, gone) => {
      const fresh = all.map((cells, number): FreshDocument => {
        const claim = `piece-${String(number).padStart(2, "0")}`;
        const storedAt = new Date(0);
        return { _id: claim, storedAt, visitors: [], cells: { orders_product: packCells(cells) } };
      });
      const question = { metric: "orders", dimension: "product", fromMs: 0, toMs: 2 * HOUR_MS };
      const asked = { ...question, granularity: "minute" } as const;
      const typed = { ...asked, metric: "orders", dimension: "product" } as const;
      const kind = cellPile("minute", 3);
      let tops: ReadonlyMap<number, PileDocument> = new Map();
      for (const cut of cuts) {
        const parts = planRollUp(fresh.slice(0, cut)).series.get("orders_product") ?? new Map();
        const next = [...parts].flatMap(([startMs, ofHour]) => {
          return nextPile(startMs, tops.get(startMs), ofHour, kind, everything) ?? [];
        });
        tops = topPiles([...tops.values(), ...next]);
      }
      // Some of what was rolled up is gone from `fresh`, as after each roll-up.
      const rolled = Math.max(0, ...cuts);
      const left = fresh.slice(Math.min(gone, rolled));
      const expected = sumSeries(fresh, new Map(), typed, 3).result;
      const found = sumSeries(left, tops, typed, 3).result;
      const ordered = (cells: readonly SeriesCell[]) =>
        cells.toSorted((one, other) => {
          const names = [`${one.startMs} ${one.value}`, `${other.startMs} ${other.value}`];
          return (names[0] ?? "") < (names[1] ?? "") ? -1 : 1;
        });
      expect(ordered(found)).toEqual(ordered(expected));
    }),
    { numRuns: 200 },
  );
});
