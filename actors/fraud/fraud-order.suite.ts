/**
 * For tests: orders as the fraud check sees them, ordinary unless changed.
 *
 * Nothing here decides anything.
 */

import type { FraudOrder } from "./fraud-check.ts";

export const HOME = { country: "DE", city: "berlin", postalCode: "10115" };

export function fraudOrder(changes: Partial<FraudOrder> = {}): FraudOrder {
  return {
    orderId: "o1",
    customerId: "ada",
    amountMinor: 2_000,
    currency: "USD",
    lines: 2,
    quantityMax: 3,
    ...changes,
  };
}
