/**
 * What the process says about itself: memory, CPU time, and how late its event loop runs.
 *
 * Lag is measured on this thread by a timer that should fire at a known time; the worst since the
 * last reading is kept, because an average hides a stall.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { MetricRow } from "./metric-row.ts";

const LAG_INTERVAL_MS = 250;
const MICROSECONDS = 1e6;

export interface ProcessMetrics {
  /** Current rows; also starts a new reading of the lag. */
  rows(): readonly MetricRow[];
  stop(): void;
}

export function startProcessMetrics(environment: Environment): ProcessMetrics {
  const startedAtS = environment.nowMs() / 1000;
  let worstLagMs = 0;
  let dueMs = 0;
  let timer: Timer;

  function arm(): void {
    dueMs = environment.monotonicMs() + LAG_INTERVAL_MS;
    timer = environment.startTimer(LAG_INTERVAL_MS, () => {
      worstLagMs = Math.max(worstLagMs, environment.monotonicMs() - dueMs);
      arm();
    });
  }
  arm();

  return {
    rows() {
      // A timer that is overdue right now has not yet reported its lag.
      const lagMs = Math.max(worstLagMs, environment.monotonicMs() - dueMs, 0);
      worstLagMs = 0;
      const cpu = process.cpuUsage();
      return [
        gauge("process_resident_memory_bytes", "Resident memory.", process.memoryUsage.rss()),
        gauge("process_start_time_seconds", "Start, since the Unix epoch.", startedAtS),
        gauge("shopstream_event_loop_lag_seconds", "Worst since the last reading.", lagMs / 1000),
        {
          kind: "counter",
          name: "process_cpu_seconds_total",
          help: "CPU time of all threads.",
          labels: {},
          value: (cpu.user + cpu.system) / MICROSECONDS,
        },
      ];
    },
    stop: () => timer.cancel(),
  };
}

function gauge(name: string, help: string, value: number): MetricRow {
  return { kind: "gauge", name, help, labels: {}, value };
}
