/**
 * What others say of the shop's orders in events that only the shop decides.
 *
 * A foreign producer may report what it knows, such as a payment. That an order was created, is
 * ready, has left or was cancelled is decided here and is in the store before any message tells of
 * it: such an event of somebody else is at best a copy. So it is acknowledged without effect when
 * the store agrees, and refused when it does not: no money is captured, no stock held and nobody
 * written to on the word of a stranger. Only frames that are marked as foreign cost a look.
 */

import type { OrderStatus } from "../contracts/order-state.ts";
import type { ShopEvent } from "../contracts/messages.ts";
import type { HandleBatch, HandleOne, Message, Outcome } from "../delivery/outcome.ts";
import type { Store } from "../stores/unit-of-work.ts";
import type { OrderDecided } from "./order.ts";

import { ShopError } from "../../runtime/errors.ts";
import { FLAG_JSON } from "../../runtime/frames/frame-header.ts";
import { ORDER_STATUSES } from "../contracts/order-state.ts";
import { ACK } from "../delivery/outcome.ts";
import { decodeOrder } from "./order-unit.ts";

/** Where an order may be once the event has happened to it. */
const AFTERWARDS: Readonly<Record<OrderDecided["type"], readonly OrderStatus[]>> = {
  "order.created": ORDER_STATUSES,
  "order.ready_to_ship": ["ready_to_ship", "shipped", "delivered", "cancelled"],
  "order.shipped": ["shipped", "delivered"],
  "order.delivered": ["delivered"],
  "order.cancelled": ["cancelled"],
};

/** What becomes of a foreign `type` about an order that is `status`; `undefined`: there is none. */
export function judgeForeign(
  type: OrderDecided["type"],
  orderId: string,
  status: OrderStatus | undefined,
): Outcome {
  if (status === undefined) {
    const text = `a foreign ${type} of order ${orderId}, which the shop has not taken`;
    const error = new ShopError("BAD_MESSAGE", text, "never");
    return { kind: "bury", reason: "unknown_order", error };
  }
  if (AFTERWARDS[type].includes(status)) return ACK;
  const text = `a foreign ${type} of order ${orderId}, which is ${status}`;
  const error = new ShopError("BAD_MESSAGE", text, "never");
  return { kind: "bury", reason: "contradicts_order", error };
}

/** In front of a service that acts on what orders decide. Rejects as the store does. */
export function checkForeignOrders(store: Pick<Store, "load">) {
  /** `undefined`: it is for the service. */
  async function judge({ frame, body }: Message<ShopEvent>): Promise<Outcome | undefined> {
    if (!isForeign(frame) || !isDecision(body)) return undefined;
    const [row] = await store.load("orders", [body.orderId]);
    const status = row === undefined ? undefined : decodeOrder(row.data).status;
    return judgeForeign(body.type, body.orderId, status);
  }

  function one(handle: HandleOne<ShopEvent>): HandleOne<ShopEvent> {
    async function judged(message: Message<ShopEvent>, signal: AbortSignal): Promise<Outcome> {
      return (await judge(message)) ?? (await handle(message, signal));
    }
    return (message, signal) => {
      return isForeign(message.frame) ? judged(message, signal) : handle(message, signal);
    };
  }

  function many(handle: HandleBatch<ShopEvent>): HandleBatch<ShopEvent> {
    async function judgedFirst(
      messages: readonly Message<ShopEvent>[],
      signal: AbortSignal,
    ): Promise<readonly Outcome[]> {
      const judged = await Promise.all(messages.map(judge));
      const rest = messages.filter((_, at) => judged[at] === undefined);
      const handled = rest.length === 0 ? [] : [...(await handle(rest, signal))];
      // In the same order: what was not judged was handled.
      return judged.map((outcome) => outcome ?? handled.shift() ?? ACK);
    }
    return (messages, signal) => {
      const areForeign = messages.some(({ frame }) => isForeign(frame));
      return areForeign ? judgedFirst(messages, signal) : handle(messages, signal);
    };
  }

  return { one, many };
}

function isForeign({ flags }: Message<ShopEvent>["frame"]): boolean {
  return (flags & FLAG_JSON) !== 0;
}

function isDecision(event: ShopEvent): event is OrderDecided {
  return Object.hasOwn(AFTERWARDS, event.type);
}
