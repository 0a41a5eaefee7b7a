/**
 * The fraud rules as a table: what each looks at, what it weighs, when it fires.
 *
 * An order is first turned into figures, and a rule is a question about them; nothing here reads a
 * clock or a store. The score is the sum of the weights that fired, at most 100. No rule blocks on
 * its own with the default threshold, except a deny list, which does whatever the threshold.
 */

import type { FraudOrder, Place, Verdict } from "./fraud-check.ts";
import type { CardProfile, CustomerProfile, History } from "./fraud-profile.ts";
import type { FraudThresholds, Velocity } from "./thresholds.ts";

import { mailDomain } from "./fraud-check.ts";
import { deviationMinor, historyIn } from "./fraud-profile.ts";
import { checkThresholds } from "./thresholds.ts";

export const SCORE_MAX = 100;

/**
 * Who always pays the same may pay a little more: the standard deviation is taken for no less than
 * this share of the mean.
 */
const DEVIATION_SHARE_MIN = 0.25;

/** The thresholds with their deny lists made quick to ask. */
export interface FraudTerms extends Omit<FraudThresholds, "deny"> {
  readonly deny: Readonly<Record<keyof FraudThresholds["deny"], ReadonlySet<string>>>;
}

/** What the rules ask about. Windows end now and include the order itself. */
export interface Figures {
  readonly order: FraudOrder;
  readonly customerOrders: number;
  /** Orders of this customer that passed before, in any currency. */
  readonly ordersPassed: number;
  /** What the customer paid before in the order's currency. */
  readonly history: History | undefined;
  /** 0 without a card. */
  readonly cardOrders: number;
  readonly cardCustomers: number;
}

export interface FraudRule {
  readonly name: string;
  /** 1..100. */
  readonly weight: number;
  readonly fires: (figures: Figures, terms: FraudTerms) => boolean;
}

/** Heaviest first. */
export const RULES: readonly FraudRule[] = [
  {
    name: "deny_customer",
    weight: SCORE_MAX,
    fires: ({ order }, { deny }) => deny.customers.has(order.customerId),
  },
  {
    name: "deny_card",
    weight: SCORE_MAX,
    fires: ({ order }, { deny }) => order.card !== undefined && deny.cards.has(order.card),
  },
  {
    name: "deny_country",
    weight: SCORE_MAX,
    fires: ({ order: { shipping, billing } }, { deny }) =>
      [shipping, billing].some((place) => place !== undefined && deny.countries.has(place.country)),
  },
  {
    name: "deny_email_domain",
    weight: SCORE_MAX,
    fires: ({ order }, { deny }) => isDomainIn(order.emailDomain, deny.emailDomains),
  },
  {
    name: "card_many_customers",
    weight: 50,
    fires: ({ cardCustomers }, { card }) => cardCustomers > card.customersMax,
  },
  {
    name: "customer_velocity",
    weight: 40,
    fires: ({ customerOrders }, { customer }) => customerOrders > customer.ordersMax,
  },
  {
    name: "card_velocity",
    weight: 40,
    fires: ({ cardOrders }, { card }) => cardOrders > card.ordersMax,
  },
  {
    name: "amount_spike",
    weight: 30,
    fires: ({ order, history }, { spike }) =>
      history !== undefined &&
      history.count >= spike.ordersMin &&
      order.amountMinor >= spike.amountMinor &&
      order.amountMinor > usualMinor(history, spike.sigmas),
  },
  {
    name: "first_order_large",
    weight: 30,
    fires: ({ order, ordersPassed }, { firstOrderMinor }) =>
      ordersPassed === 0 && order.amountMinor >= firstOrderMinor,
  },
  {
    name: "address_country_mismatch",
    weight: 25,
    fires: ({ order }) => mismatch(order, (left, right) => left.country !== right.country),
  },
  {
    name: "basket_bulk",
    weight: 20,
    fires: ({ order }, { bulkQuantity }) => order.quantityMax >= bulkQuantity,
  },
  {
    name: "basket_many_lines",
    weight: 10,
    fires: ({ order }, { manyLines }) => order.lines >= manyLines,
  },
  {
    name: "address_place_mismatch",
    weight: 5,
    fires: ({ order }) =>
      mismatch(
        order,
        (left, right) =>
          left.country === right.country &&
          left.city !== right.city &&
          left.postalCode !== right.postalCode,
      ),
  },
];

/** Throws `InvariantError` on thresholds that do not fit each other. */
export function termsOf(thresholds: FraudThresholds): FraudTerms {
  checkThresholds(thresholds);
  const { customers, cards, countries, emailDomains } = thresholds.deny;
  return {
    ...thresholds,
    deny: {
      customers: new Set(customers),
      cards: new Set(cards),
      countries: new Set(countries.map((country) => country.toUpperCase())),
      emailDomains: new Set(emailDomains.map((domain) => mailDomain(domain))),
    },
  };
}

/** What `order` comes to, given what was known before it. */
export function figuresOf(
  order: FraudOrder,
  before: { readonly customer: CustomerProfile; readonly card: CardProfile | undefined },
  terms: FraudTerms,
  nowMs: number,
): Figures {
  const { customer, card } = before;
  const isWithin = (atMs: number, { windowMs }: Velocity) => atMs > nowMs - windowMs;
  const uses = card?.recent.filter(({ atMs }) => isWithin(atMs, terms.card)) ?? [];
  const cardCustomers = new Set(uses.map(({ customerId }) => customerId)).add(order.customerId);
  const earlier = customer.recentMs.filter((atMs) => isWithin(atMs, terms.customer));
  return {
    order,
    customerOrders: earlier.length + 1,
    ordersPassed: customer.histories.reduce((sum, { count }) => sum + count, 0),
    history: historyIn(customer, order.currency),
    cardOrders: card === undefined ? 0 : uses.length + 1,
    cardCustomers: card === undefined ? 0 : cardCustomers.size,
  };
}

/** The verdict of the whole table. */
export function judge(figures: Figures, terms: FraudTerms): Verdict {
  const fired = RULES.filter((rule) => rule.fires(figures, terms));
  const sum = fired.reduce((total, rule) => total + rule.weight, 0);
  const score = Math.min(SCORE_MAX, sum);
  return {
    decision: score >= terms.blockScore ? "block" : "pass",
    score,
    rules: fired.map((rule) => rule.name),
  };
}

function usualMinor(history: History, sigmas: number): number {
  const { meanMinor } = history;
  return meanMinor + sigmas * Math.max(deviationMinor(history), DEVIATION_SHARE_MIN * meanMinor);
}

function isDomainIn(domain: string | undefined, denied: ReadonlySet<string>): boolean {
  if (domain === undefined || denied.size === 0) return false;
  const labels = domain.split(".");
  return labels.some((_, at) => denied.has(labels.slice(at).join(".")));
}

/** Whether both addresses are known and `differ`. */
function mismatch(
  { shipping, billing }: FraudOrder,
  differ: (left: Place, right: Place) => boolean,
): boolean {
  return shipping !== undefined && billing !== undefined && differ(shipping, billing);
}
