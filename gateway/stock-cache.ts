/**
 * Availability for the gateway: cached here, changed in the shards.
 *
 * The shards count every change of stock in shared memory; an answer is given from the cache only
 * while that count stands where it stood before the answer was read.
 */

import type { StockState } from "../actors/contracts/order-state.ts";
import type { Environment } from "../runtime/environment.ts";
import type { AvailabilityPort } from "./http/gateway-ports.ts";

import { readChange } from "../actors/change-page.ts";
import { createAvailabilityCache } from "../actors/inventory/availability-cache.ts";
import { LRUCache } from "lru-cache";

const PRODUCTS_MAX = 10_000;

export interface StockCacheOptions {
  readonly environment: Environment;
  readonly changes: SharedArrayBuffer;
  readonly ttlMs: number;
  readonly load: (productId: string) => Promise<StockState | undefined>;
}

export function createStockCache(options: StockCacheOptions): AvailabilityPort {
  const page = new Int32Array(options.changes);
  const seen = new LRUCache<string, number>({ max: PRODUCTS_MAX });
  const { environment, ttlMs, load } = options;
  const cache = createAvailabilityCache({ environment, ttlMs, productsMax: PRODUCTS_MAX, load });
  return {
    get(productId) {
      const change = readChange(page, productId);
      if (seen.get(productId) !== change) {
        cache.invalidate(productId);
        seen.set(productId, change);
      }
      return cache.get(productId);
    },
    invalidate: (productId) => cache.invalidate(productId),
  };
}
