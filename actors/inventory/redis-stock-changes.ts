/**
 * The stock that processes remember together, on Redis: values, and the word that one changed.
 *
 * A change counts up the product's generation, removes the value and tells everybody who listens,
 * in one step. A value is put only under the generation at which it began to be read: what was
 * read before a change is never put after it. Values and generations go by age. Refuses nothing:
 * without a server there is nothing to remember and nobody to tell.
 */

import type { Argument, RedisLink } from "../brokers/redis/redis-link.ts";
import type { StockState } from "../contracts/order-state.ts";

import { bytes, list, text } from "../brokers/redis/redis-reply.ts";
import { redisScript } from "../brokers/redis/redis-scripts.ts";
import { decodeValue, encodeValue } from "../contracts/codec.ts";

/** KEYS: generation and value of each. ARGV: age, channel, names of the products. */
const CHANGED = redisScript(
  `
for at = 1, #KEYS, 2 do
  redis.call('INCR', KEYS[at])
  redis.call('PEXPIRE', KEYS[at], ARGV[1] * 2)
  redis.call('DEL', KEYS[at + 1])
  redis.call('PUBLISH', ARGV[2], ARGV[2 + (at + 1) / 2])
end
return 1`,
  " flags=allow-oom",
);

/** KEYS: generation, value. ARGV: generation when it was read (empty: none), value, age. */
const PUT = redisScript(`
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1`);

export interface StockMemory {
  /** What is remembered of a product, and the generation under which it may be put. */
  get(productId: string): Promise<{ stock: StockState | undefined; generation: string }>;
  put(productId: string, stock: StockState, generation: string): Promise<void>;
  /** These have changed: forgets them and tells everybody. */
  changed(productIds: readonly string[]): Promise<void>;
}

export function stockChannel(prefix: string): string {
  return `${prefix}stock:changed`;
}

/** All of it rejects as the link does. A change outlives `ttlMs`, which is the same everywhere. */
export function createStockMemory(
  link: Pick<RedisLink, "call" | "run">,
  { prefix, ttlMs }: { readonly prefix: string; readonly ttlMs: number },
): StockMemory {
  const keysOf = (productId: string) => [
    `${prefix}stock:generation:${productId}`,
    `${prefix}stock:value:${productId}`,
  ];
  return {
    async get(productId) {
      const [generation, value] = list(await link.call("MGET", ...keysOf(productId)));
      return {
        // Written by `put`, below.
        stock: value === null ? undefined : (decodeValue(bytes(value)) as StockState),
        generation: generation === null ? "" : text(generation),
      };
    },
    async put(productId, stock, generation) {
      await link.run(PUT, keysOf(productId), generation, encodeValue(stock), ttlMs);
    },
    async changed(productIds) {
      const parts: Argument[] = [ttlMs, stockChannel(prefix), ...productIds];
      await link.run(CHANGED, productIds.flatMap(keysOf), ...parts);
    },
  };
}
