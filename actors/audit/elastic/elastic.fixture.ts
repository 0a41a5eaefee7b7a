/**
 * Audits on servers of their own, each with a prefix of its own, for tests.
 *
 * Refuses nothing; whoever opens an audit closes it by `closeAll`.
 */

import type { AuditQuery } from "../audit-query.ts";
import type { AuditReads } from "../audit-reads.ts";
import type { AuditView } from "../audit-view.ts";
import type { ElasticAuditCounts } from "./elastic-audit-sink.ts";
import type { ElasticSettings } from "./elastic-settings.ts";

import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { openElasticAuditReads } from "./elastic-audit-reads.ts";
import { openElasticAuditSink } from "./elastic-audit-sink.ts";
import { openElasticLink } from "./elastic-link.ts";
import { ELASTIC_SETTINGS } from "./elastic-settings.ts";

const closing: (() => Promise<void> | void)[] = [];
let audits = 0;

/** Settings of an audit that nobody has written to. */
export function freshSettings(url: string, overrides: Partial<ElasticSettings> = {}) {
  const prefix = `audit-${process.pid}-${++audits}`;
  const base = { ...ELASTIC_SETTINGS, url, prefix, replicas: 0, sealMs: 0, refreshMs: 100 };
  return { ...base, ...overrides };
}

export async function openTestSink(
  settings: ElasticSettings,
  sequencesLast: (topic: string) => boolean = () => true,
) {
  const counts: ElasticAuditCounts[] = [];
  const logs: string[] = [];
  const sink = await openElasticAuditSink(settings, {
    environment,
    sequencesLast,
    onStored: (one) => void counts.push(one),
    onLog: (_level, text) => void logs.push(text),
  });
  closing.push(() => sink.close());
  return { sink, counts, logs };
}

export async function openTestReads(settings: ElasticSettings) {
  const reads = await openElasticAuditReads(settings, { environment });
  closing.push(() => reads.close());
  return reads;
}

/** For whoever tampers, or looks behind the audit's back. */
export async function openTestLink(settings: ElasticSettings) {
  const link = await openElasticLink(settings, environment);
  closing.push(() => link.close());
  const refresh = () => link.ask({ method: "POST", path: `/${settings.prefix}*/_refresh` });
  return { link, refresh };
}

export async function closeAll(): Promise<void> {
  for (const close of closing.splice(0)) await close();
}

/** All pages of a query, one after the other. */
export async function everything(
  reads: AuditReads,
  query: Partial<AuditQuery> = {},
): Promise<AuditView[]> {
  const found: AuditView[] = [];
  let beforeSeq: number | undefined;
  do {
    const place = beforeSeq === undefined ? {} : { beforeSeq };
    const page = await reads.search({ limit: 50, ...query, ...place });
    found.push(...page.records);
    beforeSeq = page.nextBeforeSeq;
  } while (beforeSeq !== undefined);
  return found;
}
