/**
 * Payments that came before their orders: what they have of their order is counted once it is
 * there.
 *
 * With several members, each with its own partitions, a payment may be stored before the order it
 * is of, above all while a view catches up. Its own amount counts at once; segment, size and
 * products are claimed for themselves later, or as `unknown` when the order has not come in time.
 * Whoever claims first decides which, for everybody.
 */

import type { EventFacts } from "./event-facts.ts";
import type { ClaimDocument, MongoCollections, WaitingDocument } from "./mongo-collections.ts";
import type { MongoSettings } from "./mongo-settings.ts";
import type { OrderBook } from "./order-book.ts";
import type { PieceStore } from "./piece-store.ts";

import { factsIn, orderFields, orderIn } from "./event-document.ts";
import { insertNew } from "./mongo-collections.ts";
import { dayOfPiece, JOIN_NUMBER } from "./piece-store.ts";

/** Payments that one call looks at. */
const PAYMENTS_MAX = 1_000;

export interface LateOrderDeps {
  readonly collections: MongoCollections;
  readonly pieces: PieceStore;
  readonly book: OrderBook;
  readonly settings: Pick<MongoSettings, "orderWaitMs">;
}

/** Remembers the payments among `facts` that have no order yet; before they are stored. */
export async function awaitOrders(
  collections: MongoCollections,
  facts: readonly EventFacts[],
  nowMs: number,
): Promise<void> {
  const waiting = facts
    .filter((one) => one.shape === "order" && one.part === "own")
    .map<WaitingDocument>(({ id, day }) => ({ _id: id, day, at: new Date(nowMs) }));
  await insertNew(collections.waiting, waiting);
}

/** Counts what can be counted by now. Resolves with how many payments wait no more. */
export async function joinOrders(deps: LateOrderDeps, nowMs: number): Promise<number> {
  const { collections, settings } = deps;
  const waiting = await collections.waiting.find({}).limit(PAYMENTS_MAX).toArray();
  const done: string[] = [];
  for (const [day, ofDay] of Map.groupBy(waiting, (one) => one.day)) {
    const late = new Set(
      ofDay.filter(({ at }) => nowMs - at.getTime() > settings.orderWaitMs).map(({ _id }) => _id),
    );
    done.push(...(await joinDay(deps, day, ofDay, late)));
  }
  if (done.length > 0) await collections.waiting.deleteMany({ _id: { $in: done } });
  return done.length;
}

async function joinDay(
  { collections, pieces, book }: LateOrderDeps,
  day: number,
  waiting: readonly WaitingDocument[],
  late: ReadonlySet<string>,
): Promise<readonly string[]> {
  const ids = waiting.map(({ _id }) => _id);
  const events = await collections
    .events(day)
    .find({ _id: { $in: ids } })
    .toArray();
  const stored = new Set(events.map(({ _id }) => _id));
  // It was never stored, or known to have an order when it was.
  const done = ids.filter((id) => !stored.has(id) && late.has(id));
  const orders = await book.find(events.map(({ orderId = "" }) => orderId));
  for (const event of events) {
    const { _id: id, piece, orderId = "", awaitsOrder = false } = event;
    const order = orders.get(orderId);
    if (awaitsOrder && order === undefined && !late.has(id)) continue;
    done.push(id);
    if (!awaitsOrder) continue;
    const found = order === undefined ? null : orderFields(order);
    const { _id: claim, order: claimed } = await claimJoin(collections, piece, id, found);
    if ((await pieces.knownAmong(day, [claim])).size > 0) continue;
    const facts = factsIn(event);
    if (facts.shape !== "order") continue;
    const known = claimed ? { order: orderIn(claimed) } : {};
    await pieces.makeKnown(claim, [{ ...facts, ...known, part: "order" }]);
  }
  return done;
}

/** The claim for the order's part of the payment `id`: this one, or the one that came first. */
async function claimJoin(
  collections: MongoCollections,
  piece: string,
  id: string,
  order: NonNullable<ClaimDocument["order"]> | null,
): Promise<ClaimDocument> {
  const claims = collections.claims(dayOfPiece(piece));
  const key = { _id: `${piece}/join-${id}` };
  const claim = { ...key, piece, number: JOIN_NUMBER, ids: [id], order };
  const taken = await insertNew(claims, [claim]);
  return (taken.size > 0 && (await claims.findOne(key))) || claim;
}
