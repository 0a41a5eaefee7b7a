/**
 * Cache-aside for reads of stock: answers from memory for a while, loads what it has not got.
 *
 * A change of stock must be followed by `invalidate`; then even a load that was under way before
 * the change leaves nothing behind. Products that do not exist are not remembered. Concurrent
 * misses of one product share one load, and a load that fails fails for all of them.
 */

import { LRUCache } from "lru-cache";

import type { Environment } from "../../runtime/environment.ts";
import type { StockState } from "../contracts/order-state.ts";

export interface AvailabilityCacheOptions {
  readonly environment: Environment;
  readonly load: (productId: string) => Promise<StockState | undefined>;
  /** Longest time an answer is given without asking again; default 5 minutes. */
  readonly ttlMs?: number;
  /** Products remembered; the least recently asked for go first. */
  readonly productsMax?: number;
}

export interface AvailabilityCache {
  get(productId: string): Promise<StockState | undefined>;
  invalidate(productId: string): void;
  stats(): { readonly hits: number; readonly misses: number; readonly products: number };
}

const TTL_MS = 5 * 60_000;
const PRODUCTS_MAX = 10_000;

export function createAvailabilityCache(options: AvailabilityCacheOptions): AvailabilityCache {
  const { environment, load, ttlMs = TTL_MS, productsMax = PRODUCTS_MAX } = options;
  const cache = new LRUCache<string, StockState>({
    max: productsMax,
    ttl: ttlMs,
    // Our clock; resolution 0 keeps the library from starting real timers to cache its reading.
    // It takes 0 for "no entry time", which a clock that starts at 0 would give.
    perf: { now: () => environment.monotonicMs() + 1 },
    ttlResolution: 0,
  });
  const loading = new Map<string, Promise<StockState | undefined>>();
  let hits = 0;
  let misses = 0;

  async function get(productId: string): Promise<StockState | undefined> {
    const known = cache.get(productId);
    if (known !== undefined) {
      hits++;
      return known;
    }
    misses++;
    return await (loading.get(productId) ?? fill(productId));
  }

  function fill(productId: string): Promise<StockState | undefined> {
    const answer = load(productId)
      .then((stock) => {
        // An invalidation in the meantime has taken this load off the list.
        if (stock !== undefined && loading.get(productId) === answer) cache.set(productId, stock);
        return stock;
      })
      .finally(() => {
        if (loading.get(productId) === answer) loading.delete(productId);
      });
    loading.set(productId, answer);
    return answer;
  }

  function invalidate(productId: string): void {
    cache.delete(productId);
    loading.delete(productId);
  }

  return { get, invalidate, stats: () => ({ hits, misses, products: cache.size }) };
}
