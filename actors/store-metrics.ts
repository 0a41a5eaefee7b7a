/**
 * The counters of what keeps things: the stores of units, and the views.
 *
 * Counts and translates, and decides nothing; what there is to count is in `shop-metrics.ts`.
 */

import type { Counter, CounterWriter, Gauge } from "../runtime/threads/counter-page.ts";
import type { AnalyticsMisfits } from "./analytics/analytics-projection.ts";
import type { AuditCounts } from "./audit/audit-projection.ts";
import type { AuditOutcome } from "./shop-metrics.ts";
import type { JournalEvent } from "./stores/journal-clockwork.ts";
import type { CommittedBatch } from "./stores/unit-of-work.ts";
import type { ViewEvent } from "./views/view-runner.ts";

import { GROUPS } from "./contracts/topics.ts";
import { MISFITS, VIEW_LABELS } from "./shop-metrics.ts";

export interface ViewMetrics {
  readonly audited: (counts: AuditCounts) => void;
  readonly analyzed: (misfits: AnalyticsMisfits) => void;
  record(view: string, event: ViewEvent): void;
  /** It ended by a bug. */
  broke(view: string): void;
}

/** The counters of the views' thread. */
export function viewMetrics(writer: CounterWriter): ViewMetrics {
  const byView = new Map(
    VIEW_LABELS.map((labels) => [
      labels.view,
      {
        records: writer.counter("shopstream_view_records_total", labels),
        lagRecords: writer.gauge("shopstream_view_lag_records", labels),
        lagSeconds: writer.gauge("shopstream_view_lag_seconds", labels),
        failures: writer.counter("shopstream_view_failures_total", labels),
        failing: writer.gauge("shopstream_view_failing", labels),
      },
    ]),
  );
  function failed(view: string): void {
    byView.get(view)?.failures.add();
    byView.get(view)?.failing.set(1);
  }
  const audit = (outcome: AuditOutcome): Counter =>
    writer.counter("shopstream_audit_records_total", { outcome });
  const misfitOf = (reason: keyof AnalyticsMisfits): Counter =>
    writer.counter("shopstream_analytics_misfits_total", { reason });
  const misfit = {
    late: misfitOf("late"),
    future: misfitOf("future"),
    unreadable: misfitOf("unreadable"),
  };
  const counters = { sound: audit("sound"), faulty: audit("faulty"), repeat: audit("repeat") };
  return {
    audited({ recorded, faults, repeats }) {
      counters.sound.add(recorded - faults);
      counters.faulty.add(faults);
      counters.repeat.add(repeats);
    },
    analyzed(misfits) {
      for (const reason of MISFITS) misfit[reason].add(misfits[reason]);
    },
    record(view, event) {
      const of = byView.get(view);
      if (event.kind === "applied") of?.records.add(event.records);
      if (event.kind === "working") of?.failing.set(0);
      if (event.kind === "failed") failed(view);
      if (event.kind !== "lag") return;
      of?.lagRecords.set(event.records);
      of?.lagSeconds.set(event.ageMs / 1_000);
    },
    broke: failed,
  };
}

export interface JournalMetrics {
  record(event: JournalEvent): void;
}

/** Counts the transactions of a store, whichever it is. */
export function commitMetrics(writer: CounterWriter): (batch: CommittedBatch) => void {
  const committed = writer.counter("shopstream_store_units_total", { answer: "committed" });
  const refused = writer.counter("shopstream_store_units_total", { answer: "refused" });
  const size = writer.histogram("shopstream_store_batch_units");
  const duration = writer.histogram("shopstream_store_commit_duration_seconds");
  return (batch) => {
    committed.add(batch.units - batch.refused);
    refused.add(batch.refused);
    size.observe(batch.units);
    duration.observe(batch.durationMs / 1_000);
  };
}

/** The counters of the journal's thread. */
export function journalMetrics(writer: CounterWriter): JournalMetrics {
  const committed = commitMetrics(writer);
  const damage = writer.counter("shopstream_journal_damage_total");
  const depths = new Map<string, Gauge>(
    Object.keys(GROUPS).map((queue_name) => [
      queue_name,
      writer.gauge("shopstream_queue_depth", { queue_name }),
    ]),
  );
  return {
    record(event) {
      if (event.kind === "damaged") damage.add();
      if (event.kind === "depth") depths.get(event.group)?.set(event.inHand + event.waiting);
      if (event.kind === "committed") committed(event);
    },
  };
}
