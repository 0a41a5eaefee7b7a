/**
 * What the HTTP gateway needs from the rest of the shop, as ports.
 *
 * The gateway translates: it decides nothing about orders or stock and keeps no state of its own.
 * Who assembles the shop supplies these; tests supply an honest shop in memory.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { ShopCommand } from "../../actors/contracts/messages.ts";
import type { CommandReply, StockState } from "../../actors/contracts/order-state.ts";
import type { OrderReads } from "../../actors/stores/unit-of-work.ts";
import type { DeadLetterReads } from "../../actors/dead-letters/letter-port.ts";
import type { LimitsConfig } from "../config/config-schema.ts";
import type { AnalyticsRouteDeps } from "./analytics-routes.ts";
import type { AuditDeps } from "./audit-routes.ts";
import type { LetterJobs } from "./dead-letter-jobs.ts";
import type { LedgerPort } from "./ledger-routes.ts";
import type { NotificationReads } from "./notification-routes.ts";

export interface CommandOptions {
  /** How long an answer is waited for, in ms from now; after that the command is worthless. */
  readonly deadlineMs: number;
  readonly correlationId: string;
  /** A W3C trace context, checked; absent when the caller sent none. */
  readonly traceparent?: string;
}

export interface CommandPort {
  /**
   * Hands `command` to the shard that owns its key and resolves with the answer, after the commit.
   * Rejects with `SATURATED` or `MAILBOX_FULL` (nothing was taken), `ASK_TIMEOUT` (no answer in
   * time), `INDETERMINATE`, `STORAGE_FULL`, `STORAGE_FAULT` or `CLOSED`.
   */
  send(command: ShopCommand, options: CommandOptions): Promise<CommandReply>;
}

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

/** What stands around the order pipeline. */
export interface PlatformPorts {
  readonly notifications: NotificationReads;
  readonly audit: AuditDeps["audit"];
  readonly analytics: AnalyticsRouteDeps["analytics"];
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
