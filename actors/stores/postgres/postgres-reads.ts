/**
 * The gateway's reads on PostgreSQL: orders, their timelines, stock.
 *
 * They see every commit that was answered before the call. Each page runs on the index made for
 * its filters. Refuses pages larger than the bounds of the embedded store.
 */

import type { OrderQuery, OrderReads, Row, Store, TimelineEntry } from "../unit-of-work.ts";
import type { Postgres } from "./postgres-connection.ts";
import type { StoredRow } from "./row-loader.ts";

import { assert } from "../../../runtime/errors.ts";
import { ORDERS_PAGE_MAX, TIMELINE_PAGE_MAX } from "../journal/journal-limits.ts";
import { run } from "./batch-state.ts";
import { readFailure } from "./postgres-failure.ts";
import { createRowLoader, rowOf } from "./row-loader.ts";

export type PostgresReads = OrderReads & Pick<Store, "load">;

const SELECT_TIMELINE = `SELECT version, type, at, data FROM timeline
  WHERE order_id = $1 AND version > $2::bigint ORDER BY version LIMIT ${TIMELINE_PAGE_MAX}`;

interface StoredEntry {
  readonly version: string;
  readonly type: string;
  readonly at: string;
  readonly data: Uint8Array;
}

export function createPostgresReads(postgres: Postgres): PostgresReads {
  const load = createRowLoader(postgres);

  async function ask<Found extends object>(
    text: string,
    parameters: string[],
  ): Promise<readonly Found[]> {
    // No row has a NUL in its texts, and the server would refuse the question.
    if (parameters.some((value) => value.includes("\0"))) return [];
    try {
      return await postgres.reading((sql) => run<Found>(sql, text, parameters));
    } catch (error) {
      throw readFailure(error);
    }
  }

  return {
    load,
    order: async (id) => (await load("orders", [id]))[0],
    stock: async (productId) => (await load("stock", [productId]))[0],
    async orders(query): Promise<readonly Row[]> {
      const { text, parameters } = pageQuery(query);
      return (await ask<StoredRow>(text, parameters)).map(rowOf);
    },
    async timeline(orderId, afterVersion): Promise<readonly TimelineEntry[]> {
      const rows = await ask<StoredEntry>(SELECT_TIMELINE, [orderId, `${afterVersion}`]);
      return rows.map(({ version, type, at, data }) => {
        return { orderId, version: Number(version), type, atMs: Number(at), data };
      });
    },
  };
}

/** A text for each combination of filters, so that each is planned for its own index. */
export function pageQuery({ customerId, status, limit, after }: OrderQuery): {
  readonly text: string;
  readonly parameters: string[];
} {
  assert(limit >= 1 && limit <= ORDERS_PAGE_MAX, `a page of ${limit} orders`);
  const parameters: string[] = [];
  const place = (value: string): string => `$${parameters.push(value)}`;
  const filters: string[] = [];
  if (customerId !== undefined) filters.push(`customer_id = ${place(customerId)}`);
  // The concatenation keeps the planner on the customer's index, which is the narrower one.
  const column = customerId === undefined ? "status" : "status || ''";
  if (status !== undefined) filters.push(`${column} = ${place(status)}`);
  if (after !== undefined) {
    const { createdAtMs, key } = after;
    filters.push(`(created_at, key) < (${place(`${createdAtMs}`)}::bigint, ${place(key)}::text)`);
  }
  const where = filters.length === 0 ? "" : `WHERE ${filters.join(" AND ")}`;
  const text = `SELECT key, version, data FROM orders ${where}
    ORDER BY created_at DESC, key DESC LIMIT ${place(`${limit}`)}::int`;
  return { text, parameters };
}
