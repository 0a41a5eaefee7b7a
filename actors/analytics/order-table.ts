/**
 * Customers and open orders: what must be remembered between an order and its payment.
 *
 * A batch works on copies and writes at its end, so that an order that was created and paid within
 * one batch never touches the database. Both tables are bounded, by number and by age; a customer
 * who was forgotten is new again. Must be called within a transaction.
 */

import type { Database } from "bun:sqlite";

import type { AnalyticsSettings } from "./analytics-tuning.ts";
import type { OpenOrder, OrderMemory } from "./order-facts.ts";

import { decodeValue, encodeValue } from "../contracts/codec.ts";
import { DAY_MS, MINUTE_MS } from "./event-windows.ts";

/** Rows that one call removes. */
const REMOVE_ROWS = 1_000;
/** To count a table is to read it: one that was within its bound is not counted again sooner. */
const COUNT_REST_MS = MINUTE_MS;

interface Customer {
  orders: number;
  lastDay: number;
  /** Last day as stored; `undefined`: no row. */
  readonly storedDay?: number;
}

interface HeldOrder {
  /** `undefined`: taken. */
  readonly order: OpenOrder | undefined;
  readonly atMs: number;
  readonly isStored: boolean;
}

/** One batch's view of the two tables. */
export interface OrderMemoryBatch extends OrderMemory {
  /** Writes what has changed. */
  save(): void;
}

export interface OrderTable {
  begin(): OrderMemoryBatch;
  /** Forgets some of what is too old or too much; false: nothing is. */
  removeSome(nowMs: number): boolean;
}

export function createOrderTable(
  handle: Database,
  settings: Pick<AnalyticsSettings, "customersMax" | "openOrdersMax" | "openOrderAgeMs">,
): OrderTable {
  const selectCustomer = handle.prepare<Customer, [string]>(
    "SELECT orders, last_day AS lastDay, last_day AS storedDay FROM customers WHERE id = ?",
  );
  const saveCustomer = handle.prepare<unknown, [string, number, number]>(
    "INSERT OR REPLACE INTO customers VALUES (?, ?, ?)",
  );
  const saveCount = handle.prepare<unknown, [number, string]>(
    "UPDATE customers SET orders = ? WHERE id = ?",
  );
  const selectOrder = handle.prepare<{ at: number; data: Uint8Array }, [string]>(
    "SELECT at, data FROM open_orders WHERE id = ?",
  );
  const saveOrder = handle.prepare<unknown, [string, number, Uint8Array]>(
    "INSERT OR REPLACE INTO open_orders VALUES (?, ?, ?)",
  );
  const removeOrder = handle.prepare<unknown, [string]>("DELETE FROM open_orders WHERE id = ?");
  const removeAged = handle.prepare<unknown, [number]>(
    `DELETE FROM open_orders WHERE id IN
       (SELECT id FROM open_orders WHERE at < ? ORDER BY at LIMIT ${REMOVE_ROWS})`,
  );
  const removeOrders = prepareExcess(handle, "open_orders", "at");
  const removeCustomers = prepareExcess(handle, "customers", "last_day");
  let withinBoundsMs = Number.NEGATIVE_INFINITY;

  /** Whether there were too many of either. */
  function removeExcess(nowMs: number): boolean {
    if (Math.abs(nowMs - withinBoundsMs) < COUNT_REST_MS) return false;
    const removed =
      removeOrders.run(settings.openOrdersMax).changes +
      removeCustomers.run(settings.customersMax).changes;
    if (removed === 0) withinBoundsMs = nowMs;
    return removed > 0;
  }

  function begin(): OrderMemoryBatch {
    const customers = new Map<string, Customer>();
    const orders = new Map<string, HeldOrder>();

    function held(orderId: string): HeldOrder | undefined {
      const known = orders.get(orderId);
      if (known !== undefined) return known;
      const row = selectOrder.get(orderId);
      // Only this file writes the table, and always this shape.
      const stored = row && { order: decodeValue(row.data) as OpenOrder, atMs: row.at };
      return stored === null ? undefined : { ...stored, isStored: true };
    }

    return {
      countOrder(id, atMs) {
        const day = Math.floor(atMs / DAY_MS);
        const known = customers.get(id) ?? selectCustomer.get(id);
        const customer = known ?? { orders: 0, lastDay: day };
        customer.orders++;
        customer.lastDay = Math.max(customer.lastDay, day);
        customers.set(id, customer);
        return customer.orders;
      },
      remember(orderId, order, atMs) {
        const isStored = orders.get(orderId)?.isStored ?? false;
        orders.set(orderId, { order, atMs, isStored });
      },
      take(orderId) {
        const found = held(orderId);
        if (found === undefined) return undefined;
        if (found.isStored) orders.set(orderId, { ...found, order: undefined });
        else orders.delete(orderId);
        return found.order;
      },
      save() {
        for (const [id, { orders: count, lastDay, storedDay }] of customers) {
          // The index is touched once a day, not with each order.
          if (lastDay === storedDay) saveCount.run(count, id);
          else saveCustomer.run(id, count, lastDay);
        }
        for (const [id, { order, atMs }] of orders) {
          if (order === undefined) removeOrder.run(id);
          else saveOrder.run(id, atMs, encodeValue(order));
        }
      },
    };
  }

  return {
    begin,
    removeSome(nowMs) {
      const aged = removeAged.run(nowMs - settings.openOrderAgeMs).changes;
      return removeExcess(nowMs) || aged > 0;
    },
  };
}

/** Removes some of what is more than a bound, the oldest by `column` first. */
function prepareExcess(handle: Database, table: string, column: string) {
  return handle.prepare<unknown, [number]>(
    `DELETE FROM ${table} WHERE id IN (SELECT id FROM ${table} ORDER BY ${column}
       LIMIT min(${REMOVE_ROWS}, max(0, (SELECT count(*) FROM ${table}) - ?)))`,
  );
}
