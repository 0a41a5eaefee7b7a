/**
 * The judge: from the evidence of a run to every promise that was broken.
 *
 * Pure, and independent of the actors' code. It accepts no tolerance and, for orders, payments and
 * stock, no sample: every order is looked at, amounts are compared to the cent, stock to the piece.
 * An order that nobody was promised (an ambiguous attempt) may exist or not, but if it exists it is
 * held to all the rest.
 */

import { isSettled, judgeTimeline } from "./timeline-rules.ts";
import { judgePlatform } from "./platform-rules.ts";
import { needlessCancel, spareOf, tooFewShipped } from "./cause-rules.ts";
import { broken, early, minorOf } from "./evidence.ts";
import type {
  Attempt,
  CheckName,
  Evidence,
  LedgerEffect,
  ObservedOrder,
  PlannedOrder,
  Problem,
  StockObservation,
  TimelineEvent,
  Violation,
} from "./evidence.ts";

export interface Verdict {
  readonly ok: boolean;
  readonly violations: readonly Violation[];
  readonly counts: {
    readonly attempted: number;
    readonly acknowledged: number;
    readonly ambiguous: number;
    readonly refused: number;
    /** Orders found, acknowledged or not. */
    readonly found: number;
    readonly shipped: number;
    readonly cancelled: number;
    /** Shipped orders' totals, in minor units. */
    readonly shippedMinor: number;
    /** Products whose stock was counted. */
    readonly products: number;
    /** Captures and refunds that were checked one by one; 0 without a ledger. */
    readonly ledgerEffects: number;
    /** Orders of which audit and notifications were looked at one by one. */
    readonly sampled: number;
    /** Records of the audit that were verified. */
    readonly audited: number;
    /** Texts in outbox files. */
    readonly texts: number;
  };
}

/** Entries of the timeline that name the order's whole amount, and where. */
const AMOUNT_FIELDS: ReadonlyMap<string, string> = new Map([
  ["order.created", "total"],
  ["payment.processed", "amount"],
  ["payment.refunded", "amount"],
]);

/** A text alone: broken for good. */
type Report = (check: CheckName, subject: string, problem: string | Problem) => void;

export function verify(evidence: Evidence): Verdict {
  const violations: Violation[] = [];
  const report: Report = (check, subject, problem) => {
    const found = typeof problem === "string" ? broken(problem) : problem;
    violations.push({ check, subject, ...found });
  };
  const seen = new Map<string, PlannedOrder>();
  for (const attempt of evidence.attempts) {
    for (const id of checkPresence(attempt, evidence, report)) seen.set(id, attempt.order);
  }
  for (const [id, planned] of seen) {
    const order = evidence.orders.get(id);
    if (order === undefined) continue;
    checkAmounts(planned, order, evidence.timelines.get(id) ?? [], report);
    checkLife(order, evidence.timelines.get(id) ?? [], report);
  }
  const found = [...seen.keys()].flatMap((id) => evidence.orders.get(id) ?? []);
  checkStock(evidence.stock, found, report);
  checkCauses(evidence, found, report);
  if (evidence.ledger !== undefined) checkLedger(evidence.ledger, evidence, seen, report);
  if (evidence.platform !== undefined) {
    violations.push(...judgePlatform(evidence, evidence.platform, seen));
  }
  return { ok: violations.length === 0, violations, counts: countUp(evidence, found) };
}

/** What was cancelled had to be, and most was not. */
function checkCauses(evidence: Evidence, found: readonly ObservedOrder[], report: Report): void {
  const spare = spareOf(evidence.stock, found);
  const mayDecline = evidence.ledger !== undefined;
  for (const order of found) {
    const timeline = evidence.timelines.get(order.id) ?? [];
    const problem = needlessCancel(order, timeline, spare, mayDecline);
    if (problem !== undefined) report("cause", order.id, problem);
  }
  const problem = tooFewShipped(found);
  if (problem !== undefined) report("cause", "all orders", problem);
}

/** None lost, none doubled. Yields the ids under which this attempt's order is known. */
function checkPresence(attempt: Attempt, evidence: Evidence, report: Report): Set<string> {
  const { order: planned, outcome } = attempt;
  const listed = evidence.listedByCustomer.get(planned.customerId) ?? [];
  const promised = outcome.kind === "acknowledged" ? outcome.orderIds : [];
  for (const id of promised) {
    const order = evidence.orders.get(id);
    if (order === undefined) report("lost", id, "acknowledged, and cannot be read");
    else if (order.customerId !== planned.customerId) {
      report("lost", id, `acknowledged to ${planned.customerId}, is ${order.customerId}'s`);
    }
    if (!listed.includes(id)) report("lost", id, `not in the list of ${planned.customerId}`);
  }
  if (promised.length > 1) {
    report("doubled", planned.idempotencyKey, `one key was answered with ${promised.join(", ")}`);
  }
  const allowed = outcome.kind === "refused" ? 0 : 1;
  if (listed.length > allowed) {
    const why = `${listed.length} orders listed, ${allowed} allowed (${outcome.kind})`;
    report("doubled", planned.customerId, why);
  }
  if (outcome.kind === "acknowledged" && outcome.totalMinor !== planned.totalMinor) {
    const told = String(outcome.totalMinor);
    report("amounts", promised[0] ?? "", `asked ${planned.totalMinor}, acknowledged ${told}`);
  }
  return new Set([...promised, ...listed]);
}

/** What was asked is what is stored and what was paid, to the cent. */
function checkAmounts(
  planned: PlannedOrder,
  order: ObservedOrder,
  timeline: readonly TimelineEvent[],
  report: Report,
): void {
  const sum = order.items.reduce(
    (total, item) => total + item.quantity * (item.priceMinor ?? NaN),
    0,
  );
  if (order.totalMinor !== sum) {
    report("amounts", order.id, `total ${String(order.totalMinor)}, its items make ${sum}`);
  }
  if (order.totalMinor !== planned.totalMinor || order.currency !== planned.currency) {
    const asked = `${planned.totalMinor} ${planned.currency}`;
    report(
      "amounts",
      order.id,
      `asked ${asked}, holds ${String(order.totalMinor)} ${order.currency}`,
    );
  }
  if (itemsText(order.items) !== itemsText(planned.items)) {
    const asked = itemsText(planned.items);
    report("amounts", order.id, `asked ${asked}, holds ${itemsText(order.items)}`);
  }
  for (const { type, data } of timeline) {
    const field = AMOUNT_FIELDS.get(type);
    if (field !== undefined && minorOf(data[field]) !== planned.totalMinor) {
      const told = String(data[field]);
      report("amounts", order.id, `${type} of ${told}, asked ${planned.totalMinor} cents`);
    }
  }
}

/** Every transition legal, the timeline agreeing with the order, and the end reached. */
function checkLife(order: ObservedOrder, timeline: readonly TimelineEvent[], report: Report): void {
  const { problems, standing } = judgeTimeline(timeline);
  for (const problem of problems) report("transitions", order.id, problem);
  if (timeline.length !== order.version) {
    const detail = `version ${order.version}, timeline of ${timeline.length}`;
    report("transitions", order.id, detail);
  }
  for (const field of ["status", "paymentStatus", "inventoryStatus"] as const) {
    if (order[field] === standing[field]) continue;
    const detail = `${field} is ${order[field]}, the timeline says ${standing[field]}`;
    report("transitions", order.id, detail);
  }
  if (!isSettled(order)) {
    const { status, paymentStatus, inventoryStatus } = order;
    report("terminal", order.id, `still ${status}, ${paymentStatus}, ${inventoryStatus}`);
  }
}

/**
 * available + reserved + shipped is what was put there, whenever it is read; shipped is what orders
 * shipped, once inventory has heard of it.
 */
function checkStock(
  stock: readonly StockObservation[],
  orders: readonly ObservedOrder[],
  report: Report,
): void {
  const due = new Map<string, number>();
  for (const order of orders) {
    if (!isShipped(order)) continue;
    for (const item of order.items) {
      due.set(item.productId, (due.get(item.productId) ?? 0) + item.quantity);
    }
  }
  for (const { productId, initial, available, reserved, shipped } of stock) {
    const sum = available + reserved + shipped;
    if (sum !== initial) {
      const parts = `${available} + ${reserved} + ${shipped}`;
      report("stock", productId, `${parts} = ${sum}, ${initial} were there`);
    }
    if (Math.min(available, reserved, shipped) < 0) report("stock", productId, "below zero");
    if (reserved !== 0) report("stock", productId, early(`${reserved} still reserved at the end`));
    const ordered = due.get(productId) ?? 0;
    if (shipped !== ordered) {
      const problem = `${shipped} left the shelf, orders shipped ${ordered}`;
      report("stock", productId, shipped < ordered ? early(problem) : problem);
    }
    due.delete(productId);
  }
  for (const [productId, quantity] of due) {
    report("stock", productId, `${quantity} shipped of a product that is not in stock`);
  }
}

/** One capture per shipped order, of its total; nothing kept of a cancelled one. */
function checkLedger(
  ledger: readonly LedgerEffect[],
  evidence: Evidence,
  seen: ReadonlyMap<string, PlannedOrder>,
  report: Report,
): void {
  const byOrder = Map.groupBy(ledger, (effect) => effect.orderId);
  for (const [orderId, planned] of seen) {
    const order = evidence.orders.get(orderId);
    if (order === undefined) continue;
    const effects = byOrder.get(orderId) ?? [];
    const captures = effects.filter((effect) => effect.kind === "capture");
    const refunds = effects.filter((effect) => effect.kind === "refund");
    if (captures.length > 1) report("payments", orderId, `captured ${captures.length} times`);
    if (refunds.length > 1) report("payments", orderId, `refunded ${refunds.length} times`);
    if (effects.some((effect) => effect.currency !== planned.currency)) {
      report("payments", orderId, `paid in another currency than ${planned.currency}`);
    }
    const keptMinor = sumMinor(captures) - sumMinor(refunds);
    const dueMinor = isShipped(order) ? planned.totalMinor : 0;
    if (keptMinor !== dueMinor) {
      const problem = `${order.status}: kept ${keptMinor}, due ${dueMinor}`;
      // A refund may be on its way; what was shipped had been paid before.
      report("payments", orderId, keptMinor > dueMinor ? early(problem) : problem);
    }
  }
  for (const orderId of byOrder.keys()) {
    if (!seen.has(orderId)) report("payments", orderId, "money moved for an order nobody has");
  }
}

function countUp(evidence: Evidence, found: readonly ObservedOrder[]): Verdict["counts"] {
  const count = (kind: Attempt["outcome"]["kind"]): number =>
    evidence.attempts.filter((attempt) => attempt.outcome.kind === kind).length;
  const shipped = found.filter(isShipped);
  return {
    attempted: evidence.attempts.length,
    acknowledged: count("acknowledged"),
    ambiguous: count("ambiguous"),
    refused: count("refused"),
    found: found.length,
    shipped: shipped.length,
    cancelled: found.filter((order) => order.status === "cancelled").length,
    shippedMinor: shipped.reduce((total, order) => total + (order.totalMinor ?? 0), 0),
    products: evidence.stock.length,
    ledgerEffects: evidence.ledger?.length ?? 0,
    sampled: evidence.platform?.samples.size ?? 0,
    audited: evidence.platform?.chain.verified ?? 0,
    texts: evidence.platform?.outbox?.timesById.size ?? 0,
  };
}

function isShipped(order: ObservedOrder): boolean {
  return order.status === "shipped" || order.status === "delivered";
}

function sumMinor(effects: readonly LedgerEffect[]): number {
  return effects.reduce((total, effect) => total + effect.amountMinor, 0);
}

function itemsText(items: ObservedOrder["items"]): string {
  const lines = items.map(
    (item) => `${item.quantity} ${item.productId} ${String(item.priceMinor)}`,
  );
  return lines.toSorted().join(", ");
}
