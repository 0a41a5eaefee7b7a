/**
 * What the shop counts, declared once for every thread, and who counts it.
 *
 * Names and labels follow Prometheus; all label values are known beforehand, so a label can never
 * grow with the traffic. Amounts of money are major units, as dashboards show them.
 */

import type { CounterLayout } from "../runtime/threads/counter-layout.ts";
import type { Counter, CounterWriter, Gauge, Histogram } from "../runtime/threads/counter-page.ts";
import type { Group } from "./contracts/topics.ts";
import type { ConsumerEvent } from "./delivery/consumer-event.ts";
import type { CommittedStep } from "./order/order-actor.ts";
import type { CircuitChange } from "./payment/circuit-breaker.ts";
import type { JournalEvent } from "./stores/journal-clockwork.ts";

import { crossLabels, defineMetrics } from "../runtime/threads/counter-layout.ts";
import { ORDER_STATUSES } from "./contracts/order-state.ts";
import { GROUPS } from "./contracts/topics.ts";

/** Seconds; from a tenth of a millisecond to ten seconds. */
const DURATION_BOUNDS = [
  0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5, 10,
];
const BATCH_BOUNDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];
const STATUSES = ["ok", "retry", "dead"] as const;
const OTHER_CURRENCY = "other";
const CURRENCIES = [...Intl.supportedValuesOf("currency"), OTHER_CURRENCY];

type Status = (typeof STATUSES)[number];

const subscriptions = Object.entries(GROUPS).flatMap(([service, topics]) =>
  topics.map((topic) => ({ service, topic })),
);

export const SHOP_LAYOUT: CounterLayout = defineMetrics([
  {
    kind: "counter",
    name: "shopstream_messages_processed_total",
    help: "Attempts at messages by how they ended.",
    series: subscriptions.flatMap((labels) => STATUSES.map((status) => ({ ...labels, status }))),
  },
  {
    kind: "histogram",
    name: "shopstream_message_processing_duration_seconds",
    help: "Time in the handler, commit included.",
    bounds: DURATION_BOUNDS,
    series: subscriptions,
  },
  {
    kind: "gauge",
    combine: "sum",
    name: "shopstream_queue_depth",
    help: "Messages of a group that are not settled.",
    series: Object.keys(GROUPS).map((queue_name) => ({ queue_name })),
  },
  {
    kind: "counter",
    name: "shopstream_orders_total",
    help: "Orders that reached a status.",
    series: ORDER_STATUSES.map((status) => ({ status })),
  },
  {
    kind: "counter",
    name: "shopstream_revenue_total",
    help: "Captured payments in major units; refunds are not subtracted.",
    series: CURRENCIES.map((currency) => ({ currency })),
  },
  {
    kind: "counter",
    name: "shopstream_circuit_changes_total",
    help: "Changes of a payment gateway's circuit, by the state that was entered.",
    series: crossLabels({
      gateway: ["premium", "standard"],
      state: ["closed", "open", "half_open"],
    }),
  },
  {
    kind: "gauge",
    combine: "sum",
    name: "shopstream_entities_resident",
    help: "Orders kept in memory.",
  },
  {
    kind: "counter",
    name: "shopstream_settle_failures_total",
    help: "Settlements that the broker did not take, each tried again.",
  },
  {
    kind: "counter",
    name: "shopstream_journal_units_total",
    help: "Units of work the journal was asked to commit, by answer.",
    series: [{ answer: "committed" }, { answer: "refused" }],
  },
  {
    kind: "histogram",
    name: "shopstream_journal_batch_units",
    help: "Units that shared one transaction.",
    bounds: BATCH_BOUNDS,
  },
  {
    kind: "histogram",
    name: "shopstream_journal_commit_duration_seconds",
    help: "One transaction, fsync included.",
    bounds: DURATION_BOUNDS,
  },
  {
    kind: "counter",
    name: "shopstream_journal_damage_total",
    help: "Records found damaged.",
  },
  {
    kind: "counter",
    name: "shopstream_thread_restarts_total",
    help: "Threads that died and were replaced.",
  },
]);

export interface ShardMetrics {
  consumed(group: Group, event: ConsumerEvent): void;
  stepped(step: CommittedStep): void;
  circuitChanged(change: CircuitChange): void;
  resident(entities: number): void;
}

/** The counters of one shard. */
export function shardMetrics(writer: CounterWriter): ShardMetrics {
  const processed = new Map<string, Record<Status, Counter> & { readonly duration: Histogram }>();
  for (const labels of subscriptions) {
    const counter = (status: Status): Counter =>
      writer.counter("shopstream_messages_processed_total", { ...labels, status });
    processed.set(`${labels.service}/${labels.topic}`, {
      ok: counter("ok"),
      retry: counter("retry"),
      dead: counter("dead"),
      duration: writer.histogram("shopstream_message_processing_duration_seconds", labels),
    });
  }
  const orders = new Map<string, Counter>(
    ORDER_STATUSES.map((status) => [status, writer.counter("shopstream_orders_total", { status })]),
  );
  const revenue = new Map<string, Counter>(
    CURRENCIES.map((currency) => [
      currency,
      writer.counter("shopstream_revenue_total", { currency }),
    ]),
  );
  const settleFailures = writer.counter("shopstream_settle_failures_total");
  const residents = writer.gauge("shopstream_entities_resident");

  return {
    consumed(group, event) {
      if (event.kind === "settle_failed") settleFailures.add();
      if (event.kind === "buried") {
        processed.get(`${group}/${event.delivery.topic}`)?.dead.add();
      }
      if (event.kind !== "handled") return;
      const of = processed.get(`${group}/${event.delivery.topic}`);
      of?.duration.observe(event.durationMs / 1_000);
      if (event.outcome === "retry") of?.retry.add();
      if (event.outcome === "ack" || event.outcome === "settled") of?.ok.add();
    },
    stepped({ events, before, after }) {
      if (before?.status !== after.status) orders.get(after.status)?.add();
      for (const event of events) {
        if (event.type !== "payment.processed" || event.status !== "completed") continue;
        const counter = revenue.get(event.currency) ?? revenue.get(OTHER_CURRENCY);
        counter?.add(event.amountMinor / 100);
      }
    },
    circuitChanged({ gateway, state }) {
      writer.counter("shopstream_circuit_changes_total", { gateway, state }).add();
    },
    resident: (entities) => residents.set(entities),
  };
}

export interface JournalMetrics {
  record(event: JournalEvent): void;
}

/** The counters of the journal's thread. */
export function journalMetrics(writer: CounterWriter): JournalMetrics {
  const committed = writer.counter("shopstream_journal_units_total", { answer: "committed" });
  const refused = writer.counter("shopstream_journal_units_total", { answer: "refused" });
  const batch = writer.histogram("shopstream_journal_batch_units");
  const duration = writer.histogram("shopstream_journal_commit_duration_seconds");
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
      if (event.kind !== "committed") return;
      committed.add(event.units - event.refused);
      refused.add(event.refused);
      batch.observe(event.units);
      duration.observe(event.durationMs / 1_000);
    },
  };
}
