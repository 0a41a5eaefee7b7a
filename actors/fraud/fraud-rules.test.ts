/**
 * The rule table: what each rule fires on and just does not, and what the sums come to.
 */

import { describe, expect, test } from "bun:test";

import type { FraudOrder } from "./fraud-check.ts";
import type { CardProfile, CustomerProfile } from "./fraud-profile.ts";
import type { FraudThresholds } from "./thresholds.ts";

import { InvariantError } from "../../runtime/errors.ts";
import { fraudOrder, HOME } from "./fraud-order.suite.ts";
import { NEW_CARD, NEW_CUSTOMER } from "./fraud-profile.ts";
import { figuresOf, judge, RULES, termsOf } from "./fraud-rules.ts";
import { FRAUD_THRESHOLDS, RECENT_MAX } from "./thresholds.ts";

const NOW_MS = 1_700_000_000_000;
const { customer, card, spike, firstOrderMinor, bulkQuantity, manyLines } = FRAUD_THRESHOLDS;

interface Before {
  readonly customer?: CustomerProfile;
  readonly card?: CardProfile;
}

function verdictOn(
  changes: Partial<FraudOrder>,
  before: Before = {},
  thresholds: FraudThresholds = FRAUD_THRESHOLDS,
) {
  const terms = termsOf(thresholds);
  const order = fraudOrder(changes);
  const cardBefore = order.card === undefined ? undefined : (before.card ?? NEW_CARD);
  const profiles = { customer: before.customer ?? NEW_CUSTOMER, card: cardBefore };
  return judge(figuresOf(order, profiles, terms, NOW_MS), terms);
}

function denying(deny: Partial<FraudThresholds["deny"]>): FraudThresholds {
  return { ...FRAUD_THRESHOLDS, deny: { ...FRAUD_THRESHOLDS.deny, ...deny } };
}

/** A customer who was seen `times` times just now. */
function seen(times: number, atMs = NOW_MS): CustomerProfile {
  return { recentMs: Array.from({ length: times }, () => atMs), histories: [] };
}

/** A customer who paid `count` times `meanMinor`, give or take nothing. */
function paid(count: number, meanMinor: number): CustomerProfile {
  return { recentMs: [], histories: [{ currency: "USD", count, meanMinor, squares: 0 }] };
}

function used(times: number, customers: number, atMs = NOW_MS): CardProfile {
  const recent = Array.from({ length: times }, (_, at) => ({
    atMs,
    customerId: `c${at % customers}`,
  }));
  return { recent };
}

const denied = { customers: ["eve"], cards: ["fp9"], countries: ["xx"], emailDomains: ["Spam.io"] };
const ABROAD = { ...HOME, country: "FR" };
const OUT_OF_TOWN = { ...HOME, city: "bonn", postalCode: "53111" };
const nextDoor = { ...HOME, postalCode: "10117" };
const windowMs = { customer: NOW_MS - customer.windowMs, card: NOW_MS - card.windowMs };

type Case = readonly [
  rule: string,
  fires: boolean,
  what: string,
  order: Partial<FraudOrder>,
  before?: Before,
];
const CASES: readonly Case[] = [
  ["deny_customer", true, "a denied customer", { customerId: "eve" }],
  ["deny_customer", false, "another customer", { customerId: "Eve" }],
  ["deny_card", true, "a denied card", { card: "fp9" }],
  ["deny_card", false, "another card", { card: "fp8" }],
  ["deny_country", true, "a denied country to ship to", { shipping: { ...HOME, country: "XX" } }],
  ["deny_country", true, "a denied country to bill", { billing: { ...HOME, country: "XX" } }],
  ["deny_country", false, "other countries", { shipping: HOME, billing: HOME }],
  ["deny_email_domain", true, "a denied domain", { emailDomain: "spam.io" }],
  ["deny_email_domain", true, "a domain under it", { emailDomain: "mail.spam.io" }],
  ["deny_email_domain", false, "one that only ends alike", { emailDomain: "notspam.io" }],
  ["deny_email_domain", false, "the one above it", { emailDomain: "io" }],
  [
    "customer_velocity",
    true,
    "one order too many in the window",
    {},
    { customer: seen(customer.ordersMax) },
  ],
  [
    "customer_velocity",
    false,
    "as many as are allowed",
    {},
    { customer: seen(customer.ordersMax - 1) },
  ],
  [
    "customer_velocity",
    false,
    "orders that have left the window",
    {},
    { customer: seen(customer.ordersMax, windowMs.customer) },
  ],
  [
    "customer_velocity",
    true,
    "orders that are about to leave it",
    {},
    { customer: seen(customer.ordersMax, windowMs.customer + 1) },
  ],
  [
    "card_velocity",
    true,
    "a card used too often",
    { card: "f" },
    { card: used(card.ordersMax, 1) },
  ],
  [
    "card_velocity",
    false,
    "a card used as often as is allowed",
    { card: "f" },
    { card: used(card.ordersMax - 1, 1) },
  ],
  [
    "card_velocity",
    false,
    "uses that have left the window",
    { card: "f" },
    { card: used(card.ordersMax, 1, windowMs.card) },
  ],
  [
    "card_many_customers",
    true,
    "one customer too many on a card",
    { card: "f" },
    { card: used(card.customersMax, card.customersMax) },
  ],
  [
    "card_many_customers",
    false,
    "one of the customers it has already",
    { card: "f", customerId: "c0" },
    { card: used(card.customersMax, card.customersMax) },
  ],
  [
    "amount_spike",
    true,
    "far more than the customer ever paid",
    { amountMinor: 500_000 },
    { customer: paid(spike.ordersMin, 10_000) },
  ],
  [
    "amount_spike",
    false,
    "too little history",
    { amountMinor: 500_000 },
    { customer: paid(spike.ordersMin - 1, 10_000) },
  ],
  [
    "amount_spike",
    false,
    "history in another currency",
    { amountMinor: 500_000, currency: "EUR" },
    { customer: paid(spike.ordersMin, 10_000) },
  ],
  [
    "amount_spike",
    false,
    "an amount too small to matter",
    { amountMinor: spike.amountMinor - 1 },
    { customer: paid(spike.ordersMin, 100) },
  ],
  [
    "amount_spike",
    false,
    "a little more than the same as ever",
    { amountMinor: 240_000 },
    { customer: paid(50, 100_000) },
  ],
  ["first_order_large", true, "a large first order", { amountMinor: firstOrderMinor }],
  ["first_order_large", false, "a smaller one", { amountMinor: firstOrderMinor - 1 }],
  [
    "first_order_large",
    false,
    "a large second order",
    { amountMinor: firstOrderMinor },
    { customer: paid(1, firstOrderMinor) },
  ],
  ["basket_bulk", true, "very many of one product", { quantityMax: bulkQuantity }],
  ["basket_bulk", false, "fewer", { quantityMax: bulkQuantity - 1 }],
  ["basket_many_lines", true, "a long basket", { lines: manyLines }],
  ["basket_many_lines", false, "a shorter one", { lines: manyLines - 1 }],
  ["address_country_mismatch", true, "another country", { shipping: HOME, billing: ABROAD }],
  ["address_country_mismatch", false, "the same country", { shipping: HOME, billing: OUT_OF_TOWN }],
  ["address_country_mismatch", false, "one address alone", { shipping: HOME }],
  ["address_place_mismatch", true, "another town", { shipping: HOME, billing: OUT_OF_TOWN }],
  ["address_place_mismatch", false, "the same town", { shipping: HOME, billing: nextDoor }],
  ["address_place_mismatch", false, "another country", { shipping: HOME, billing: ABROAD }],
];

describe("a rule", () => {
  for (const [rule, fires, what, order, before] of CASES) {
    test(`${rule} ${fires ? "fires on" : "lets pass"} ${what}`, () => {
      const { rules } = verdictOn(order, before, denying(denied));
      expect(rules.includes(rule)).toBe(fires);
    });
  }
  test("of every name has a case in which it fires and one in which it does not", () => {
    for (const fires of [true, false]) {
      const covered = new Set(CASES.filter((each) => each[1] === fires).map(([rule]) => rule));
      expect([...covered].sort()).toEqual(RULES.map(({ name }) => name).sort());
    }
  });
});

describe("a verdict", () => {
  test("on an ordinary order is a pass without a rule", () => {
    expect(verdictOn({})).toEqual({ decision: "pass", score: 0, rules: [] });
  });
  test("is a block by any deny list alone, whatever the threshold", () => {
    const strict = { ...denying(denied), blockScore: 100 };
    expect(verdictOn({ customerId: "eve" }, {}, strict)).toEqual({
      decision: "block",
      score: 100,
      rules: ["deny_customer"],
    });
  });
  test("is never a block by one other rule alone", () => {
    const others = RULES.filter(({ name }) => !name.startsWith("deny_"));
    for (const { weight } of others) expect(weight).toBeLessThan(FRAUD_THRESHOLDS.blockScore);
  });
  test("adds up what fired, heaviest first, and blocks from the threshold on", () => {
    const order = { amountMinor: firstOrderMinor, quantityMax: bulkQuantity, lines: manyLines };
    const passed = verdictOn(order);
    expect(passed).toEqual({
      decision: "pass",
      score: 60,
      rules: ["first_order_large", "basket_bulk", "basket_many_lines"],
    });
    const at = { ...FRAUD_THRESHOLDS, blockScore: 60 };
    expect(verdictOn(order, {}, at)).toEqual({ ...passed, decision: "block" });
    expect(verdictOn(order, {}, { ...at, blockScore: 61 })).toEqual(passed);
  });
  test("scores 100 at most", () => {
    const order = { customerId: "eve", card: "fp9", emailDomain: "spam.io" };
    expect(verdictOn(order, {}, denying(denied)).score).toBe(100);
  });
  test("can carry every rule in the event that reports it", () => {
    expect(RULES.length).toBeLessThanOrEqual(32);
    expect(RULES.map(({ weight }) => weight)).toEqual(
      RULES.map(({ weight }) => weight).sort((left, right) => right - left),
    );
  });
});

test("thresholds that do not fit each other are refused", () => {
  const bad: readonly Partial<FraudThresholds>[] = [
    { blockScore: 0 },
    { blockScore: 101 },
    { customer: { windowMs: 0, ordersMax: 5 } },
    { customer: { windowMs: 1_000, ordersMax: RECENT_MAX } },
    { card: { windowMs: 1_000, ordersMax: 5, customersMax: 0 } },
  ];
  for (const change of bad) {
    expect(() => termsOf({ ...FRAUD_THRESHOLDS, ...change })).toThrow(InvariantError);
  }
});
