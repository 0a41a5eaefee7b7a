/**
 * What the database of analytics holds, for comparing: its windows, and a hash of everything.
 *
 * Only for tests. The hash covers every table but the position in the feed.
 */

import { Database } from "bun:sqlite";

import type { Sketch } from "./quantile-sketch.ts";

import { analyticsPath } from "./analytics-database.ts";
import { cellName } from "./naive-analytics.fixture.ts";
import { addValue, encodeSketch } from "./quantile-sketch.ts";

const TABLES = ["cells", "visitors", "seen", "customers", "open_orders"];

interface CellRow {
  readonly granularity: string;
  readonly metric: string;
  readonly dimension: string;
  readonly start: number;
  readonly currency: string;
  readonly value: string;
  readonly count: number;
  readonly sum: number;
  readonly sketch: Uint8Array | null;
}

function inside<T>(directory: string, read: (handle: Database) => T): T {
  const handle = new Database(analyticsPath(directory), { readonly: true });
  try {
    return read(handle);
  } finally {
    handle.close();
  }
}

/** Rows of `cells` by name; sketches as hex. */
export function storedCells(directory: string): Record<string, unknown> {
  return inside(directory, (handle) =>
    Object.fromEntries(
      handle
        .query<CellRow, []>("SELECT * FROM cells")
        .all()
        .map(({ granularity, start, count, sum, sketch, ...fact }) => [
          cellName(granularity, start, fact),
          { count, sumMinor: sum, sketch: hex(sketch ?? new Uint8Array()) },
        ]),
    ),
  );
}

/** The same of the reference's cells. */
export function expectedCells(
  cells: ReadonlyMap<string, { count: number; sumMinor: number; amounts: readonly number[] }>,
): Record<string, unknown> {
  return Object.fromEntries(
    [...cells].map(([name, { count, sumMinor, amounts }]) => {
      const sketch: Sketch = new Map();
      for (const amountMinor of amounts) addValue(sketch, amountMinor);
      return [name, { count, sumMinor, sketch: hex(encodeSketch(sketch)) }];
    }),
  );
}

export function rowCount(directory: string, table: string): number {
  const sql = `SELECT count(*) AS "rows" FROM ${table}`;
  return inside(directory, (handle) => handle.query<{ rows: number }, []>(sql).get()?.rows ?? 0);
}

export function stateHash(directory: string): string {
  return inside(directory, (handle) => {
    const hasher = new Bun.CryptoHasher("sha256");
    for (const table of TABLES) {
      for (const row of handle.query(`SELECT * FROM ${table} ORDER BY 1, 2`).values()) {
        hasher.update(JSON.stringify(row.map((value) => hex(value))));
      }
    }
    return hasher.digest("hex");
  });
}

export function isWhole(directory: string): boolean {
  return inside(directory, (handle) => {
    const row = handle.query<{ integrity_check: string }, []>("PRAGMA integrity_check").get();
    return row?.integrity_check === "ok";
  });
}

function hex(value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value;
}
