/**
 * Reads back everything a run may have caused, once the shop has come to rest.
 *
 * Waiting costs the shop almost nothing: one page of one order per open status, a few times a
 * second, so the wait does not disturb what is measured. It ends at rest or at its deadline; what
 * is not settled then is read as it is, and the judge says so. Every customer is listed, also
 * those whose order was never acknowledged. Inventory hears of a shipment after its order has: the
 * stock is counted until it agrees with the orders, until it is wrong in a way that no shipment can
 * explain, or until a deadline of its own.
 */

import { isSettled } from "./timeline-rules.ts";
import { mayHeal } from "./evidence.ts";
import { verify } from "./verify-orders.ts";
import type { Attempt, Evidence, ObservedOrder, StockObservation } from "./evidence.ts";
import type { ShopClient } from "./shop-client.ts";

export interface CollectOptions {
  /** For the shop to come to rest, from the call. */
  readonly restDeadlineMs: number;
  /** For the stock to agree with the orders, once these are read; absent: as long again. */
  readonly stockDeadlineMs?: number;
  /** Reads at the same time. */
  readonly concurrency: number;
}

const OPEN_STATUSES = ["pending", "ready_to_ship", "shipped"] as const;
const POLL_MS = 200;
/** A customer of a run has one order; more than this many are not needed to prove a second. */
const LIST_LIMIT = 10;

export async function collectEvidence(
  client: ShopClient,
  attempts: readonly Attempt[],
  stock: ReadonlyMap<string, number>,
  options: CollectOptions,
): Promise<Evidence> {
  const dueMs = performance.now() + options.restDeadlineMs;
  await awaitRest(client, dueMs);
  const listedByCustomer = new Map<string, readonly string[]>();
  const orders = new Map<string, ObservedOrder>();
  const timelines: Map<
    string,
    Evidence["timelines"] extends ReadonlyMap<string, infer T> ? T : never
  > = new Map();
  await forEachOf(attempts, options.concurrency, async ({ order: planned, outcome }) => {
    const { customerId } = planned;
    const listed = await client.listOrders({ customerId, limit: LIST_LIMIT });
    listedByCustomer.set(
      customerId,
      listed.map((order) => order.id),
    );
    const promised = outcome.kind === "acknowledged" ? outcome.orderIds : [];
    for (const id of new Set([...promised, ...listed.map((order) => order.id)])) {
      const order = await readSettled(client, id, dueMs);
      if (order === undefined) continue;
      orders.set(id, order);
      timelines.set(id, await client.readTimeline(id));
    }
  });
  const read = { attempts, listedByCustomer, orders, timelines };
  const stockDueMs = performance.now() + (options.stockDeadlineMs ?? options.restDeadlineMs);
  for (;;) {
    const evidence = { ...read, stock: await countStock(client, stock) };
    const isEarly = mayHeal(verify(evidence).violations, ["stock"]);
    if (!isEarly || performance.now() >= stockDueMs) return evidence;
    await Bun.sleep(POLL_MS);
  }
}

/** Until no order is in an open status, or until `dueMs`. */
async function awaitRest(client: ShopClient, dueMs: number): Promise<void> {
  for (const status of OPEN_STATUSES) {
    while (performance.now() < dueMs) {
      const open = await client.listOrders({ status, limit: 1 });
      if (open.length === 0) break;
      await Bun.sleep(POLL_MS);
    }
  }
}

/** A cancelled order may still be waiting for its refund or release. */
async function readSettled(
  client: ShopClient,
  id: string,
  dueMs: number,
): Promise<ObservedOrder | undefined> {
  for (;;) {
    const order = await client.readOrder(id);
    if (order === undefined || isSettled(order) || performance.now() >= dueMs) return order;
    await Bun.sleep(POLL_MS);
  }
}

async function countStock(
  client: ShopClient,
  stock: ReadonlyMap<string, number>,
): Promise<readonly StockObservation[]> {
  const counted: StockObservation[] = [];
  for (const [productId, initial] of stock) {
    counted.push({ productId, initial, ...(await client.readStock(productId)) });
  }
  return counted;
}

/** Runs `work` for every item, `concurrency` at a time; the first failure ends it. */
export async function forEachOf<Item>(
  items: readonly Item[],
  concurrency: number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  let next = 0;
  async function lane(): Promise<void> {
    while (next < items.length) {
      const item = items[next++];
      if (item !== undefined) await work(item);
    }
  }
  await Promise.all(Array.from({ length: concurrency }, lane));
}
