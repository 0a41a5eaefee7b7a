/**
 * Loads rows by key: what is asked for in one turn of the event loop is one query for each table.
 *
 * A turn with more than the bound makes several queries. It sees every commit that was answered
 * before the call, since it reads from the server that answered.
 */

import type { Row, Table } from "../unit-of-work.ts";
import type { Postgres } from "./postgres-connection.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { textArray } from "./array-literals.ts";
import { run } from "./batch-state.ts";
import { readFailure } from "./postgres-failure.ts";

/** Keys of one query. */
const KEYS_MAX = 1_000;
/** Keys of one table that wait or are being read. */
const OPEN_KEYS_MAX = 100_000;

interface Wanted {
  readonly resolve: (row: Row | undefined) => void;
  readonly reject: (error: unknown) => void;
}

export interface StoredRow {
  readonly key: string;
  readonly version: string;
  readonly data: Uint8Array;
}

export function rowOf({ key, version, data }: StoredRow): Row {
  return { key, version: Number(version), data };
}

export function createRowLoader(
  postgres: Postgres,
): (table: Table, keys: readonly string[]) => Promise<readonly (Row | undefined)[]> {
  const loaders = new Map<Table, TableLoader>();
  return async (table, keys) => {
    let loader = loaders.get(table);
    if (loader === undefined) loaders.set(table, (loader = new TableLoader(postgres, table)));
    return await Promise.all(keys.map((key) => loader.load(key)));
  };
}

class TableLoader {
  readonly #postgres: Postgres;
  readonly #text: string;
  #wanted = new Map<string, Wanted[]>();
  #open = 0;

  constructor(postgres: Postgres, table: Table) {
    this.#postgres = postgres;
    this.#text = `SELECT key, version, data FROM ${table} WHERE key = ANY($1::text[])`;
  }

  load(key: string): Promise<Row | undefined> {
    // No row has such a key, and the server would refuse the question.
    if (key.includes("\0") || !key.isWellFormed()) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      if (this.#open >= OPEN_KEYS_MAX) {
        const message = `${this.#open} rows are being loaded from PostgreSQL`;
        return reject(new ShopError("SATURATED", message, "later"));
      }
      this.#open++;
      if (this.#wanted.size === 0) this.#postgres.environment.defer(() => this.#flush());
      const wanted = this.#wanted.get(key);
      if (wanted === undefined) this.#wanted.set(key, [{ resolve, reject }]);
      else wanted.push({ resolve, reject });
    });
  }

  #flush(): void {
    const all = [...this.#wanted];
    this.#wanted = new Map();
    for (let from = 0; from < all.length; from += KEYS_MAX) {
      void this.#read(all.slice(from, from + KEYS_MAX));
    }
  }

  async #read(wanted: readonly (readonly [string, readonly Wanted[]])[]): Promise<void> {
    const keys = textArray(wanted.map(([key]) => key));
    try {
      const rows = await this.#postgres.reading((sql) => run<StoredRow>(sql, this.#text, [keys]));
      const found = new Map(rows.map((row) => [row.key, rowOf(row)]));
      for (const [key, askers] of wanted) for (const { resolve } of askers) resolve(found.get(key));
    } catch (error) {
      for (const [, askers] of wanted) for (const { reject } of askers) reject(readFailure(error));
    } finally {
      for (const [, askers] of wanted) this.#open -= askers.length;
    }
  }
}
