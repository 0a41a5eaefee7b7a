/**
 * What the audit can be asked, and whether a record is an answer.
 *
 * Free text is words (all of them must occur), quoted phrases, and a star after a word for
 * everything that begins so. The text of a query never reaches the database as syntax: only words
 * that were folded here do, quoted. Refused: more than the bounds, stars elsewhere, an open quote.
 */

import type { AuditRecord } from "./audit-record.ts";

import { PREFIX_CHARS_MIN, QUERY_CHARS_MAX, QUERY_WORDS_MAX } from "./audit-limits.ts";
import { wordsOf } from "./audit-text.ts";

/** Words that follow each other within one text; of the last one perhaps only the beginning. */
export interface Term {
  readonly words: readonly string[];
  readonly isPrefix: boolean;
}

/** All that are given must hold. Newest first, from `beforeSeq` on. */
export interface AuditQuery {
  /** 1..`SEARCH_PAGE_MAX`. */
  readonly limit: number;
  readonly beforeSeq?: number;
  readonly orderId?: string;
  readonly customerId?: string;
  /** Number of a contract, or `UNREADABLE_TYPE`. */
  readonly type?: number;
  /** Inclusive. */
  readonly fromMs?: number;
  /** Exclusive. */
  readonly toMs?: number;
  /** At least one. */
  readonly terms?: readonly Term[];
}

/** The columns that decide without a look at the frame. */
export type AuditColumns = Pick<AuditRecord, "type" | "orderId" | "customerId" | "atMs">;

/** Which index leads to the candidates; the other conditions are checked on each of them. */
export type Driver = "order" | "customer" | "words" | "type" | "all";

const PIECE = /"([^"]*)"|([^\s"]+)/g;

/** The terms of `text`, or in words why it is refused and what is allowed. */
export function parseTerms(text: string): readonly Term[] | { readonly refused: string } {
  if (text.length > QUERY_CHARS_MAX) return { refused: `must be at most ${QUERY_CHARS_MAX} long` };
  if ((text.split('"').length - 1) % 2 === 1) return { refused: "has a quote that is not closed" };
  const terms: Term[] = [];
  let wordCount = 0;
  for (const [, phrase, word] of text.matchAll(PIECE)) {
    const isPrefix = phrase === undefined && word?.endsWith("*") === true;
    const body = phrase ?? (isPrefix ? word.slice(0, -1) : word) ?? "";
    const words = wordsOf(body);
    if (body.includes("*")) return { refused: "may have * only at the end of a word" };
    if (words.length === 0) return { refused: "must be words, with letters or digits in each" };
    if (isPrefix && (words.at(-1) ?? "").length < PREFIX_CHARS_MIN) {
      return { refused: `needs at least ${PREFIX_CHARS_MIN} letters or digits before *` };
    }
    wordCount += words.length;
    terms.push({ words, isPrefix });
  }
  if (terms.length === 0) return { refused: "must have at least one word" };
  return wordCount > QUERY_WORDS_MAX
    ? { refused: `must have at most ${QUERY_WORDS_MAX} words` }
    : terms;
}

/** The terms in FTS5's language. Words are letters and digits only, so quoting them is enough. */
export function ftsExpression(terms: readonly Term[]): string {
  return terms
    .map(({ words, isPrefix }) => `"${words.join(" ")}"${isPrefix ? " *" : ""}`)
    .join(" AND ");
}

export function driverOf({ orderId, customerId, terms, type }: AuditQuery): Driver {
  if (orderId !== undefined) return "order";
  if (customerId !== undefined) return "customer";
  if (terms !== undefined) return "words";
  return type === undefined ? "all" : "type";
}

export function matchesColumns(columns: AuditColumns, query: AuditQuery): boolean {
  const { orderId, customerId, type, fromMs, toMs } = query;
  return (
    (orderId === undefined || columns.orderId === orderId) &&
    (customerId === undefined || columns.customerId === customerId) &&
    (type === undefined || columns.type === type) &&
    (fromMs === undefined || columns.atMs >= fromMs) &&
    (toMs === undefined || columns.atMs < toMs)
  );
}

/** True when each of `terms` occurs in one of `texts`. */
export function matchesTerms(texts: readonly string[], terms: readonly Term[]): boolean {
  const folded = texts.map((text) => wordsOf(text));
  return terms.every((term) => folded.some((words) => occursIn(words, term)));
}

function occursIn(words: readonly string[], { words: wanted, isPrefix }: Term): boolean {
  const last = wanted.length - 1;
  for (let start = 0; start + last < words.length; start++) {
    const isHere = wanted.every((word, index) => {
      const found = words[start + index];
      return isPrefix && index === last ? found?.startsWith(word) === true : found === word;
    });
    if (isHere) return true;
  }
  return false;
}
