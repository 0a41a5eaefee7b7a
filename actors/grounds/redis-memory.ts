/**
 * What a shard keeps on Redis beside its ground: what the fraud check knows, and the word that
 * stock has changed.
 *
 * Both are for several processes to share, and neither is the truth: without the server orders are
 * held until they can be checked, and availability is asked of the store. Refuses a server that
 * cannot be used at start, naming its setting.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { RedisSettings } from "../brokers/redis/redis-options.ts";
import type { GroundEvents, ShardGround } from "./shard-ground.ts";

import { openRedisConnection } from "../brokers/redis/redis-connection.ts";
import { createRedisFraudStore } from "../fraud/redis-fraud-store.ts";
import { createShardFraud } from "../fraud/shard-fraud.ts";
import { createStockMemory } from "../inventory/redis-stock-changes.ts";
import { createStockAnnouncer } from "../inventory/stock-announcer.ts";

/** Plain values, cloneable. At least one of the two is there. */
export interface RedisMemoryData {
  readonly settings: RedisSettings;
  /** How long what the fraud check knows is kept; absent: it is kept elsewhere. */
  readonly fraudAgeMs?: number;
  /** How long availability is remembered; absent: it is not remembered on Redis. */
  readonly stockTtlMs?: number;
}

export interface RedisMemory {
  readonly createFraud?: NonNullable<ShardGround["createFraud"]>;
  readonly stockChanged: (productId: string) => void;
  close(): void;
}

/** Rejects with `SERVER_UNUSABLE`, unless the server `mayBeAway`. */
export async function openRedisMemory(
  { settings, fraudAgeMs, stockTtlMs }: RedisMemoryData,
  environment: Environment,
  { onConnection, onLog }: Pick<GroundEvents, "onConnection" | "onLog">,
  mayBeAway: boolean,
): Promise<RedisMemory> {
  const connection = await openRedisConnection({
    settings,
    environment,
    purpose: "memory",
    mayBeAway,
    onConnection: (state) => onConnection("redis", state),
    onLog: (level, text) => onLog(level, `redis: ${text}`),
  });
  const { link } = connection;
  const { prefix } = settings;
  const announcer =
    stockTtlMs === undefined
      ? undefined
      : createStockAnnouncer({
          environment,
          // Readers keep an answer for the other half of its life.
          memory: createStockMemory(link, { prefix, ttlMs: Math.ceil(stockTtlMs / 2) }),
        });
  const store =
    fraudAgeMs === undefined
      ? undefined
      : createRedisFraudStore({ link, prefix, ageMs: fraudAgeMs });
  return {
    ...(store === undefined
      ? {}
      : {
          createFraud: (fraud, options) => createShardFraud(fraud, { ...options, store }),
        }),
    stockChanged: (productId) => announcer?.changed(productId),
    close() {
      announcer?.close();
      connection.close();
    },
  };
}
