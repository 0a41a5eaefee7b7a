/**
 * What the front reads: orders, dead letters, audit and analytics, from wherever they are kept.
 *
 * Everything here reads; what changes something goes to a shard as a command. It refuses a server
 * that cannot be used, naming its setting. The client of a server is loaded when it is needed.
 */

import type { AnalyticsReads } from "../actors/analytics/analytics-reads.ts";
import type { ConnectionState } from "../actors/brokers/broker.ts";
import type { AuditReads } from "../actors/audit/audit-reads.ts";
import type { StockState } from "../actors/contracts/order-state.ts";
import type { DeadLetterReads } from "../actors/dead-letters/letter-port.ts";
import type { DeadLetterTotals } from "../actors/stores/dead-letter-reads.ts";
import type { OrderReads, Store } from "../actors/stores/unit-of-work.ts";
import type { Environment } from "../runtime/environment.ts";
import type { ShopConfig } from "./config/config-schema.ts";
import type { AvailabilityPort, OrderEvents } from "./http/gateway-ports.ts";

import { openSharedAvailability } from "../actors/inventory/shared-availability.ts";
import { decodeStock } from "../actors/inventory/stock-rows.ts";
import { publicStock } from "../actors/inventory/stock.ts";
import { openDeadLetterReads } from "../actors/stores/dead-letter-reads.ts";
import { openJournalReads } from "../actors/stores/journal-reads.ts";
import { openViewReads } from "./front-views.ts";
import { pollOrders } from "./polled-order-watch.ts";

export interface FrontGround {
  readonly orders: OrderReads & Pick<Store, "load">;
  readonly letters: DeadLetterReads & { totals(): Promise<DeadLetterTotals> };
  readonly audit: AuditReads;
  readonly analytics: AnalyticsReads;
  /** Absent: it is remembered in this process alone. */
  readonly availability?: AvailabilityPort;
  /** Absent: the shards of this process tell of every change there is. */
  readonly events?: OrderEvents;
  /** Idempotent. */
  close(): Promise<void>;
}

export interface FrontGroundOptions {
  readonly config: ShopConfig;
  readonly environment: Environment;
  readonly onConnection: (server: string, state: ConnectionState) => void;
  readonly onLog: (level: "debug" | "info" | "warning", text: string) => void;
}

/** Rejects with `STORAGE_FAULT` while there is no journal, or `SERVER_UNUSABLE`. */
export async function openFrontGround(options: FrontGroundOptions): Promise<FrontGround> {
  const { config } = options;
  const views = await openViewReads(options);
  try {
    const ground = config.store === "postgres" ? await openRemote(options) : openEmbedded(config);
    const shared = await openShared(options, ground);
    return {
      ...views,
      ...ground,
      ...(shared === undefined ? {} : { availability: shared }),
      async close() {
        shared?.close();
        views.audit.close();
        views.analytics.close();
        await ground.close();
      },
    };
  } catch (error) {
    views.audit.close();
    views.analytics.close();
    throw error;
  }
}

type Orders = Pick<FrontGround, "orders" | "letters" | "events" | "close">;

/** The files of the data directory. */
function openEmbedded({ data }: ShopConfig): Orders {
  const orders = openJournalReads(data);
  const letters = openDeadLetterReads(data);
  return {
    orders,
    letters,
    async close() {
      orders.close();
      letters.close();
    },
  };
}

async function openRemote(options: FrontGroundOptions): Promise<Orders> {
  const { config, environment, onConnection, onLog } = options;
  const [{ openPostgres }, { createPostgresReads }, { createPostgresLetters }] = await Promise.all([
    import("../actors/stores/postgres/postgres-connection.ts"),
    import("../actors/stores/postgres/postgres-reads.ts"),
    import("../actors/stores/postgres/postgres-letters.ts"),
  ]);
  const postgres = await openPostgres(config.postgres, {
    environment,
    slots: config.slots,
    onConnection: (state) => onConnection("postgres", state),
    onLog: (level, text) => onLog(level, `postgres: ${text}`),
  });
  const orders = createPostgresReads(postgres);
  const letters = createPostgresLetters(postgres, config.slots);
  return {
    orders,
    letters: { ...letters, totals: async () => ({ ...(await letters.totals()), dropped: 0 }) },
    events: pollOrders(orders, environment),
    close: () => postgres.close(),
  };
}

/** Availability that several processes remember together, where it is to be on Redis. */
async function openShared(
  { config, environment, onConnection, onLog }: FrontGroundOptions,
  { orders }: Orders,
): Promise<(AvailabilityPort & { close(): void }) | undefined> {
  const { cache, cacheTtlMs: ttlMs } = config.inventory;
  if (cache === "memory" || ttlMs === 0) return undefined;
  const { openRedisConnection } = await import("../actors/brokers/redis/redis-connection.ts");
  const connection = await openRedisConnection({
    settings: config.redis,
    environment,
    purpose: "stock",
    onConnection: (state) => onConnection("redis", state),
    onLog: (level, text) => onLog(level, `redis: ${text}`),
  });
  const availability = await openSharedAvailability({
    environment,
    connection,
    ttlMs,
    prefix: config.redis.prefix,
    load: (productId) => loadStock(orders, productId),
  });
  return {
    get: (productId) => availability.get(productId),
    invalidate: (productId) => availability.invalidate(productId),
    close() {
      availability.close();
      connection.close();
    },
  };
}

/** What the store says of a product. */
export async function loadStock(
  orders: Pick<FrontGround["orders"], "stock">,
  productId: string,
): Promise<StockState | undefined> {
  const row = await orders.stock(productId);
  return row === undefined ? undefined : publicStock(decodeStock(row));
}
