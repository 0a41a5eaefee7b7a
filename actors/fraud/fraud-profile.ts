/**
 * What the fraud check remembers of a customer and of a card, and how it is kept in a row.
 *
 * Times of recent orders, no older than the window they are counted in and no more than
 * `RECENT_MAX`; and, for a customer, count, mean and spread of what was paid per currency (Welford,
 * 1962). Blocked orders are counted among the recent ones but teach no amount. Refuses to grow: the
 * oldest order and the currency longest unused are forgotten first.
 */

import type { Velocity } from "./thresholds.ts";

import { decodeValue, encodeValue } from "../contracts/codec.ts";
import { RECENT_MAX } from "./thresholds.ts";

/** Amounts of the orders that passed, in one currency. */
export interface History {
  readonly currency: string;
  readonly count: number;
  readonly meanMinor: number;
  /** Sum of the squared distances from the mean. */
  readonly squares: number;
}

export interface CustomerProfile {
  /** When the recent orders were checked, oldest first. */
  readonly recentMs: readonly number[];
  /** Last used last. */
  readonly histories: readonly History[];
}

export interface CardProfile {
  /** Oldest first. */
  readonly recent: readonly { readonly atMs: number; readonly customerId: string }[];
}

export const NEW_CUSTOMER: CustomerProfile = { recentMs: [], histories: [] };
export const NEW_CARD: CardProfile = { recent: [] };

const CURRENCIES_MAX = 8;

export function customerKeyOf(customerId: string): string {
  return `customer:${customerId}`;
}

export function cardKeyOf(fingerprint: string): string {
  return `card:${fingerprint}`;
}

/** The profile with one more order in its window, which ends now. */
export function rememberOrder(
  profile: CustomerProfile,
  nowMs: number,
  { windowMs }: Velocity,
): CustomerProfile {
  const kept = profile.recentMs.filter((atMs) => atMs > nowMs - windowMs);
  return { ...profile, recentMs: [...kept, nowMs].slice(-RECENT_MAX) };
}

/** The profile with one more order by `customerId` in its window, which ends now. */
export function rememberCardUse(
  profile: CardProfile,
  customerId: string,
  nowMs: number,
  { windowMs }: Velocity,
): CardProfile {
  const kept = profile.recent.filter(({ atMs }) => atMs > nowMs - windowMs);
  return { recent: [...kept, { atMs: nowMs, customerId }].slice(-RECENT_MAX) };
}

/** The profile that has learned one more amount. */
export function learnAmount(
  profile: CustomerProfile,
  amountMinor: number,
  currency: string,
): CustomerProfile {
  const known = historyIn(profile, currency) ?? { currency, count: 0, meanMinor: 0, squares: 0 };
  const others = profile.histories.filter((history) => history !== known);
  const count = known.count + 1;
  const fromOldMean = amountMinor - known.meanMinor;
  const meanMinor = known.meanMinor + fromOldMean / count;
  const squares = known.squares + fromOldMean * (amountMinor - meanMinor);
  const learned = { currency, count, meanMinor, squares };
  return { ...profile, histories: [...others, learned].slice(-CURRENCIES_MAX) };
}

export function historyIn(profile: CustomerProfile, currency: string): History | undefined {
  return profile.histories.find((history) => history.currency === currency);
}

/** Standard deviation of the amounts, in minor units. */
export function deviationMinor({ count, squares }: History): number {
  return Math.sqrt(squares / count);
}

/** Rows are short: a time is kept as its distance from the newest, a customer by number. */
type CustomerRow = readonly [
  newestMs: number,
  agesMs: readonly number[],
  histories: readonly (readonly [string, number, number, number])[],
];
type CardRow = readonly [
  newestMs: number,
  agesMs: readonly number[],
  customers: readonly string[],
  customerOfUse: readonly number[],
];

export function encodeCustomer({ recentMs, histories }: CustomerProfile): Uint8Array {
  const newestMs = Math.max(0, ...recentMs);
  const agesMs = recentMs.map((atMs) => newestMs - atMs);
  const row: CustomerRow = [
    newestMs,
    agesMs,
    histories.map(({ currency, count, meanMinor, squares }) => [
      currency,
      count,
      meanMinor,
      squares,
    ]),
  ];
  return encodeValue(row);
}

export function decodeCustomer(data: Uint8Array): CustomerProfile {
  // Only `encodeCustomer` writes rows under `customer:`, and the store keeps what it was given.
  const [newestMs, agesMs, histories] = decodeValue(data) as CustomerRow;
  return {
    recentMs: agesMs.map((ageMs) => newestMs - ageMs),
    histories: histories.map(([currency, count, meanMinor, squares]) => ({
      currency,
      count,
      meanMinor,
      squares,
    })),
  };
}

export function encodeCard({ recent }: CardProfile): Uint8Array {
  const newestMs = Math.max(0, ...recent.map(({ atMs }) => atMs));
  const numbers = new Map<string, number>();
  const customerOfUse = recent.map(({ customerId }) => {
    const number = numbers.get(customerId) ?? numbers.size;
    numbers.set(customerId, number);
    return number;
  });
  const agesMs = recent.map(({ atMs }) => newestMs - atMs);
  const row: CardRow = [newestMs, agesMs, [...numbers.keys()], customerOfUse];
  return encodeValue(row);
}

export function decodeCard(data: Uint8Array): CardProfile {
  // Only `encodeCard` writes rows under `card:`, and the store keeps what it was given.
  const [newestMs, agesMs, customers, customerOfUse] = decodeValue(data) as CardRow;
  return {
    recent: agesMs.map((ageMs, at) => ({
      atMs: newestMs - ageMs,
      customerId: customers[customerOfUse[at] ?? 0] ?? "",
    })),
  };
}
