/**
 * The counters of one shard: what its services report, as the shop's metrics.
 *
 * Counts and translates, and decides nothing; what there is to count is in `shop-metrics.ts`.
 */

import type { Counter, CounterWriter, Histogram } from "../runtime/threads/counter-page.ts";
import type { Group } from "./contracts/topics.ts";
import type { CircuitStateName } from "./delivery/breaker.ts";
import type { ConsumerEvent } from "./delivery/consumer-event.ts";
import type { VerdictReport } from "./fraud/embedded-fraud-check.ts";
import type { LedgerEntry } from "./notification/notification.ts";
import type { CommittedStep } from "./order/order-actor.ts";
import type { CircuitChange } from "./payment/circuit-breaker.ts";
import type { EgressState } from "./routing/egress.ts";
import type { Status } from "./shop-metrics.ts";

import { CHANNEL_KINDS, ENTRY_STATUSES } from "./notification/notification.ts";
import { ORDER_STATUSES } from "./contracts/order-state.ts";
import { CURRENCIES, OTHER_CURRENCY, SUBSCRIPTIONS } from "./shop-metrics.ts";

const CIRCUIT_VALUES: Readonly<Record<CircuitStateName, number>> = {
  closed: 0,
  half_open: 1,
  open: 2,
};

export interface ShardMetrics {
  /** By a service, or by what carries frames for the router. */
  consumed(group: string, event: ConsumerEvent): void;
  /** An attempt at a message that was put back from the dead letters. */
  redriven(group: Group, topic: string): void;
  stepped(step: CommittedStep): void;
  circuitChanged(change: CircuitChange): void;
  resident(entities: number): void;
  judged(report: VerdictReport): void;
  notified(entries: readonly LedgerEntry[]): void;
  egress(broker: string, state: EgressState): void;
}

/** The counters of one shard. */
export function shardMetrics(writer: CounterWriter): ShardMetrics {
  const processed = new Map<string, Record<Status, Counter> & { readonly duration: Histogram }>();
  for (const labels of SUBSCRIPTIONS) {
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
  const verdicts = {
    pass: writer.counter("shopstream_fraud_verdicts_total", { decision: "pass" }),
    block: writer.counter("shopstream_fraud_verdicts_total", { decision: "block" }),
  };
  const notices = new Map<string, ReadonlyMap<string, Counter>>(
    CHANNEL_KINDS.map((channel) => [
      channel,
      new Map(
        ENTRY_STATUSES.map((status) => [
          status,
          writer.counter("shopstream_notifications_total", { channel, status }),
        ]),
      ),
    ]),
  );
  const judging = writer.histogram("shopstream_fraud_check_duration_seconds");
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
    redriven(service, topic) {
      writer.counter("shopstream_messages_redriven_total", { service, topic }).add();
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
    judged({ decision, rules, durationMs }) {
      verdicts[decision].add();
      for (const rule of rules) writer.counter("shopstream_fraud_rules_total", { rule }).add();
      judging.observe(durationMs / 1_000);
    },
    egress(broker, { circuit, depth, oldestAgeMs, published, failed, failedOver }) {
      writer.gauge("shopstream_egress_circuit", { broker }).set(CIRCUIT_VALUES[circuit]);
      writer.gauge("shopstream_outbox_depth", { broker }).set(depth);
      writer.gauge("shopstream_outbox_age_seconds", { broker }).set(oldestAgeMs / 1_000);
      const frames = { published, failed, failover: failedOver };
      for (const [outcome, count] of Object.entries(frames)) {
        writer.gauge("shopstream_egress_frames", { broker, outcome }).set(count);
      }
    },
    notified(entries) {
      for (const { channel, status } of entries) notices.get(channel)?.get(status)?.add();
    },
  };
}
