/**
 * The views a process can run, and how each opens its store.
 *
 * Only names and settings travel to the thread; the projections themselves are made there. Refuses
 * nothing: what cannot be opened is the business of whoever opens it.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { AnalyticsSettings } from "../analytics/analytics-tuning.ts";
import type { AnalyticsMisfits } from "../analytics/analytics-projection.ts";
import type { AuditCounts, AuditSettings } from "../audit/audit-projection.ts";
import type { Projection } from "../brokers/feed.ts";
import type { View } from "../contracts/topics.ts";
import type { ViewSettings } from "./view-settings.ts";

import { createAnalyticsProjection } from "../analytics/analytics-projection.ts";
import { createAuditProjection } from "../audit/audit-projection.ts";

/** The part of the configuration that the views' thread needs: plain values, cloneable. */
export interface ViewsSettings {
  readonly views: readonly View[];
  readonly reading: ViewSettings;
  readonly audit: AuditSettings;
  readonly analytics: AnalyticsSettings;
}

export interface ViewSource {
  readonly name: View;
  readonly open: () => Projection;
}

export interface ViewsGround {
  readonly directory: string;
  readonly environment: Environment;
  /** What a batch came to in the audit. */
  readonly onAudited: (counts: AuditCounts) => void;
  /** What a batch left over in analytics. */
  readonly onAnalyzed: (misfits: AnalyticsMisfits) => void;
  /** A line for the log. */
  readonly say: (text: string) => void;
}

/** The views that are configured, each to be opened by whoever runs it. */
export function listViews(settings: ViewsSettings, ground: ViewsGround): readonly ViewSource[] {
  const { directory, environment, say, onAudited, onAnalyzed } = ground;
  const openers: Readonly<Record<View, () => Projection>> = {
    audit: () =>
      createAuditProjection({
        directory,
        environment,
        settings: settings.audit,
        onApplied: onAudited,
        // Kept where the audit's own file is not: whoever rewrites that file cannot rewrite this.
        onHead: ({ count, hash }) =>
          say(`audit: ${count} records, head ${Buffer.from(hash).toString("hex")}`),
      }),
    analytics: () =>
      createAnalyticsProjection({
        directory,
        environment,
        settings: settings.analytics,
        onApplied: onAnalyzed,
      }),
  };
  return settings.views.map((name) => ({ name, open: openers[name] }));
}
