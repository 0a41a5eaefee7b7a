/**
 * Which events analytics counts, wherever it keeps what it counted.
 *
 * Events of the shop that it has no figure for are none of these. It refuses a batch of behaviour
 * whose columns do not fit each other, as one that cannot be read.
 */

import type { EventOf, ShopEvent } from "../contracts/messages.ts";
import type { CountedOrderEvent } from "./order-facts.ts";

import { isShopError } from "../../runtime/errors.ts";
import { checkColumns } from "./behavior-columns.ts";

export type CountedEvent = CountedOrderEvent | EventOf<"user.behavior">;

/** `event`, if it is counted. */
export function countedOf(event: ShopEvent): CountedEvent | undefined {
  switch (event.type) {
    case "user.behavior":
      return fitsItself(event) ? event : undefined;
    case "order.created":
    case "payment.processed":
    case "inventory.reserved":
    case "order.shipped":
      return event;
    default:
      return undefined;
  }
}

function fitsItself(batch: EventOf<"user.behavior">): boolean {
  try {
    checkColumns(batch);
    return true;
  } catch (error) {
    if (isShopError(error, "BAD_MESSAGE")) return false;
    throw error;
  }
}
