/**
 * From the body of `POST /v1/orders` to the command that a shard takes.
 *
 * Turns decimal amounts into minor units exactly and adds them up. Refuses an amount with more
 * than two places and a total beyond the largest amount.
 */

import type { Static } from "@sinclair/typebox";

import type { CommandOf, OrderItem } from "../../actors/contracts/messages.ts";
import { AMOUNT_MINOR_MAX, toDecimal, toMinor } from "../../actors/contracts/money.ts";
import type { NewOrderSchema } from "./api-schemas.ts";
import { CURRENCY_DEFAULT } from "./api-schemas.ts";
import { fingerprint } from "./idempotency.ts";
import type { Problem, ProblemPart } from "./problem.ts";
import { invalidRequest } from "./schema-check.ts";

const CURRENCIES: ReadonlySet<string> = new Set(Intl.supportedValuesOf("currency"));

export type NewOrder = Static<typeof NewOrderSchema>;

/** The command for `order`, which fits its schema. `idempotencyKey` is the caller's, if any. */
export function createOrderCommand(
  order: NewOrder,
  orderId: string,
  idempotencyKey: string | undefined,
): CommandOf<"order.create"> | Problem {
  const items: OrderItem[] = [];
  const errors: ProblemPart[] = [];
  let totalMinor = 0;
  for (const [index, { productId, quantity, price }] of order.items.entries()) {
    const priceMinor = toMinor(price);
    if (priceMinor === undefined) {
      const pointer = `#/items/${index}/price`;
      errors.push({ pointer, detail: "must be an amount with at most two decimal places" });
      continue;
    }
    // Adding 0 turns -0 into 0. A sum that leaves the safe integers is over the maximum anyway.
    items.push({ productId, quantity, priceMinor: priceMinor + 0 });
    totalMinor += quantity * priceMinor;
  }
  const currency = order.currency ?? CURRENCY_DEFAULT;
  if (!CURRENCIES.has(currency)) {
    errors.push({ pointer: "#/currency", detail: `${currency} is not an ISO 4217 currency` });
  }
  if (errors.length > 0) return invalidRequest(errors);
  if (totalMinor > AMOUNT_MINOR_MAX) {
    const detail = `the total must not be over ${toDecimal(AMOUNT_MINOR_MAX)}`;
    return invalidRequest([{ pointer: "#/items", detail }]);
  }
  return {
    type: "order.create",
    orderId,
    customerId: order.customerId,
    items,
    totalMinor: totalMinor + 0,
    currency,
    ...(order.shippingAddress === undefined ? {} : { shippingAddress: order.shippingAddress }),
    ...(order.billingAddress === undefined ? {} : { billingAddress: order.billingAddress }),
    ...(order.paymentMethod === undefined ? {} : { paymentMethod: order.paymentMethod }),
    ...(order.contact === undefined ? {} : { contact: order.contact }),
    ...(idempotencyKey === undefined
      ? {}
      : { idempotency: { key: idempotencyKey, fingerprint: fingerprint(order) } }),
  };
}
