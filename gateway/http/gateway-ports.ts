/**
 * What the HTTP gateway needs from the rest of the shop, as ports.
 *
 * The gateway translates: it decides nothing about orders or stock and keeps no state of its own.
 * Who assembles the shop supplies these; tests supply an honest shop in memory.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { AnalyticsReads } from "../../actors/analytics/analytics-reads.ts";
import type { AuditReads } from "../../actors/audit/audit-reads.ts";
import type { LedgerRow, StockState } from "../../actors/contracts/order-state.ts";
import type { OrderReads, Row } from "../../actors/stores/unit-of-work.ts";
import type { DeadLetterReads } from "../../actors/dead-letters/letter-port.ts";
import type { LimitsConfig } from "../config/config-schema.ts";
import type { CommandPort } from "./command-port.ts";
import type { LetterJobs } from "./dead-letter-jobs.ts";

export interface AvailabilityPort {
  /** Stock as last seen, at most the cache's lifetime old. */
  get(productId: string): Promise<StockState | undefined>;
  /** Forgets what was seen. */
  invalidate(productId: string): void;
}

export interface OrderEvents {
  /**
   * Calls `listener` when the timeline of `orderId` may have grown. It may be called too often,
   * never too late: an entry committed after the subscription is always followed by a call.
   * Returns how to stop.
   */
  onOrder(orderId: string, listener: () => void): () => void;
}

export type ServiceStatus = "up" | "degraded" | "down";

export interface ServiceHealth {
  readonly name: string;
  readonly status: ServiceStatus;
  /** Mean handling time of late, in ms. */
  readonly latencyMs: number;
  /** Failed share of what was handled of late, 0..1. */
  readonly errorRate: number;
  /** Milliseconds since the epoch. */
  readonly lastCheckedMs: number;
  /** One line for people, when something is wrong. */
  readonly detail?: string;
}

export interface HealthReport {
  /** Anything but `up` answers 503. */
  readonly status: ServiceStatus;
  readonly services: readonly ServiceHealth[];
}

export interface HealthPort {
  report(): HealthReport;
  /** True once requests can be served, until the stop begins. */
  ready(): boolean;
}

export interface MetricsText {
  readonly contentType: string;
  readonly body: string;
}

/** Sees every commit that was acknowledged before the call. */
export interface NotificationReads {
  /** The order's row of table `notifications`. */
  notifications(orderId: string): Promise<Row | undefined>;
}

export interface LedgerPort {
  /**
   * The rows of all shards, each after a comparison of its own. Rejects with `SATURATED`,
   * `ASK_TIMEOUT` or `CLOSED` when one of them does not answer: a part would be misleading.
   */
  read(): Promise<readonly LedgerRow[]>;
}

/** What stands around the order pipeline. */
export interface PlatformPorts {
  readonly notifications: NotificationReads;
  readonly audit: Pick<AuditReads, "search" | "head" | "verify">;
  readonly analytics: Pick<AnalyticsReads, "query" | "realtime">;
  readonly letters: DeadLetterReads;
  readonly letterJobs: LetterJobs;
  readonly ledger: LedgerPort;
}

/** Everything `createHttpApp` needs. */
export interface GatewayDeps {
  readonly environment: Environment;
  readonly limits: Pick<
    LimitsConfig,
    "bodyBytes" | "jsonDepth" | "inFlightMax" | "commandTimeoutMs" | "streamsMax" | "streamMs"
  >;
  readonly commands: CommandPort;
  readonly reads: OrderReads;
  readonly availability: AvailabilityPort;
  readonly health: HealthPort;
  readonly events: OrderEvents;
  readonly platform: PlatformPorts;
  readonly metricsText: () => Promise<MetricsText>;
  /** Told of every 500 with its cause, for the log; the client sees neither text nor stack. */
  readonly onFailure?: (error: unknown, correlationId: string) => void;
}
