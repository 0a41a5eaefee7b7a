/**
 * What the front reads: orders, dead letters, audit and analytics, from wherever they are kept.
 *
 * Everything here reads; what changes something goes to a shard as a command. The stores of the
 * views may not exist yet and are opened when they are first asked for.
 */

import type { AnalyticsReads } from "../actors/analytics/analytics-reads.ts";
import type { AuditReads } from "../actors/audit/audit-reads.ts";
import type { DeadLetterReads } from "../actors/dead-letters/letter-port.ts";
import type { DeadLetterTotals } from "../actors/stores/dead-letter-reads.ts";
import type { OrderReads, Store } from "../actors/stores/unit-of-work.ts";
import type { Environment } from "../runtime/environment.ts";
import type { ShopConfig } from "./config/config-schema.ts";

import { openAnalyticsReads } from "../actors/analytics/analytics-reads.ts";
import { openAuditReads } from "../actors/audit/audit-reads.ts";
import { openDeadLetterReads } from "../actors/stores/dead-letter-reads.ts";
import { openJournalReads } from "../actors/stores/journal-reads.ts";

export interface FrontGround {
  readonly orders: OrderReads & Pick<Store, "load">;
  readonly letters: DeadLetterReads & { totals(): Promise<DeadLetterTotals> };
  readonly audit: AuditReads;
  readonly analytics: AnalyticsReads;
  /** Idempotent. */
  close(): void;
}

/** The files of the data directory. Throws `STORAGE_FAULT` while there is no journal. */
export function openEmbeddedFront(
  { data }: Pick<ShopConfig, "data">,
  environment: Environment,
): FrontGround {
  const orders = openJournalReads(data);
  const letters = openDeadLetterReads(data);
  const audit = openAuditReads({ directory: data, environment });
  const analytics = openAnalyticsReads(data, environment);
  return {
    orders,
    letters,
    audit,
    analytics,
    close() {
      orders.close();
      letters.close();
      audit.close();
      analytics.close();
    },
  };
}
