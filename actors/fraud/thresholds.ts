/**
 * When the rules of the fraud check fire, and how its work is batched and bounded: plain values.
 *
 * The defaults leave ordinary traffic alone. Refuses numbers that do not fit each other, such as a
 * velocity that the profile could not count up to.
 */

import { assert } from "../../runtime/errors.ts";

/** More than `ordersMax` orders within the last `windowMs` is too fast. */
export interface Velocity {
  readonly windowMs: number;
  readonly ordersMax: number;
}

/** Amounts are in minor units of the order's own currency. */
export interface FraudThresholds {
  /** Blocked from this score on; 1..100. */
  readonly blockScore: number;
  readonly customer: Velocity;
  readonly card: Velocity & {
    /** Customers who may use one card within its window. */
    readonly customersMax: number;
  };
  /** An amount above mean + `sigmas` standard deviations of what the customer paid before. */
  readonly spike: {
    readonly ordersMin: number;
    readonly amountMinor: number;
    readonly sigmas: number;
  };
  /** A first order of this amount or more. */
  readonly firstOrderMinor: number;
  /** Pieces of one product from which an order is a bulk order. */
  readonly bulkQuantity: number;
  readonly manyLines: number;
  /** Who and what is never served. */
  readonly deny: {
    readonly customers: readonly string[];
    /** Fingerprints. */
    readonly cards: readonly string[];
    /** ISO 3166-1 alpha-2, of either address. */
    readonly countries: readonly string[];
    /** Subdomains are meant as well. */
    readonly emailDomains: readonly string[];
  };
}

export const FRAUD_THRESHOLDS: FraudThresholds = {
  blockScore: 80,
  customer: { windowMs: 10 * 60_000, ordersMax: 200 },
  card: { windowMs: 60 * 60_000, ordersMax: 100, customersMax: 5 },
  spike: { ordersMin: 5, amountMinor: 100_000, sigmas: 6 },
  firstOrderMinor: 1_000_000,
  bulkQuantity: 1_000,
  manyLines: 50,
  deny: { customers: [], cards: [], countries: [], emailDomains: [] },
};

export interface FraudSettings {
  /** From the question to `CHECK_UNAVAILABLE`, waiting included. */
  readonly timeoutMs: number;
  /** Orders are gathered for so long before they are taken; a full batch is taken at once. */
  readonly gatherMs: number;
  readonly batchMax: number;
  /** Orders under check at one time; above: `CHECK_UNAVAILABLE`. */
  readonly waitingMax: number;
  /** Times one batch is decided before it is given back. */
  readonly decisionsMax: number;
  /** Longest wait between two of them; the wait doubles from 1 ms, of which a random share. */
  readonly backoffMsMax: number;
}

export const FRAUD_SETTINGS: FraudSettings = {
  timeoutMs: 2_000,
  gatherMs: 20,
  batchMax: 128,
  waitingMax: 8_192,
  decisionsMax: 12,
  backoffMsMax: 50,
};

/** Orders one profile remembers, and so the most that a velocity can count up to. */
export const RECENT_MAX = 512;

/** Throws `InvariantError` unless the numbers fit each other. */
export function checkThresholds(thresholds: FraudThresholds): void {
  const { blockScore, customer, card } = thresholds;
  assert(blockScore >= 1 && blockScore <= 100, "blockScore must be within 1..100");
  for (const { windowMs, ordersMax } of [customer, card]) {
    assert(windowMs > 0, "windowMs must be positive");
    assert(
      ordersMax >= 1 && ordersMax < RECENT_MAX,
      `ordersMax must be within 1..${RECENT_MAX - 1}`,
    );
  }
  assert(card.customersMax >= 1, "customersMax must be at least 1");
}
