/**
 * Where the front reads audit and analytics: the files of the data directory, or a server.
 *
 * A process that has the role needs its server and does not start without it. One that has not is
 * started without: its reads connect when they are asked for, and say what is missing if they
 * cannot; then the process is as well as before. The client of a server is loaded when it is
 * needed.
 */

import type { AnalyticsReads } from "../actors/analytics/analytics-reads.ts";
import type { AuditReads } from "../actors/audit/audit-reads.ts";
import type { ConnectionState } from "../actors/brokers/broker.ts";
import type { FrontGround, FrontGroundOptions } from "./front-ground.ts";

import { openAnalyticsReads } from "../actors/analytics/analytics-reads.ts";
import { openAuditReads } from "../actors/audit/audit-reads.ts";
import { absentFrom, lateAnalytics, lateAudit } from "./late-reads.ts";

type ConnectionListener = (state: ConnectionState) => void;

/** Rejects with `SERVER_UNUSABLE`. Files may not exist yet and are opened at the first question. */
export async function openViewReads(
  options: FrontGroundOptions,
): Promise<Pick<FrontGround, "audit" | "analytics">> {
  return { audit: await openAudit(options), analytics: await openAnalytics(options) };
}

async function openAudit(options: FrontGroundOptions): Promise<AuditReads> {
  const { config, environment, onConnection, onLog } = options;
  const { store, roles, data: directory } = config;
  if (config.audit.store === "elasticsearch") {
    if (roles.includes("audit"))
      return await openElastic(options, (state) => onConnection("elasticsearch", state));
    const told = outageLog(onLog);
    return lateAudit({
      environment,
      onLog,
      what: "the audit",
      setting: "elasticsearch.url",
      open: () => openElastic(options, told),
    });
  }
  // With the role this was refused: files are of one process, and the store is of many.
  if (store === "embedded") return openAuditReads({ directory, environment });
  const absent = absentFrom("audit", "audit.store = elasticsearch");
  return { head: absent, search: absent, verify: absent, close: () => undefined };
}

async function openElastic(
  options: FrontGroundOptions,
  onConnection: ConnectionListener,
): Promise<AuditReads> {
  const { openElasticAuditReads } = await import("../actors/audit/elastic/elastic-audit-reads.ts");
  return await openElasticAuditReads(options.config.elasticsearch, {
    environment: options.environment,
    onConnection,
  });
}

async function openAnalytics(options: FrontGroundOptions): Promise<AnalyticsReads> {
  const { config, environment, onConnection, onLog } = options;
  const { store, roles, data: directory } = config;
  if (config.analytics.store === "mongodb") {
    if (roles.includes("analytics"))
      return await openMongo(options, (state) => onConnection("mongodb", state));
    const told = outageLog(onLog);
    return lateAnalytics({
      environment,
      onLog,
      what: "analytics",
      setting: "mongodb.url",
      open: () => openMongo(options, told),
    });
  }
  if (store === "embedded") return openAnalyticsReads(directory, environment);
  const absent = absentFrom("analytics", "analytics.store = mongodb");
  return { query: absent, realtime: absent, close: () => undefined };
}

async function openMongo(
  options: FrontGroundOptions,
  onConnection: ConnectionListener,
): Promise<AnalyticsReads> {
  const { store: _, ...analytics } = options.config.analytics;
  const reads = await import("../actors/analytics/mongo/mongo-analytics-reads.ts");
  return await reads.openMongoAnalyticsReads(options.config.mongodb, {
    environment: options.environment,
    analytics,
    onConnection,
  });
}

/** Nothing that this process is there for needs the server: its health is none of it. */
function outageLog(onLog: FrontGroundOptions["onLog"]): ConnectionListener {
  return ({ isUp, detail }) => {
    if (!isUp) onLog("warning", detail);
  };
}
