/**
 * The order as it is stored, read and shown: the row of table `orders`, as msgpack.
 *
 * Written only by the order actor; every reader decodes it through `codec.ts`.
 */

import type { CancelReason, CommandOf, OrderItem } from "./messages.ts";

export type OrderStatus = "pending" | "ready_to_ship" | "shipped" | "delivered" | "cancelled";
export type PaymentStatus = "pending" | "completed" | "failed" | "refunded";
export type InventoryStatus = "pending" | "reserved" | "failed" | "released";

export const ORDER_STATUSES = [
  "pending",
  "ready_to_ship",
  "shipped",
  "delivered",
  "cancelled",
] as const satisfies readonly OrderStatus[];

export interface OrderState {
  readonly id: string;
  readonly customerId: string;
  readonly items: readonly OrderItem[];
  readonly totalMinor: number;
  readonly currency: string;
  readonly shippingAddress?: CommandOf<"order.create">["shippingAddress"];
  readonly paymentMethod?: CommandOf<"order.create">["paymentMethod"];
  readonly status: OrderStatus;
  readonly paymentStatus: PaymentStatus;
  readonly inventoryStatus: InventoryStatus;
  readonly cancelReason?: CancelReason;
  readonly trackingNumber?: string;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  /** Number of timeline entries so far. The row has a version of its own. */
  readonly version: number;
}

/** The row of table `stock`. `available + reserved + shipped` changes only by `inventory.set`. */
export interface StockState {
  readonly productId: string;
  readonly available: number;
  readonly reserved: number;
  readonly shipped: number;
  readonly version: number;
}

/** What became of one dead letter that an operator acted on. */
export interface LetterResult {
  readonly id: number;
  /** `missing`: no such letter, or somebody was faster. `refused`: not a frame, see `detail`. */
  readonly result: "redriven" | "discarded" | "missing" | "refused";
  readonly detail?: string;
}

/**
 * The books of one partition for one group, as broker and consumer each keep them.
 *
 * `published = acked + dead + inFlight + waiting` by the broker's count, and what it sent to the
 * present member is what that member received. `imbalance` says which of it does not hold.
 */
export interface LedgerRow {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  /** Records that concern the group, since it exists. */
  readonly published: number;
  readonly acked: number;
  readonly dead: number;
  /** Handed out and not settled, `parked` among them. */
  readonly inFlight: number;
  /** Of those in flight: behind their key, or waiting for their retry. */
  readonly parked: number;
  /** Not handed out yet. */
  readonly waiting: number;
  /** Attempts at redriven dead letters. */
  readonly redriven: number;
  readonly imbalance?: string;
}

/** What a shard answers to a command. */
export type CommandReply =
  | { readonly kind: "order"; readonly order: OrderState; readonly replayed: boolean }
  | { readonly kind: "stock"; readonly stock: StockState; readonly created: boolean }
  /** The owner of the order has the command and will carry it out; it did not answer in time. */
  | { readonly kind: "pending" }
  /** A batch of behaviour is on the disk. */
  | { readonly kind: "recorded"; readonly events: number }
  | { readonly kind: "letters"; readonly results: readonly LetterResult[] }
  | { readonly kind: "ledger"; readonly rows: readonly LedgerRow[] }
  | {
      readonly kind: "refused";
      readonly code:
        | "not_found"
        | "not_cancellable"
        | "idempotency_mismatch"
        | "version_conflict"
        | "version_required"
        | "storage_unavailable"
        | "expired"
        | "failed";
      readonly detail: string;
    };
