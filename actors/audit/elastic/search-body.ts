/**
 * What the audit can be asked, in the language of the server, and how its answers become a page.
 *
 * A query's words reach the server as values only, never as syntax. Records of all partitions share
 * one order, in which two may rarely have one number: a page ends between numbers, never within
 * one. Refuses nothing: the bounds are those of the query.
 */

import type { AuditQuery, Term } from "../audit-query.ts";

import { SEARCH_PAGE_BYTES_MAX } from "../audit-limits.ts";

/** Records more than asked for, so that those of one number are seen together. */
export const TIES_MAX = 32;
/** Of one customer: the newest, whose later events are filed under the customer as well. */
export const CUSTOMER_ORDERS_MAX = 10_000;
/** Words that the beginning of a long word may stand for within a phrase. */
const EXPANSIONS_MAX = 10_000;

const NEWEST_FIRST = [{ seq: "desc" }, { topic: "asc" }, { partition: "asc" }];

/** One page, and what may share a number with its last. `orders` are the customer's. */
export function pageBody(query: AuditQuery, orders: readonly string[]): object {
  return {
    size: query.limit + 1 + TIES_MAX,
    query: { bool: { filter: conditionsOf(query, orders) } },
    sort: NEWEST_FIRST,
  };
}

function conditionsOf(query: AuditQuery, orders: readonly string[]): readonly object[] {
  const { beforeSeq, orderId, customerId, type, fromMs, toMs, terms = [] } = query;
  const at = {
    ...(fromMs === undefined ? {} : { gte: fromMs }),
    ...(toMs === undefined ? {} : { lt: toMs }),
  };
  return [
    ...(beforeSeq === undefined ? [] : [{ range: { seq: { lt: beforeSeq } } }]),
    ...(orderId === undefined ? [] : [{ term: { orderId } }]),
    ...(customerId === undefined ? [] : [ofCustomer(customerId, orders)]),
    ...(type === undefined ? [] : [{ term: { type } }]),
    ...(fromMs === undefined && toMs === undefined ? [] : [{ range: { at } }]),
    ...terms.map((term) => termCondition(term)),
  ];
}

function ofCustomer(customerId: string, orders: readonly string[]): object {
  const should = [{ term: { customerId } }, { terms: { orderId: orders } }];
  return { bool: { should, minimum_should_match: 1 } };
}

export function termCondition({ words, isPrefix }: Term): object {
  const query = words.join(" ");
  if (!isPrefix) return { match_phrase: { texts: query } };
  if (words.length === 1) return { prefix: { texts: query } };
  return { match_phrase_prefix: { texts: { query, max_expansions: EXPANSIONS_MAX } } };
}

/** The orders of a customer, newest first, as far as they can matter to `query`. */
export function customerOrdersBody(customerId: string, createdType: number): object {
  return {
    size: CUSTOMER_ORDERS_MAX,
    query: { bool: { filter: [{ term: { customerId } }, { term: { type: createdType } }] } },
    sort: [{ seq: "desc" }],
    _source: ["orderId"],
  };
}

/** Who placed these orders. */
export function orderCustomersBody(orderIds: readonly string[], createdType: number): object {
  return {
    size: 4 * orderIds.length,
    query: {
      bool: { filter: [{ terms: { orderId: orderIds } }, { term: { type: createdType } }] },
    },
    sort: [{ seq: "asc" }],
    _source: ["orderId", "customerId"],
  };
}

/** The contents under which each of `messages` was stored, and when each came first. */
export function copiesBody(messages: readonly string[]): object {
  return {
    size: 0,
    query: { bool: { filter: [{ terms: { message: messages } }] } },
    aggs: {
      messages: {
        terms: { field: "message", size: messages.length },
        aggs: {
          contents: {
            terms: { field: "content", size: COPIES_MAX, order: { first: "asc" } },
            aggs: { first: { min: { field: "seq" } } },
          },
        },
      },
    },
  };
}

/** Contents under one message id. */
const COPIES_MAX = 1_000;

export interface Numbered {
  readonly seq: number;
  /** In characters, of the frame. */
  readonly chars: number;
}

/**
 * How many of `found`, newest first, are one page, and where the next goes on. `sizeMax` were
 * asked for: fewer found are all that there are.
 */
export function cutPage(
  found: readonly Numbered[],
  limit: number,
  sizeMax: number,
): { readonly taken: number; readonly nextBeforeSeq?: number } {
  let taken = 0;
  let chars = 0;
  for (const group of groupsOf(found)) {
    chars += group.reduce((sum, one) => sum + one.chars, 0);
    const isOver = taken + group.length > limit || (chars * 3) / 4 > SEARCH_PAGE_BYTES_MAX;
    if (isOver && taken > 0) break;
    taken += group.length;
  }
  const isEnd = taken === found.length && found.length < sizeMax;
  const last = found[taken - 1];
  return isEnd || last === undefined ? { taken } : { taken, nextBeforeSeq: last.seq };
}

function groupsOf(found: readonly Numbered[]): readonly (readonly Numbered[])[] {
  return [...Map.groupBy(found, ({ seq }) => seq).values()];
}
