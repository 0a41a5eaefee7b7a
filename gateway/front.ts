/**
 * The front of the shop, on the main thread: the HTTP application and what it stands on.
 *
 * It has its own end of the rings to the shards and its own read-only connection; it never writes
 * to the store.
 */

import type { Logger } from "@logtape/logtape";
import type { ConnectionState } from "../actors/brokers/broker.ts";
import type { OrderReads } from "../actors/stores/unit-of-work.ts";
import type { Sabotage } from "../actors/sabotage.ts";
import type { Environment } from "../runtime/environment.ts";
import type { RunningChild } from "../runtime/supervision/child.ts";
import type { MeshMemory } from "../runtime/threads/mesh.ts";
import type { ShopConfig } from "./config/config-schema.ts";
import type { GatewayDeps } from "./http/gateway-ports.ts";
import type { HttpApp } from "./http/http-app.ts";
import type { MetricRow } from "./http/metric-row.ts";

import { SHOP_LAYOUT } from "../actors/shop-metrics.ts";
import { assert, describeError } from "../runtime/errors.ts";
import { readCounterPage } from "../runtime/threads/counter-page.ts";
import { MeshNode } from "../runtime/threads/mesh.ts";
import { loadDemoStock } from "./demo-stock.ts";
import { loadStock, openFrontGround } from "./front-ground.ts";
import { openFrontPlatform } from "./front-platform.ts";
import { createHttpApp } from "./http/http-app.ts";
import { startHttp } from "./http/http-server.ts";
import { renderMetrics } from "./http/metrics-text.ts";
import { startProcessMetrics } from "./http/process-metrics.ts";
import { watchOrders } from "./order-watch.ts";
import { withSabotageDoor } from "./sabotage-door.ts";
import { ShardCommands } from "./shard-commands.ts";
import { ShopHealth } from "./shop-health.ts";
import { createStockCache } from "./stock-cache.ts";
import { viewsOf } from "./views-child.ts";

/** Other processes change stock too, and without Redis nobody tells of it. */
const UNTOLD_TTL_MS = 1_000;

export interface FrontOptions {
  readonly config: ShopConfig;
  readonly environment: Environment;
  readonly log: Logger;
  readonly memory: MeshMemory;
  readonly counters: SharedArrayBuffer;
  readonly orderChanges: SharedArrayBuffer;
  readonly stockChanges: SharedArrayBuffer;
  /** This thread's index in the mesh, and those of the shards in order. */
  readonly me: number;
  readonly shardThreads: readonly number[];
  readonly shardCounts: () => { readonly specs: number; readonly active: number };
  readonly viewsRunning: () => boolean;
  /** This thread can reach a server, or cannot. */
  readonly onConnection: (server: string, state: ConnectionState) => void;
  readonly onSabotage: (shard: number | "journal" | "views", how: Sabotage) => void;
}

export interface Front extends RunningChild {
  readonly url: string;
  readonly stockLoaded: boolean;
  readonly health: Omit<ShopHealth, "report" | "stop">;
  /** The journal is gone: whoever waits for an answer is told that it will not come. */
  abandon(): void;
  /** Takes what has arrived from the shards, rung for or not. */
  wake(): void;
}

export async function startFront(options: FrontOptions): Promise<Front> {
  const { config, environment, log, shardThreads } = options;
  const ground = await openFrontGround({
    ...options,
    onLog: (level, text) => log[level]("{text}", { text }),
  });
  const reads = ground.orders;
  const { node, commands } = joinShards(options);
  const health = new ShopHealth({
    environment,
    services: config.roles.filter((role) => viewsOf([role]).length === 0),
    samples: () => readCounterPage(options.counters, SHOP_LAYOUT),
    shards: options.shardCounts,
    views: viewsOf(config.roles),
    viewsRunning: options.viewsRunning,
    lagDegradedMs: config.views.lagDegradedMs,
    hasJournal: config.store === "embedded",
  });
  let isReady = false;
  const stockLoaded = config.demoStock && (await loadDemoStock(commands, reads));
  const availability = ground.availability ?? cacheStock(options, reads);
  const processMetrics = startProcessMetrics(environment);
  const onFailure = (error: unknown, correlationId: string): void =>
    log.error("request {correlationId}: {error}", { correlationId, error: describeError(error) });
  const platform = openFrontPlatform({
    config,
    environment,
    commands,
    ground,
    shards: shardThreads.length,
    onFailure,
  });
  const deps: GatewayDeps = {
    environment,
    limits: config.limits,
    commands,
    reads,
    availability,
    health: { report: () => health.report(), ready: () => isReady },
    events: ground.events ?? watchOrders(options.orderChanges, environment),
    platform: platform.ports,
    metricsText: async () =>
      renderMetrics([
        ...shopRows(options.counters),
        ...(await platform.metricRows()),
        ...app.metricRows(),
        ...processMetrics.rows(),
      ]),
    onFailure,
  };
  const app: HttpApp = withSabotageDoor(createHttpApp(deps), config.sabotage, options.onSabotage);
  const server = startHttp(app, config);
  isReady = true;

  async function end(): Promise<void> {
    isReady = false;
    health.stop();
    platform.stopJobs();
    commands.close();
    node.close();
    await ground.close();
    processMetrics.stop();
  }

  return {
    url: server.url,
    stockLoaded,
    health,
    abandon() {
      isReady = false;
      commands.close();
    },
    wake: () => node.drainNow(),
    async stop() {
      isReady = false;
      // Whoever waits for a job is a request in flight.
      platform.stopJobs();
      await server.drain();
      await end();
    },
    kill() {
      server.kill();
      // What a killed front held open closes in its own time.
      void end();
    },
  };
}

/** This thread's end of the rings to the shards. */
function joinShards({ config, environment, shardThreads, memory, me }: FrontOptions) {
  const node = new MeshNode({
    memory,
    me,
    environment,
    backlogBytesMax: config.limits.queueBytesMax,
    listeners: shardThreads.map((from) => ({
      from,
      // An answer that was read is on its way to the client; nobody could answer it again.
      release: "read",
      onRecord: (kind, bytes) => commands.onRecord(kind, bytes),
    })),
  });
  const commands: ShardCommands = new ShardCommands({
    node,
    environment,
    slots: config.slots,
    shardOf(slot) {
      const thread = shardThreads[slot % shardThreads.length];
      assert(thread !== undefined, "every slot has a shard");
      return thread;
    },
  });
  return { node, commands };
}

function cacheStock({ config, environment, stockChanges }: FrontOptions, reads: OrderReads) {
  const { inventory, store } = config;
  return createStockCache({
    environment,
    changes: stockChanges,
    ttlMs:
      store === "postgres" ? Math.min(inventory.cacheTtlMs, UNTOLD_TTL_MS) : inventory.cacheTtlMs,
    load: (productId) => loadStock(reads, productId),
  });
}

/** Currencies that never occurred are left out: there are hundreds. */
function shopRows(counters: SharedArrayBuffer): readonly MetricRow[] {
  return readCounterPage(counters, SHOP_LAYOUT).flatMap((sample): MetricRow[] => {
    if (sample.kind !== "histogram") {
      const isUnused = sample.name === "shopstream_revenue_total" && sample.value === 0;
      return isUnused ? [] : [sample];
    }
    return [{ ...sample, buckets: sample.buckets.filter(({ le }) => Number.isFinite(le)) }];
  });
}
