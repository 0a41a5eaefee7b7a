/**
 * What the gateway counts about itself: requests by route and status, and how long they took.
 *
 * Labels come from the route table and the status, never from the request, so the number of rows
 * is bounded.
 */

import type { MetricRow } from "./metric-row.ts";

const BOUNDS_MS = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

export interface RouteCounters {
  count(status: number, durationMs: number): void;
  rows(): readonly MetricRow[];
}

export function createRouteCounters(method: string, route: string): RouteCounters {
  const byStatus = new Map<number, number>();
  const buckets = BOUNDS_MS.map(() => 0);
  let sumMs = 0;
  let total = 0;

  return {
    count(status, durationMs) {
      byStatus.set(status, (byStatus.get(status) ?? 0) + 1);
      const bucket = BOUNDS_MS.findIndex((boundMs) => durationMs <= boundMs);
      if (bucket >= 0) buckets[bucket] = (buckets[bucket] ?? 0) + 1;
      sumMs += durationMs;
      total++;
    },
    rows() {
      if (total === 0) return [];
      const requests = [...byStatus].map(([status, value]): MetricRow => ({
        kind: "counter",
        name: "shopstream_http_requests_total",
        help: "Requests answered, by route and status.",
        labels: { method, route, status: String(status) },
        value,
      }));
      let cumulative = 0;
      const duration: MetricRow = {
        kind: "histogram",
        name: "shopstream_http_request_duration_seconds",
        help: "Time until the response was ready to be sent.",
        labels: { method, route },
        buckets: BOUNDS_MS.map((boundMs, index) => ({
          le: boundMs / 1000,
          count: (cumulative += buckets[index] ?? 0),
        })),
        sum: sumMs / 1000,
        count: total,
      };
      return [...requests, duration];
    },
  };
}
