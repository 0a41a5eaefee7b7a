/**
 * Analytics as one would write it first: everything in memory, every amount kept, one event at a
 * time.
 *
 * Only for tests: the reference that the view is compared with. It shares with the view neither
 * columns nor sketches nor batches.
 */

import type { ShopEvent } from "../contracts/messages.ts";
import type { LogEntry } from "./analytics-log.fixture.ts";
import type { BehaviorEvent } from "./behavior-columns.ts";
import type { AnalyticsSettings } from "./analytics-tuning.ts";

export interface NaiveCell {
  count: number;
  sumMinor: number;
  readonly amounts: number[];
}

interface Fact {
  readonly metric: string;
  readonly dimension: string;
  readonly value: string;
  readonly currency: string;
  readonly amountMinor?: number;
  readonly count?: number;
}

interface NaiveOrder {
  readonly segment: string;
  readonly size: string;
  readonly lines: ReadonlyMap<string, { readonly pieces: number; readonly amountMinor: number }>;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

export function cellName(
  granularity: string,
  startMs: number,
  { metric, dimension, value, currency }: Fact,
): string {
  return JSON.stringify([granularity, metric, dimension, startMs, currency, value]);
}

export class NaiveAnalytics {
  readonly cells = new Map<string, NaiveCell>();
  readonly #settings: AnalyticsSettings;
  readonly #seen = new Set<string>();
  readonly #customers = new Map<string, number>();
  readonly #orders = new Map<string, NaiveOrder>();
  readonly #values = new Map<string, Set<string>>();

  constructor(settings: AnalyticsSettings) {
    this.#settings = settings;
  }

  read(entries: readonly LogEntry[]): this {
    for (const entry of entries) {
      const { event } = entry;
      if (event?.type === "order.delivered") continue;
      if (this.#seen.has(entry.identity)) continue;
      this.#seen.add(entry.identity);
      this.#readEntry(entry);
    }
    return this;
  }

  #readEntry({ event, behavior, atMs, record: { storedAtMs } }: LogEntry): void {
    const none = { value: "", currency: "" };
    if (event === undefined) {
      return this.#count(storedAtMs, { ...none, metric: "unreadable", dimension: "all" });
    }
    if (behavior !== undefined) return this.#readBehavior(behavior, storedAtMs);
    const facts = this.#facts(event);
    const kind = this.#kind(atMs, storedAtMs);
    if (kind === "counted") {
      for (const fact of facts) this.#count(atMs, fact);
      return;
    }
    this.#count(storedAtMs, { ...none, metric: kind, dimension: "all" });
    this.#count(storedAtMs, { ...none, metric: kind, dimension: "event", value: event.type });
  }

  /** Window by window, in each the values as they first appear in the whole message. */
  #readBehavior(events: readonly BehaviorEvent[], storedAtMs: number): void {
    const placed = events.map(({ event, productId = "", atMs }) => {
      const kind = this.#kind(atMs, storedAtMs);
      const countedMs = kind === "counted" ? atMs : storedAtMs;
      const window = `${kind} ${Math.floor(countedMs / MINUTE_MS)}`;
      return { kind, countedMs, window, values: { all: "", event, product: productId } };
    });
    for (const window of new Set(placed.map((one) => one.window))) {
      const inside = placed.filter((one) => one.window === window);
      for (const dimension of ["all", "event", "product"] as const) {
        const order = [...new Set(placed.map(({ values }) => values[dimension]))];
        for (const value of order) {
          if (dimension === "product" && value === "") continue;
          for (const { kind, countedMs, values } of inside) {
            if (values[dimension] !== value) continue;
            if (kind !== "counted" && dimension === "product") continue;
            const metric = kind === "counted" ? "behavior" : kind;
            this.#count(countedMs, { metric, dimension, value, currency: "" });
          }
        }
      }
    }
  }

  #kind(atMs: number, storedAtMs: number): "counted" | "late" | "future" {
    if (atMs < storedAtMs - this.#settings.latenessMs) return "late";
    return atMs > storedAtMs + this.#settings.aheadMs ? "future" : "counted";
  }

  #facts(event: ShopEvent): readonly Fact[] {
    const fact = (metric: string, dimension: string, value: string, extra: Partial<Fact> = {}) => ({
      metric,
      dimension,
      value,
      currency: "",
      ...extra,
    });
    switch (event.type) {
      case "inventory.reserved":
        return [fact("reservations", "all", ""), fact("reservations", "status", event.status)];
      case "order.shipped":
        return [fact("shipments", "all", ""), fact("shipments", "carrier", event.carrier)];
      case "order.created": {
        const { segment, size, lines } = this.#open(event);
        const money = { currency: event.currency, amountMinor: event.totalMinor };
        return [
          fact("orders", "all", "", money),
          fact("orders", "segment", segment, money),
          fact("orders", "size", size, money),
          ...[...lines].map(([product, { amountMinor }]) =>
            fact("orders", "product", product, { ...money, amountMinor }),
          ),
        ];
      }
      case "payment.processed": {
        const order = this.#orders.get(event.orderId);
        this.#orders.delete(event.orderId);
        const money = { currency: event.currency, amountMinor: event.amountMinor };
        const payments = [
          fact("payments", "all", "", money),
          fact("payments", "status", event.status, money),
        ];
        if (event.status === "failed") {
          return [...payments, fact("payments", "reason", event.reason ?? "unknown", money)];
        }
        return [
          ...payments,
          fact("revenue", "all", "", money),
          fact("revenue", "segment", order?.segment ?? "unknown", money),
          fact("revenue", "size", order?.size ?? "unknown", money),
          ...[...(order?.lines ?? [])].flatMap(([product, { pieces, amountMinor }]) => [
            fact("revenue", "product", product, { ...money, amountMinor }),
            fact("units", "product", product, { count: pieces }),
            fact("units", "all", "", { count: pieces }),
          ]),
        ];
      }
      default:
        return [];
    }
  }

  #open(event: Extract<ShopEvent, { type: "order.created" }>): NaiveOrder {
    const { frequentFrom, mediumFromMinor, largeFromMinor, xlFromMinor } = this.#settings;
    const orders = (this.#customers.get(event.customerId) ?? 0) + 1;
    this.#customers.set(event.customerId, orders);
    const lines = new Map<string, { pieces: number; amountMinor: number }>();
    for (const { productId, quantity, priceMinor } of event.items) {
      const { pieces, amountMinor } = lines.get(productId) ?? { pieces: 0, amountMinor: 0 };
      const more = amountMinor + quantity * priceMinor;
      lines.set(productId, { pieces: pieces + quantity, amountMinor: more });
    }
    const total = event.totalMinor;
    const order = {
      segment: orders === 1 ? "new" : orders < frequentFrom ? "returning" : "frequent",
      size:
        total < mediumFromMinor
          ? "small"
          : total < largeFromMinor
            ? "medium"
            : total < xlFromMinor
              ? "large"
              : "xl",
      lines,
    };
    this.#orders.set(event.orderId, order);
    return order;
  }

  #count(atMs: number, fact: Fact): void {
    const { minuteValuesMax, hourValuesMax } = this.#settings;
    this.#add("minute", atMs - (atMs % MINUTE_MS), fact, minuteValuesMax);
    this.#add("hour", atMs - (atMs % HOUR_MS), fact, hourValuesMax);
  }

  #add(granularity: string, startMs: number, fact: Fact, valuesMax: number): void {
    const { metric, dimension, value, currency, count = 1, amountMinor } = fact;
    const window = `${granularity} ${startMs} ${metric} ${dimension}`;
    const values = this.#values.get(window) ?? new Set();
    this.#values.set(window, values);
    const own = `${currency} ${value}`;
    if (values.size < valuesMax) values.add(own);
    const kept = values.has(own) ? fact : { ...fact, value: "(other)" };
    const name = cellName(granularity, startMs, kept);
    const cell = this.cells.get(name) ?? { count: 0, sumMinor: 0, amounts: [] };
    this.cells.set(name, cell);
    cell.count += count;
    if (amountMinor === undefined) return;
    cell.sumMinor += amountMinor;
    cell.amounts.push(amountMinor);
  }
}
