/**
 * What the gateway needs around the order pipeline: readers of each store, jobs, the ledger.
 *
 * Everything here reads; what changes something goes to a shard as a command. The stores of the
 * views may not exist yet and are opened when they are first asked for.
 */

import type { Environment } from "../runtime/environment.ts";
import type { ShopConfig } from "./config/config-schema.ts";
import type { CommandPort } from "./http/command-port.ts";
import type { PlatformPorts } from "./http/gateway-ports.ts";
import type { MetricRow } from "./http/metric-row.ts";

import { openAnalyticsReads } from "../actors/analytics/analytics-reads.ts";
import { openAuditReads } from "../actors/audit/audit-reads.ts";
import { openDeadLetterReads } from "../actors/stores/dead-letter-reads.ts";
import type { JournalReads } from "../actors/stores/journal-reads.ts";
import { createLetterJobs } from "./http/dead-letter-jobs.ts";
import { createLedgerReader } from "./ledger-reader.ts";

export interface FrontPlatformOptions {
  readonly config: ShopConfig;
  readonly environment: Environment;
  readonly commands: CommandPort;
  readonly reads: Pick<JournalReads, "load">;
  readonly shards: number;
  readonly onFailure: (error: unknown, correlationId: string) => void;
}

export interface FrontPlatform {
  readonly ports: PlatformPorts;
  metricRows(): Promise<readonly MetricRow[]>;
  /** Ends the jobs; to be called while commands can still be sent. */
  stopJobs(): void;
  close(): void;
}

export function openFrontPlatform(options: FrontPlatformOptions): FrontPlatform {
  const { config, environment, commands, reads, onFailure } = options;
  const { commandTimeoutMs } = config.limits;
  const letters = openDeadLetterReads(config.data);
  const letterJobs = createLetterJobs({
    environment,
    commands,
    letters,
    commandTimeoutMs,
    onFailure,
  });
  const audit = openAuditReads({ directory: config.data, environment });
  const analytics = openAnalyticsReads(config.data, environment);
  return {
    ports: {
      notifications: {
        notifications: async (orderId) => (await reads.load("notifications", [orderId]))[0],
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
    close() {
      letters.close();
      audit.close();
      analytics.close();
    },
  };
}

function row(kind: "gauge" | "counter", name: string, help: string, value: number): MetricRow {
  return { kind, name, help, labels: {}, value };
}
