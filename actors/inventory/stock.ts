/**
 * Stock and reservations as pure functions over a snapshot of rows.
 *
 * A reservation takes every item or none. Many orders are worked off one snapshot, one after the
 * other, so a batch never promises a unit twice; whether the snapshot was current is for the store
 * to say. `available + reserved + shipped` of a product changes only when stock is set.
 */

import type { CommandOf, EventOf } from "../contracts/messages.ts";
import type { CommandReply, StockState } from "../contracts/order-state.ts";

import { assert } from "../../runtime/errors.ts";

export interface Line {
  readonly productId: string;
  readonly quantity: number;
}

/** `failed` and `released` are final, and keep a redelivered or late message from reserving. */
export type ReservationStatus = "held" | "failed" | "released" | "shipped";

/** The row of table `reservations`, by order id. */
export interface Reservation {
  readonly orderId: string;
  readonly items: readonly Line[];
  readonly status: ReservationStatus;
  /** When an unpaid reservation lapses; 0 unless it was ever held. */
  readonly expiresAtMs: number;
}

/** The row of table `stock`, by product id. Readers may take it for a `StockState`. */
export interface StockRow extends StockState {
  /** Id of the command that last set it, so that the same command sent again acts once. */
  readonly setBy?: string;
}

/** What inventory listens to. */
export type InventoryInput = EventOf<"order.created" | "order.cancelled" | "order.shipped">;
export type InventoryEvent = EventOf<"inventory.reserved" | "inventory.released">;

/** Rows as loaded and as changed so far. A product that is absent has no stock. */
export interface Snapshot {
  readonly stock: Map<string, StockRow>;
  readonly reservations: Map<string, Reservation>;
}

/**
 * `applied`: the snapshot was changed; `event` is to be published, if any. `nothing`: already done
 * or not for us. `misplaced`: goods leave that were never set aside, which no retry can mend.
 */
export type InventoryOutcome =
  | { readonly kind: "applied"; readonly event: InventoryEvent | undefined }
  | { readonly kind: "nothing" }
  | { readonly kind: "misplaced"; readonly detail: string };

/** The row to write (`set`) or as this very command wrote it before (`repeat`). */
export type SetStockDecision =
  | { readonly kind: "set" | "repeat"; readonly stock: StockRow; readonly created: boolean }
  | Extract<CommandReply, { kind: "refused" }>;

const NOTHING: InventoryOutcome = { kind: "nothing" };

/** Works `input` off `snapshot`, which it changes in place. */
export function applyToStock(
  input: InventoryInput,
  snapshot: Snapshot,
  terms: { readonly nowMs: number; readonly reservationTtlMs: number },
): InventoryOutcome {
  switch (input.type) {
    case "order.created":
      return reserve(input, snapshot, terms.nowMs + terms.reservationTtlMs);
    case "order.cancelled":
      return release(input.orderId, snapshot);
    case "order.shipped":
      return ship(input.orderId, snapshot);
  }
}

/**
 * What `inventory.set` does to `stock`. Only what is available is set: goods that are reserved or
 * shipped are not the caller's to change. A product that is there is changed only by a caller who
 * names its version.
 */
export function decideSetStock(
  command: CommandOf<"inventory.set">,
  stock: StockRow | undefined,
  commandId: string,
): SetStockDecision {
  const { productId, available, expectedVersion = 0 } = command;
  const created = expectedVersion === 0;
  if (stock?.setBy === commandId) return { kind: "repeat", stock, created };
  if (stock !== undefined && command.expectedVersion === undefined) {
    return refused("version_required", `${productId} exists; say which version is to be changed`);
  }
  const version = stock?.version ?? 0;
  if (expectedVersion !== version) {
    return refused("version_conflict", `${productId} is at version ${version}`);
  }
  const { reserved, shipped } = stock ?? { reserved: 0, shipped: 0 };
  const next = { productId, available, reserved, shipped, version: version + 1, setBy: commandId };
  return { kind: "set", stock: next, created };
}

/** `row` without what is nobody else's business. */
export function publicStock({ setBy: _, ...stock }: StockRow): StockState {
  return stock;
}

/** Products whose rows `input` may need, given its order's reservation. */
export function productsOf(
  input: InventoryInput,
  reservation: Reservation | undefined,
): readonly string[] {
  const lines = input.type === "order.created" ? input.items : (reservation?.items ?? []);
  return lines.map((line) => line.productId);
}

function reserve(
  input: EventOf<"order.created">,
  snapshot: Snapshot,
  expiresAtMs: number,
): InventoryOutcome {
  const { orderId } = input;
  if (snapshot.reservations.has(orderId)) return NOTHING;
  const items = input.items.map(({ productId, quantity }) => ({ productId, quantity }));
  const failedItems = [...totals(items)]
    .map(([productId, requested]) => ({
      productId,
      requested,
      available: snapshot.stock.get(productId)?.available ?? 0,
    }))
    .filter((item) => item.requested > item.available);
  if (failedItems.length > 0) {
    snapshot.reservations.set(orderId, { orderId, items, status: "failed", expiresAtMs: 0 });
    const type = "inventory.reserved";
    return { kind: "applied", event: { type, orderId, status: "failed", failedItems } };
  }
  move(items, snapshot.stock, "available", "reserved");
  snapshot.reservations.set(orderId, { orderId, items, status: "held", expiresAtMs });
  const type = "inventory.reserved";
  return { kind: "applied", event: { type, orderId, status: "reserved", expiresAtMs } };
}

function release(orderId: string, snapshot: Snapshot): InventoryOutcome {
  const reservation = snapshot.reservations.get(orderId);
  if (reservation === undefined) {
    // Its order.created was given up on; should that be redriven, it must find a closed door.
    const closed = { orderId, items: [], status: "released", expiresAtMs: 0 } as const;
    snapshot.reservations.set(orderId, closed);
    return { kind: "applied", event: undefined };
  }
  if (reservation.status !== "held") return NOTHING;
  move(reservation.items, snapshot.stock, "reserved", "available");
  snapshot.reservations.set(orderId, { ...reservation, status: "released" });
  const items = [...reservation.items];
  return { kind: "applied", event: { type: "inventory.released", orderId, items } };
}

function ship(orderId: string, snapshot: Snapshot): InventoryOutcome {
  const reservation = snapshot.reservations.get(orderId);
  if (reservation?.status === "shipped") return NOTHING;
  if (reservation?.status !== "held") {
    const found = reservation?.status ?? "absent";
    return { kind: "misplaced", detail: `order ${orderId} ships, its reservation is ${found}` };
  }
  move(reservation.items, snapshot.stock, "reserved", "shipped");
  snapshot.reservations.set(orderId, { ...reservation, status: "shipped" });
  return { kind: "applied", event: undefined };
}

type Place = "available" | "reserved" | "shipped";

function move(items: readonly Line[], stock: Map<string, StockRow>, from: Place, to: Place): void {
  for (const [productId, quantity] of totals(items)) {
    const row = stock.get(productId);
    assert(row !== undefined, `stock of ${productId} was not loaded`);
    assert(row[from] >= quantity, `${productId}: ${row[from]} ${from}, ${quantity} to move`);
    stock.set(productId, { ...row, [from]: row[from] - quantity, [to]: row[to] + quantity });
  }
}

function totals(items: readonly Line[]): Map<string, number> {
  const sums = new Map<string, number>();
  for (const { productId, quantity } of items) {
    sums.set(productId, (sums.get(productId) ?? 0) + quantity);
  }
  return sums;
}

function refused(
  code: "version_required" | "version_conflict",
  detail: string,
): Extract<CommandReply, { kind: "refused" }> {
  return { kind: "refused", code, detail };
}
