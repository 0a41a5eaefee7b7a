/**
 * The views a process can run, and how each opens its store.
 *
 * Only names and settings travel to the thread; the projections themselves are made there. The
 * client of a server is loaded with the view that needs it. Refuses nothing: what cannot be opened
 * is the business of whoever opens it.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { AnalyticsSettings } from "../analytics/analytics-tuning.ts";
import type { AnalyticsMisfits } from "../analytics/analytics-projection.ts";
import type { ElasticSettings } from "../audit/elastic/elastic-settings.ts";
import type { AuditCounts, AuditSettings } from "../audit/audit-projection.ts";
import type { MongoSettings } from "../analytics/mongo/mongo-settings.ts";
import type { ConnectionState } from "../brokers/broker.ts";
import type { Projection } from "../brokers/feed.ts";
import type { View } from "../contracts/topics.ts";
import type { ViewSettings } from "./view-settings.ts";
import type { ViewSink } from "./view-sink.ts";

import { createAnalyticsProjection } from "../analytics/analytics-projection.ts";
import { createAuditProjection } from "../audit/audit-projection.ts";

/** The part of the configuration that the views' thread needs: plain values, cloneable. */
export interface ViewsSettings {
  readonly views: readonly View[];
  readonly reading: ViewSettings;
  readonly audit: AuditSettings;
  readonly analytics: AnalyticsSettings;
  /** Views on servers, and how those are reached; the others have files of their own. */
  readonly servers: { readonly analytics?: MongoSettings; readonly audit?: ElasticSettings };
}

/** A view with a file of its own, or with a sink on a server. */
export type ViewSource =
  | { readonly name: View; readonly kind: "projection"; readonly open: () => Projection }
  | { readonly name: View; readonly kind: "sink"; readonly open: () => Promise<ViewSink> };

export interface ViewsGround {
  readonly directory: string;
  readonly environment: Environment;
  /** What a batch came to in the audit. */
  readonly onAudited: (counts: AuditCounts) => void;
  /** What a batch left over in analytics. */
  readonly onAnalyzed: (misfits: AnalyticsMisfits) => void;
  readonly onConnection: (server: string, state: ConnectionState) => void;
  /** A line for the log. */
  readonly say: (text: string) => void;
}

/** The views that are configured, each to be opened by whoever runs it. */
export function listViews(settings: ViewsSettings, ground: ViewsGround): readonly ViewSource[] {
  return settings.views.map(
    (name) =>
      remoteView(name, settings, ground) ?? {
        name,
        kind: "projection",
        open: () => openProjection(name, settings, ground),
      },
  );
}

function openProjection(name: View, settings: ViewsSettings, ground: ViewsGround): Projection {
  const { directory, environment, say, onAudited, onAnalyzed } = ground;
  switch (name) {
    case "audit":
      return createAuditProjection({
        directory,
        environment,
        settings: settings.audit,
        onApplied: onAudited,
        // Kept where the audit's own file is not: whoever rewrites that file cannot rewrite this.
        onHead: ({ count, hash }) =>
          say(`audit: ${count} records, head ${Buffer.from(hash).toString("hex")}`),
      });
    case "analytics":
      return createAnalyticsProjection({
        directory,
        environment,
        settings: settings.analytics,
        onApplied: onAnalyzed,
      });
  }
}

function remoteView(
  name: View,
  settings: ViewsSettings,
  ground: ViewsGround,
): ViewSource | undefined {
  const { servers, analytics } = settings;
  const { environment, say, onAnalyzed, onAudited, onConnection } = ground;
  if (name === "audit" && servers.audit !== undefined) {
    const elastic = servers.audit;
    const open = async (): Promise<ViewSink> => {
      const { openElasticAuditSink } = await import("../audit/elastic/elastic-audit-sink.ts");
      return await openElasticAuditSink(elastic, {
        environment,
        onConnection: (state) => onConnection("elasticsearch", state),
        onLog: (_level, text) => say(`elasticsearch: ${text}`),
        onStored: onAudited,
      });
    };
    return { name, kind: "sink", open };
  }
  if (name === "analytics" && servers.analytics !== undefined) {
    const mongo = servers.analytics;
    const open = async (): Promise<ViewSink> => {
      const sinks = await import("../analytics/mongo/mongo-analytics-sink.ts");
      return await sinks.openMongoAnalyticsSink(mongo, {
        environment,
        analytics,
        onConnection: (state) => onConnection("mongodb", state),
        onLog: (_level, text) => say(`mongodb: ${text}`),
        onStored: onAnalyzed,
      });
    };
    return { name, kind: "sink", open };
  }
  return undefined;
}
