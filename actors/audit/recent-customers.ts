/**
 * Customers of the orders that were heard of last, by order.
 *
 * Two generations: what is asked for moves to the young one, and when that is full the old one is
 * forgotten as a whole. Nothing is ever taken out one by one, which in a large table that never
 * rests costs more than all else that is done with it. Holds at most twice a generation.
 */

import { CUSTOMERS_CACHED_MAX } from "./audit-limits.ts";

export class RecentCustomers {
  readonly #generationMax: number;
  #young = new Map<string, string>();
  #old = new Map<string, string>();

  constructor(ordersMax = CUSTOMERS_CACHED_MAX) {
    this.#generationMax = Math.max(1, Math.floor(ordersMax / 2));
  }

  get(orderId: string): string | undefined {
    const found = this.#young.get(orderId);
    if (found !== undefined) return found;
    const kept = this.#old.get(orderId);
    if (kept !== undefined) this.set(orderId, kept);
    return kept;
  }

  set(orderId: string, customerId: string): void {
    if (this.#young.size >= this.#generationMax && !this.#young.has(orderId)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(orderId, customerId);
  }
}
