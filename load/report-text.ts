/**
 * What a person reads at the end of a run; the same facts as the JSON beside it, and no others.
 *
 * Violations come last and at most twenty of them are written out, so that the verdict is on the
 * screen when the run ends.
 */

import type { LatencySummary } from "./latency-summary.ts";
import type { OrderRunReport } from "./order-run.ts";
import type { RateFigures } from "./run-figures.ts";
import type { ResourceReport } from "./process-watch.ts";
import type { Verdict } from "./verify-orders.ts";

const VIOLATIONS_SHOWN = 20;
const MIB = 1024 * 1024;
const POINTS_SHOWN = 12;

export function describeRun(report: OrderRunReport): string {
  const { figures, server, verdict } = report;
  const errors = `${(figures.errorShare * 100).toFixed(2)} % of tries`;
  const clientPerOrder = (report.clientCpuMs * 1_000) / Math.max(1, verdict.counts.attempted);
  return [
    describeRate("accepted", figures.accepted),
    describeRate("shipped", figures.complete),
    `payment    ${describeLatency(figures.payment)} (created → processed)`,
    `errors     ${errors} (${describeFailures(figures.failures)})`,
    describeServer(server, verdict.counts.found),
    `client     ${clientPerOrder.toFixed(0)} µs of CPU per order`,
    describeVerdict(verdict),
  ].join("\n");
}

export function describeVerdict(verdict: Verdict): string {
  const { counts, violations } = verdict;
  const lines = [
    `orders     ${counts.attempted} sent: ${counts.acknowledged} acknowledged, ` +
      `${counts.ambiguous} ambiguous, ${counts.refused} refused`,
    `found      ${counts.found}: ${counts.shipped} shipped, ${counts.cancelled} cancelled; ` +
      `${counts.products} products and ${counts.ledgerEffects} payments counted`,
    `around     ${counts.audited} records of the audit verified, ${counts.sampled} orders looked ` +
      `up in audit and notifications, ${counts.texts} texts in the outbox`,
    ...violations
      .slice(0, VIOLATIONS_SHOWN)
      .map(({ check, subject, detail }) => `  ${check}: ${subject}: ${detail}`),
  ];
  if (violations.length > VIOLATIONS_SHOWN) {
    lines.push(`  … and ${violations.length - VIOLATIONS_SHOWN} more`);
  }
  lines.push(verdict.ok ? "verdict    every promise kept" : `verdict    ${countByCheck(verdict)}`);
  return lines.join("\n");
}

export function describeLatency({ p50Ms, p95Ms, p99Ms, maxMs }: LatencySummary): string {
  return `p50 ${p50Ms} ms, p95 ${p95Ms} ms, p99 ${p99Ms} ms, max ${maxMs} ms`;
}

function describeRate(name: string, figures: RateFigures): string {
  return `${name.padEnd(10)} ${figures.perSecond}/s, ${describeLatency(figures.latency)}`;
}

function describeServer(server: ResourceReport, orders: number): string {
  const every = Math.max(1, Math.ceil(server.samples.length / POINTS_SHOWN));
  const points = server.samples.filter((_, n) => n % every === 0);
  const memory = points.map((at) => (at.rssBytes / MIB).toFixed(0)).join(" ");
  const cpu =
    server.cpuMs === undefined
      ? ""
      : `, ${((server.cpuMs * 1_000) / Math.max(1, orders)).toFixed(0)} µs of CPU per order`;
  return `server     RSS ${memory} MiB, peak ${(server.rssPeakBytes / MIB).toFixed(0)}${cpu}`;
}

/** How often what, or "none". */
export function describeFailures(failures: Readonly<Record<string, number>>): string {
  const parts = Object.entries(failures).map(([reason, count]) => `${count} × ${reason}`);
  return parts.length === 0 ? "none" : parts.join("; ");
}

function countByCheck(verdict: Verdict): string {
  const groups = Map.groupBy(verdict.violations, (violation) => violation.check);
  const parts = [...groups].map(([check, all]) => `${all.length} ${check}`);
  return `BROKEN: ${parts.join(", ")}`;
}
