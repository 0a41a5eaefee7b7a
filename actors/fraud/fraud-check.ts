/**
 * The fraud check as payment sees it: one question before money moves, one verdict.
 *
 * A verdict is final: the same order gets the same one whenever it is asked about again while that
 * is kept, which is far longer than any message. Who cannot tell refuses with `CHECK_UNAVAILABLE`
 * and is asked again later; there is no approval by default. An order is reduced to what the rules
 * look at, so that names and street lines go no further.
 */

import type { Static } from "@sinclair/typebox";

import { domainToASCII } from "node:url";

import type { Address } from "../contracts/fields.ts";
import type { EventOf } from "../contracts/messages.ts";

const NOT_ASCII = /[\u0080-\uffff]/;
const NOT_ALPHANUMERIC = /[^a-z0-9]/g;

/** Where an address is, as it is compared: without case, spaces and punctuation. */
export interface Place {
  /** ISO 3166-1 alpha-2. */
  readonly country: string;
  readonly city: string;
  readonly postalCode: string;
}

/** What the rules know of an order. Plain data: it travels between threads. */
export interface FraudOrder {
  readonly orderId: string;
  readonly customerId: string;
  readonly amountMinor: number;
  readonly currency: string;
  /** Lines of the basket. */
  readonly lines: number;
  /** The most pieces of any one product. */
  readonly quantityMax: number;
  /** The provider's fingerprint of the card. */
  readonly card?: string;
  /** As `mailDomain` spells it. */
  readonly emailDomain?: string;
  readonly shipping?: Place;
  readonly billing?: Place;
}

export interface Verdict {
  readonly decision: "pass" | "block";
  /** 0..100. */
  readonly score: number;
  /** Names of the rules that fired, heaviest first. */
  readonly rules: readonly string[];
}

export interface FraudCheck {
  /**
   * Rejects with `CHECK_UNAVAILABLE` when there is no verdict in time, with the store's own failure
   * when that is why, and with `CLOSED` once closed or when `signal` is aborted already.
   */
  check(order: FraudOrder, signal: AbortSignal): Promise<Verdict>;
  /** Refuses what waits and what comes. Idempotent. */
  close(): Promise<void>;
}

/** The part of `order` that the rules look at. */
export function fraudOrderOf(order: EventOf<"order.created">): FraudOrder {
  const { orderId, customerId, items, totalMinor, currency } = order;
  const card = order.paymentMethod?.fingerprint;
  const email = order.contact?.email;
  const pieces = new Map<string, number>();
  for (const { productId, quantity } of items) {
    pieces.set(productId, (pieces.get(productId) ?? 0) + quantity);
  }
  return {
    orderId,
    customerId,
    amountMinor: totalMinor,
    currency,
    lines: items.length,
    quantityMax: Math.max(...pieces.values()),
    ...(card === undefined ? {} : { card }),
    ...(email === undefined
      ? {}
      : { emailDomain: mailDomain(email.slice(email.lastIndexOf("@") + 1)) }),
    ...(order.shippingAddress === undefined ? {} : { shipping: placeOf(order.shippingAddress) }),
    ...(order.billingAddress === undefined ? {} : { billing: placeOf(order.billingAddress) }),
  };
}

/**
 * One spelling for all that lead to the same mail server: lower case, ASCII (IDNA), no final dot.
 */
export function mailDomain(text: string): string {
  const ascii = NOT_ASCII.test(text) ? domainToASCII(text) : text;
  return (ascii === "" ? text : ascii).toLowerCase().replace(/\.+$/, "");
}

function placeOf({ country, city, postalCode }: Static<typeof Address>): Place {
  return { country, city: comparable(city), postalCode: comparable(postalCode) };
}

function comparable(text: string): string {
  // What is ASCII has nothing to decompose.
  if (!NOT_ASCII.test(text)) return text.toLowerCase().replace(NOT_ALPHANUMERIC, "");
  return text
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]/gu, "");
}
