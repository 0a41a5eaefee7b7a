/**
 * What a load run knows when it ends: what was asked, what was answered, what is there now.
 *
 * Plain data: the judge in `verify-orders.ts` needs no network and its tests can forge any lie.
 * Amounts are minor units; an amount that is no whole number of hundredths is `undefined` and
 * never rounded. Times are milliseconds since the epoch.
 */

import type { PlatformEvidence } from "./platform-evidence.ts";

export interface OrderItem {
  readonly productId: string;
  readonly quantity: number;
  readonly priceMinor: number | undefined;
}

/** How a customer can be reached; an address that is absent means a channel that is not used. */
export interface Contact {
  readonly email?: string;
  readonly phone?: string;
  readonly pushToken?: string;
  readonly language?: string;
}

/** An order before it is sent. `customerId` is used by no other order of any run. */
export interface PlannedOrder {
  readonly customerId: string;
  readonly idempotencyKey: string;
  readonly items: readonly (OrderItem & { readonly priceMinor: number })[];
  readonly totalMinor: number;
  readonly currency: string;
  readonly contact?: Contact;
}

/**
 * What the client may believe. `acknowledged`: a 2xx arrived; several ids only when one key was
 * answered with several orders. `ambiguous`: the shop may have it. `refused`: it has it not.
 */
export type Outcome =
  | {
      readonly kind: "acknowledged";
      readonly orderIds: readonly string[];
      readonly totalMinor: number | undefined;
    }
  | { readonly kind: "ambiguous"; readonly reason: string }
  | { readonly kind: "refused"; readonly reason: string };

export interface Attempt {
  readonly order: PlannedOrder;
  readonly outcome: Outcome;
  /** When the order was due to be sent, whether or not the client was free to send it. */
  readonly intendedAtMs: number;
}

export interface TimelineEvent {
  readonly version: number;
  readonly type: string;
  readonly atMs: number;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface ObservedOrder {
  readonly id: string;
  readonly customerId: string;
  readonly items: readonly OrderItem[];
  readonly status: string;
  readonly paymentStatus: string;
  readonly inventoryStatus: string;
  readonly totalMinor: number | undefined;
  readonly currency: string;
  readonly version: number;
}

/** One product at the end; `initial` is what was put on the shelf before the first order. */
export interface StockObservation {
  readonly productId: string;
  readonly initial: number;
  readonly available: number;
  readonly reserved: number;
  readonly shipped: number;
}

/** One thing the payment provider really did. */
export interface LedgerEffect {
  readonly kind: "capture" | "refund";
  readonly orderId: string;
  readonly amountMinor: number;
  readonly currency: string;
}

export interface Evidence {
  readonly attempts: readonly Attempt[];
  /** Ids of the orders listed for a customer, for every customer of `attempts`. */
  readonly listedByCustomer: ReadonlyMap<string, readonly string[]>;
  /** Every order that was acknowledged or listed; an id that cannot be read is absent. */
  readonly orders: ReadonlyMap<string, ObservedOrder>;
  /** Timelines of the same orders. */
  readonly timelines: ReadonlyMap<string, readonly TimelineEvent[]>;
  /** Products that only this run sells. */
  readonly stock: readonly StockObservation[];
  /** Absent when the shop simulates its provider. */
  readonly ledger?: readonly LedgerEffect[];
  /** What the stores around the orders say; absent when they were not asked. */
  readonly platform?: PlatformEvidence;
}

/** The promise that was broken; the name is what tests and reports refer to. */
export type CheckName =
  | "lost"
  | "doubled"
  | "amounts"
  | "terminal"
  | "transitions"
  | "stock"
  | "payments"
  | "cause"
  | "views"
  | "analytics"
  | "audit"
  | "notifications"
  | "outbox"
  | "books"
  | "letters"
  | "cancels"
  | "events"
  | "fence"
  | "rest";

/** What a rule found wrong. */
export interface Problem {
  readonly detail: string;
  /** Something is not there yet, and time alone may bring it; absent: it is broken for good. */
  readonly isEarly?: true;
}

export interface Violation extends Problem {
  readonly check: CheckName;
  /** Order, customer or product id. */
  readonly subject: string;
}

export const broken = (detail: string): Problem => ({ detail });
export const early = (detail: string): Problem => ({ detail, isEarly: true });

/** Whether `checks` found something, and time alone may mend all of it: then it is asked again. */
export function mayHeal(violations: readonly Violation[], checks: readonly CheckName[]): boolean {
  const found = violations.filter(({ check }) => checks.includes(check));
  return found.length > 0 && found.every(({ isEarly }) => isEarly === true);
}

/** Minor units of a decimal from the API, or `undefined` when it is not exactly hundredths. */
export function minorOf(decimal: unknown): number | undefined {
  if (typeof decimal !== "number") return undefined;
  const minor = Math.round(decimal * 100);
  return Number.isSafeInteger(minor) && minor / 100 === decimal ? minor : undefined;
}
