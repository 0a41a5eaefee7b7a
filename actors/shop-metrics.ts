/**
 * What the shop counts, declared once for every thread.
 *
 * Names and labels follow Prometheus; all label values are known beforehand, so a label can never
 * grow with the traffic. Amounts of money are major units, as dashboards show them. Who counts is
 * in `shard-metrics.ts` and `store-metrics.ts`.
 */

import type { CounterLayout } from "../runtime/threads/counter-layout.ts";
import type { Metric } from "./analytics/analytics-metrics.ts";
import type { Verdict } from "./fraud/fraud-check.ts";

import { crossLabels, defineMetrics } from "../runtime/threads/counter-layout.ts";
import { ORDER_STATUSES } from "./contracts/order-state.ts";
import { FOREIGN_BROKERS, GROUPS, NO_BROKER, VIEWS } from "./contracts/topics.ts";
import { COMMANDS_TOPIC } from "./commands/owner-handler.ts";
import { RULES } from "./fraud/fraud-rules.ts";
import { CHANNEL_KINDS, ENTRY_STATUSES } from "./notification/notification.ts";
import { egressGroup } from "./routing/egress.ts";
import { UNMATCHED_GROUP } from "./routing/ingress.ts";
import { outboxTopic, UNMATCHED_TOPIC } from "./routing/routed-frame.ts";

/** Seconds; from a tenth of a millisecond to ten seconds. */
const DURATION_BOUNDS = [
  0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5, 10,
];
const BATCH_BOUNDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];
export const STATUSES = ["ok", "retry", "dead"] as const;
const DECISIONS = ["pass", "block"] as const satisfies readonly Verdict["decision"][];
const AUDIT_OUTCOMES = ["sound", "faulty", "repeat"] as const;
export type AuditOutcome = (typeof AUDIT_OUTCOMES)[number];
export const MISFITS = ["late", "future", "unreadable"] as const satisfies readonly Metric[];
export const OTHER_CURRENCY = "other";
export const CURRENCIES = [...Intl.supportedValuesOf("currency"), OTHER_CURRENCY];

export type Status = (typeof STATUSES)[number];

const brokers = [...FOREIGN_BROKERS, NO_BROKER].map((broker) => ({ broker }));
export const VIEW_LABELS = Object.keys(VIEWS).map((view) => ({ view }));
export const SUBSCRIPTIONS = [
  ...Object.entries(GROUPS).flatMap(([service, topics]) =>
    topics.map((topic) => ({ service, topic })),
  ),
  { service: "order", topic: COMMANDS_TOPIC },
  // What carries frames for the router.
  { service: UNMATCHED_GROUP, topic: UNMATCHED_TOPIC },
  ...FOREIGN_BROKERS.map((broker) => ({
    service: egressGroup(broker),
    topic: outboxTopic(broker),
  })),
];

export const SHOP_LAYOUT: CounterLayout = defineMetrics([
  {
    kind: "counter",
    name: "shopstream_messages_processed_total",
    help: "Attempts at messages by how they ended.",
    series: SUBSCRIPTIONS.flatMap((labels) => STATUSES.map((status) => ({ ...labels, status }))),
  },
  {
    kind: "histogram",
    name: "shopstream_message_processing_duration_seconds",
    help: "Time in the handler, commit included.",
    bounds: DURATION_BOUNDS,
    series: SUBSCRIPTIONS,
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
    name: "shopstream_store_units_total",
    help: "Units of work the store was asked to commit, by answer.",
    series: [{ answer: "committed" }, { answer: "refused" }],
  },
  {
    kind: "histogram",
    name: "shopstream_store_batch_units",
    help: "Units that shared one transaction.",
    bounds: BATCH_BOUNDS,
  },
  {
    kind: "histogram",
    name: "shopstream_store_commit_duration_seconds",
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
    name: "shopstream_messages_redriven_total",
    help: "Attempts at messages that were put back from the dead letters.",
    series: SUBSCRIPTIONS,
  },
  {
    kind: "counter",
    name: "shopstream_fraud_verdicts_total",
    help: "Verdicts of the fraud check.",
    series: DECISIONS.map((decision) => ({ decision })),
  },
  {
    kind: "counter",
    name: "shopstream_fraud_rules_total",
    help: "Orders at which a rule of the fraud check fired.",
    series: RULES.map(({ name: rule }) => ({ rule })),
  },
  {
    kind: "histogram",
    name: "shopstream_fraud_check_duration_seconds",
    help: "From the question to the verdict, commit included.",
    bounds: DURATION_BOUNDS,
  },
  {
    kind: "counter",
    name: "shopstream_notifications_total",
    help: "Entries of the notification ledgers, by what they became.",
    series: crossLabels({ channel: CHANNEL_KINDS, status: ENTRY_STATUSES }),
  },
  {
    kind: "gauge",
    combine: "max",
    name: "shopstream_egress_circuit",
    help: "Circuit in front of a broker: 0 closed, 1 half open, 2 open.",
    series: brokers,
  },
  {
    kind: "gauge",
    combine: "sum",
    name: "shopstream_outbox_depth",
    help: "Frames that wait for a broker; none: for topics that no setting names.",
    series: brokers,
  },
  {
    kind: "gauge",
    combine: "max",
    name: "shopstream_outbox_age_seconds",
    help: "Age of the oldest frame in hand for a broker.",
    series: brokers,
  },
  {
    kind: "gauge",
    combine: "sum",
    name: "shopstream_egress_frames",
    help: "Frames sent to a broker since the shard started, by outcome.",
    series: crossLabels({
      broker: [...FOREIGN_BROKERS, NO_BROKER],
      outcome: ["published", "failed", "failover"],
    }),
  },
  {
    kind: "counter",
    name: "shopstream_view_records_total",
    help: "Records of the log that a view has applied.",
    series: VIEW_LABELS,
  },
  {
    kind: "gauge",
    combine: "sum",
    name: "shopstream_view_lag_records",
    help: "Records of the log that a view has still to apply.",
    series: VIEW_LABELS,
  },
  {
    kind: "gauge",
    combine: "sum",
    name: "shopstream_view_lag_seconds",
    help: "Age of the oldest record that a view has still to apply.",
    series: VIEW_LABELS,
  },
  {
    kind: "counter",
    name: "shopstream_view_failures_total",
    help: "Failures of a view, each tried again.",
    series: VIEW_LABELS,
  },
  {
    kind: "gauge",
    combine: "sum",
    name: "shopstream_view_failing",
    help: "1 while the last try of a view failed.",
    series: VIEW_LABELS,
  },
  {
    kind: "counter",
    name: "shopstream_audit_records_total",
    help: "Records the audit was given: sound and faulty ones are recorded, repeats are not.",
    series: AUDIT_OUTCOMES.map((outcome) => ({ outcome })),
  },
  {
    kind: "counter",
    name: "shopstream_analytics_misfits_total",
    help: "Events that analytics could not count in their window, by reason.",
    series: MISFITS.map((reason) => ({ reason })),
  },
  {
    kind: "counter",
    name: "shopstream_thread_restarts_total",
    help: "Threads that died and were replaced.",
  },
]);
