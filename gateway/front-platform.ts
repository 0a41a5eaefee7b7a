/**
 * What the gateway needs around the order pipeline: readers of each store, jobs, the ledger.
 *
 * It opens nothing and closes nothing but the jobs: what is read from is the front's ground.
 */

import type { Environment } from "../runtime/environment.ts";
import type { ShopConfig } from "./config/config-schema.ts";
import type { FrontGround } from "./front-ground.ts";
import type { CommandPort } from "./http/command-port.ts";
import type { PlatformPorts } from "./http/gateway-ports.ts";
import type { MetricRow } from "./http/metric-row.ts";

import { createLetterJobs } from "./http/dead-letter-jobs.ts";
import { createLedgerReader } from "./ledger-reader.ts";

export interface FrontPlatformOptions {
  readonly config: ShopConfig;
  readonly environment: Environment;
  readonly commands: CommandPort;
  readonly ground: Omit<FrontGround, "close">;
  readonly shards: number;
  readonly onFailure: (error: unknown, correlationId: string) => void;
}

export interface FrontPlatform {
  readonly ports: PlatformPorts;
  metricRows(): Promise<readonly MetricRow[]>;
  /** Ends the jobs; to be called while commands can still be sent. */
  stopJobs(): void;
}

export function openFrontPlatform(options: FrontPlatformOptions): FrontPlatform {
  const { config, environment, commands, ground, onFailure } = options;
  const { commandTimeoutMs } = config.limits;
  const { orders, letters, audit, analytics } = ground;
  const letterJobs = createLetterJobs({
    environment,
    commands,
    letters,
    commandTimeoutMs,
    onFailure,
  });
  return {
    ports: {
      notifications: {
        notifications: async (orderId) => (await orders.load("notifications", [orderId]))[0],
      },
      audit,
      analytics,
      letters,
      letterJobs,
      ledger: createLedgerReader({
        commands,
        environment,
        shards: options.shards,
        slots: config.slots,
        deadlineMs: commandTimeoutMs,
      }),
    },
    async metricRows() {
      const { kept, dropped } = await letters.totals();
      return [
        row("gauge", "shopstream_dead_letters", "Dead letters that are kept.", kept),
        row(
          "counter",
          "shopstream_dead_letters_dropped_total",
          "Dead letters dropped because there were too many: the oldest.",
          dropped,
        ),
      ];
    },
    stopJobs: () => letterJobs.close(),
  };
}

function row(kind: "gauge" | "counter", name: string, help: string, value: number): MetricRow {
  return { kind, name, help, labels: {}, value };
}
