/**
 * The settings of the fraud check: when it fires, whom it never serves, how long it may take.
 *
 * The defaults are those of `actors/fraud/thresholds.ts` and leave ordinary traffic alone. Refuses
 * what the profiles could not count, and lists without an end.
 */

import { Type } from "@sinclair/typebox";

import { FRAUD_SETTINGS, FRAUD_THRESHOLDS, RECENT_MAX } from "../../actors/fraud/thresholds.ts";
import { DAY_MS, group, integer, MINUTE_MS, oneOf, SECOND_MS } from "./setting-types.ts";
import { FraudStateSetting } from "./systems-settings.ts";

const AMOUNT_MAX = 100_000_000_000;
const DENIED_MAX = 1_000;

const { customer, card, spike } = FRAUD_THRESHOLDS;

/** `fraud`: seven days of memory at most, so that a profile stays small. */
export const FraudConfig = group({
  mode: oneOf(
    ["block", "off"],
    "block",
    "block: check before each capture; off: capture unchecked",
  ),
  state: FraudStateSetting,
  timeoutMs: integer(10, MINUTE_MS, FRAUD_SETTINGS.timeoutMs, "wait for a verdict; above: held"),
  gatherMs: integer(0, SECOND_MS, FRAUD_SETTINGS.gatherMs, "orders are gathered for so long"),
  blockScore: integer(1, 100, FRAUD_THRESHOLDS.blockScore, "score from which an order is blocked"),
  customer: velocity("one customer", customer),
  card: group({
    ...velocitySettings("one card", card),
    customersMax: integer(1, 100, card.customersMax, "customers who may share one card"),
  }),
  spike: group({
    ordersMin: integer(2, 1_000, spike.ordersMin, "orders before a customer's amounts are known"),
    amountMinor: integer(0, AMOUNT_MAX, spike.amountMinor, "smaller amounts are never a spike"),
    sigmas: integer(1, 100, spike.sigmas, "standard deviations above the customer's mean"),
  }),
  firstOrderMinor: integer(
    0,
    AMOUNT_MAX,
    FRAUD_THRESHOLDS.firstOrderMinor,
    "a first order is large from this amount on, in minor units",
  ),
  bulkQuantity: integer(
    2,
    1_000_000,
    FRAUD_THRESHOLDS.bulkQuantity,
    "pieces of one product from which an order is bulk",
  ),
  manyLines: integer(2, 1_000, FRAUD_THRESHOLDS.manyLines, "lines from which a basket is long"),
  deny: group({
    customers: denied(1, 128, "customer ids that are never served"),
    cards: denied(1, 128, "card fingerprints that are never charged"),
    countries: denied(
      2,
      2,
      "countries of either address that are never served (ISO 3166-1 alpha-2)",
    ),
    emailDomains: denied(1, 253, "mail domains that are never served, with their subdomains"),
  }),
});

function velocity(whose: string, initial: { windowMs: number; ordersMax: number }) {
  return group(velocitySettings(whose, initial));
}

function velocitySettings(
  whose: string,
  { windowMs, ordersMax }: { readonly windowMs: number; readonly ordersMax: number },
) {
  return {
    windowMs: integer(SECOND_MS, 7 * DAY_MS, windowMs, `sliding window over orders of ${whose}`),
    ordersMax: integer(1, RECENT_MAX - 1, ordersMax, `orders of ${whose} within the window`),
  };
}

function denied(lengthMin: number, lengthMax: number, description: string) {
  return Type.Array(Type.String({ minLength: lengthMin, maxLength: lengthMax }), {
    maxItems: DENIED_MAX,
    uniqueItems: true,
    default: [],
    description,
  });
}
