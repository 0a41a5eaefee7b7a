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

/** What a shard answers to a command. */
export type CommandReply =
  | { readonly kind: "order"; readonly order: OrderState; readonly replayed: boolean }
  | { readonly kind: "stock"; readonly stock: StockState; readonly created: boolean }
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
