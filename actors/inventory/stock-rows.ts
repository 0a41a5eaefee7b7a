/**
 * Between stock snapshots and rows: what a batch needs is read at once, what it changed is written
 * back under the versions that were read.
 *
 * Rows that were only looked at are not written, so two batches conflict only over products that
 * both of them moved.
 */

import type { Row, RowWrite, Store } from "../stores/unit-of-work.ts";
import type { InventoryInput, Reservation, Snapshot, StockRow } from "./stock.ts";

import { decodeValue, encodeValue } from "../contracts/codec.ts";
import { productsOf } from "./stock.ts";

/** A snapshot with the rows it was made of. */
export interface ReadSnapshot {
  readonly snapshot: Snapshot;
  readonly stockRead: ReadonlyMap<string, StockRow>;
  readonly reservationRows: ReadonlyMap<string, Row>;
}

/** Reads every row that `inputs` may touch. */
export async function readSnapshot(
  store: Store,
  inputs: readonly InventoryInput[],
): Promise<ReadSnapshot> {
  const orderIds = [...new Set(inputs.map((input) => input.orderId))];
  const reservationRows = byKey(await store.load("reservations", orderIds));
  const reservations = new Map<string, Reservation>();
  for (const [orderId, row] of reservationRows) reservations.set(orderId, decodeReservation(row));
  const products = inputs.flatMap((input) => productsOf(input, reservations.get(input.orderId)));
  const productIds = [...new Set(products)];
  const stockRows = productIds.length === 0 ? [] : await store.load("stock", productIds);
  const stockRead = new Map<string, StockRow>();
  for (const [productId, row] of byKey(stockRows)) stockRead.set(productId, decodeStock(row));
  return {
    snapshot: { stock: new Map(stockRead), reservations },
    stockRead,
    reservationRows,
  };
}

/** Stock that differs from what was read, each at its next version. */
export function changedStock({ snapshot, stockRead }: ReadSnapshot): readonly StockRow[] {
  return [...snapshot.stock.values()]
    .filter((stock) => stock !== stockRead.get(stock.productId))
    .map((stock) => ({ ...stock, version: stock.version + 1 }));
}

/** `stock` as the next version of its row. */
export function stockWrite(stock: StockRow): RowWrite {
  return {
    table: "stock",
    key: stock.productId,
    expectedVersion: stock.version - 1,
    data: encodeValue(stock),
  };
}

/** The reservations of `orderIds`, which were all changed. */
export function reservationWrites(
  { snapshot, reservationRows }: ReadSnapshot,
  orderIds: ReadonlySet<string>,
): readonly RowWrite[] {
  return [...orderIds].map((orderId) => ({
    table: "reservations",
    key: orderId,
    expectedVersion: reservationRows.get(orderId)?.version ?? 0,
    data: encodeValue(snapshot.reservations.get(orderId)),
  }));
}

export function decodeStock(row: Row): StockRow {
  // Only `stockWrite` writes this table, and the store keeps what it was given.
  return decodeValue(row.data) as StockRow;
}

export function decodeReservation(row: Row): Reservation {
  // Only `reservationWrites` writes this table, and the store keeps what it was given.
  return decodeValue(row.data) as Reservation;
}

function byKey(rows: readonly (Row | undefined)[]): ReadonlyMap<string, Row> {
  const found = new Map<string, Row>();
  for (const row of rows) if (row !== undefined) found.set(row.key, row);
  return found;
}
