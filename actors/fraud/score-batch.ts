/**
 * Scores a batch of orders against their profiles: bytes of rows in, verdicts and new bytes out.
 *
 * A pure function, so that it runs in any thread. Orders are taken in turn, so the second order of
 * one customer sees the first. Refuses thresholds that do not fit each other.
 */

import type { FraudOrder, Verdict } from "./fraud-check.ts";
import type { CardProfile, CustomerProfile } from "./fraud-profile.ts";
import type { FraudThresholds } from "./thresholds.ts";

import {
  cardKeyOf,
  customerKeyOf,
  decodeCard,
  decodeCustomer,
  encodeCard,
  encodeCustomer,
  learnAmount,
  NEW_CARD,
  NEW_CUSTOMER,
  rememberCardUse,
  rememberOrder,
} from "./fraud-profile.ts";
import { figuresOf, judge, termsOf } from "./fraud-rules.ts";

/** Rows of profiles by key, as stored; a key that is missing has no row. */
export type ProfileRows = readonly (readonly [key: string, data: Uint8Array])[];

/** Plain data: it travels between threads. */
export interface ScoringTask {
  readonly nowMs: number;
  readonly orders: readonly FraudOrder[];
  readonly profiles: ProfileRows;
}

export interface ScoredBatch {
  /** One for each order, in order. */
  readonly verdicts: readonly Verdict[];
  /** Every profile that an order of the batch touched, as it is now. */
  readonly profiles: ProfileRows;
}

export type BatchScorer = (task: ScoringTask) => ScoredBatch;

/** Where batches are scored. Rejects with `CHECK_UNAVAILABLE` when that place is out of order. */
export interface Scorer {
  /** Gives up when `signal` is aborted. */
  score(task: ScoringTask, signal: AbortSignal): Promise<ScoredBatch>;
  /** Idempotent. */
  close(): Promise<void>;
}

export function createBatchScorer(thresholds: FraudThresholds): BatchScorer {
  const terms = termsOf(thresholds);

  return ({ nowMs, orders, profiles }) => {
    const stored = new Map(profiles);
    const customers = new Map<string, CustomerProfile>();
    const cards = new Map<string, CardProfile>();

    function scoreOne(order: FraudOrder): Verdict {
      const { customerId, amountMinor, currency } = order;
      const customerKey = customerKeyOf(customerId);
      const customer =
        customers.get(customerKey) ??
        decodeOr(stored.get(customerKey), decodeCustomer, NEW_CUSTOMER);
      const cardKey = order.card === undefined ? undefined : cardKeyOf(order.card);
      const card =
        cardKey === undefined
          ? undefined
          : (cards.get(cardKey) ?? decodeOr(stored.get(cardKey), decodeCard, NEW_CARD));
      const verdict = judge(figuresOf(order, { customer, card }, terms, nowMs), terms);
      const remembered = rememberOrder(customer, nowMs, terms.customer);
      const isPassed = verdict.decision === "pass";
      customers.set(
        customerKey,
        isPassed ? learnAmount(remembered, amountMinor, currency) : remembered,
      );
      if (cardKey !== undefined && card !== undefined) {
        cards.set(cardKey, rememberCardUse(card, customerId, nowMs, terms.card));
      }
      return verdict;
    }

    const verdicts = orders.map(scoreOne);
    const changed = [
      ...[...customers].map(([key, profile]) => [key, encodeCustomer(profile)] as const),
      ...[...cards].map(([key, profile]) => [key, encodeCard(profile)] as const),
    ];
    return { verdicts, profiles: changed };
  };
}

/** Scores in the caller's own thread: for tests, and where there are no threads. */
export function createInlineScorer(thresholds: FraudThresholds): Scorer {
  const score = createBatchScorer(thresholds);
  return { score: async (task) => score(task), close: async () => {} };
}

function decodeOr<Profile>(
  data: Uint8Array | undefined,
  decode: (data: Uint8Array) => Profile,
  fresh: Profile,
): Profile {
  return data === undefined ? fresh : decode(data);
}
