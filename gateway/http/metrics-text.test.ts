/**
 * Rows as Prometheus text, and what the process says about itself.
 *
 * The text is compared in full: a scraper reads all of it.
 */

import { describe, expect, test } from "bun:test";

import { InvariantError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import type { MetricRow } from "./metric-row.ts";
import { renderMetrics } from "./metrics-text.ts";
import { startProcessMetrics } from "./process-metrics.ts";

function counter(labels: Readonly<Record<string, string>>, value: number): MetricRow {
  return { kind: "counter", name: "orders_total", help: "Orders.", labels, value };
}

describe("rendering", () => {
  test("writes counters, gauges and histograms as Prometheus reads them", async () => {
    const { body, contentType } = await renderMetrics([
      counter({ status: "shipped" }, 42),
      { kind: "gauge", name: "depth", help: "Waiting.", labels: {}, value: 0 },
      counter({ status: "cancelled" }, 1.5),
      {
        kind: "histogram",
        name: "seconds",
        help: "Time.",
        labels: { service: "order" },
        buckets: [
          { le: 0.1, count: 3 },
          { le: 1, count: 4 },
        ],
        sum: 2.5,
        count: 5,
      },
    ]);
    expect(contentType).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(body.trim().split(/\n+/)).toEqual([
      "# HELP orders_total Orders.",
      "# TYPE orders_total counter",
      'orders_total{status="shipped"} 42',
      'orders_total{status="cancelled"} 1.5',
      "# HELP depth Waiting.",
      "# TYPE depth gauge",
      "depth 0",
      "# HELP seconds Time.",
      "# TYPE seconds histogram",
      'seconds_bucket{service="order",le="0.1"} 3',
      'seconds_bucket{service="order",le="1"} 4',
      'seconds_bucket{service="order",le="+Inf"} 5',
      'seconds_sum{service="order"} 2.5',
      'seconds_count{service="order"} 5',
    ]);
  });

  test("escapes what a label may hold", async () => {
    const { body } = await renderMetrics([counter({ status: 'a"b\\c\nd' }, 1)]);
    expect(body).toContain(String.raw`orders_total{status="a\"b\\c\nd"} 1`);
  });

  test("of nothing is empty, and again gives the same", async () => {
    expect((await renderMetrics([])).body.trim()).toBe("");
    const rows = [counter({ status: "shipped" }, 1)];
    expect(await renderMetrics(rows)).toEqual(await renderMetrics(rows));
  });

  test("refuses rows that disagree, and names Prometheus would not take", async () => {
    const gauge: MetricRow = { ...counter({}, 1), kind: "gauge" } as MetricRow; // on purpose
    const refused = [
      [counter({}, 1), gauge],
      [counter({ "a-b": "x" }, 1)],
      [counter({ __a: "x" }, 1)],
    ];
    for (const rows of refused) {
      const thrown: unknown = await renderMetrics(rows).catch((error: unknown) => error);
      expect(thrown).toBeInstanceOf(InvariantError);
    }
  });
});

describe("the process", () => {
  function valueOf(rows: readonly MetricRow[], name: string): number {
    const row = rows.find((candidate) => candidate.name === name);
    return row !== undefined && "value" in row ? row.value : Number.NaN;
  }

  test("tells its memory, CPU time and start", async () => {
    const environment = createVirtualEnvironment();
    const rows = startProcessMetrics(environment).rows();
    expect(valueOf(rows, "process_resident_memory_bytes")).toBeGreaterThan(1_000_000);
    expect(valueOf(rows, "process_cpu_seconds_total")).toBeGreaterThan(0);
    expect(valueOf(rows, "process_start_time_seconds")).toBe(1_700_000_000);
    const { body } = await renderMetrics(rows);
    expect(body).toContain("shopstream_event_loop_lag_seconds 0\n");
  });

  test("shows the worst lag since the last reading, then forgets it", () => {
    const environment = createVirtualEnvironment();
    let monotonicMs = 0;
    let fire = () => {};
    const metrics = startProcessMetrics({
      ...environment,
      monotonicMs: () => monotonicMs,
      startTimer: (_, callback) => {
        fire = callback;
        return { cancel: () => (fire = () => {}) };
      },
    });
    const lag = () => valueOf(metrics.rows(), "shopstream_event_loop_lag_seconds");
    monotonicMs = 250;
    fire();
    monotonicMs = 900;
    fire();
    monotonicMs = 1150;
    fire();
    expect(lag()).toBeCloseTo(0.4, 9);
    expect(lag()).toBe(0);
    monotonicMs = 3000;
    expect(lag()).toBeCloseTo(1.6, 9);
    metrics.stop();
  });

  test("keeps no timer after it was stopped", async () => {
    const environment = createVirtualEnvironment();
    const metrics = startProcessMetrics(environment);
    await environment.advance(10_000);
    expect(environment.pendingTimers()).toBe(1);
    metrics.stop();
    expect(environment.pendingTimers()).toBe(0);
  });
});
