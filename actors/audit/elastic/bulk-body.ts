/**
 * Bulk requests as text, and what became of each item.
 *
 * A document that is there already has been stored before; one that the server cannot map is
 * refused for good; everything else that is wrong may heal. Refuses to take an answer for another
 * number of items than were sent.
 */

import type { StoredDocument } from "./audit-document.ts";
import type { FaultBody } from "./elastic-failure.ts";

import { assert } from "../../../runtime/errors.ts";

export interface DocumentWrite {
  readonly index: string;
  readonly id: string;
  readonly document: StoredDocument;
}

export interface BulkItem {
  readonly status: number;
  readonly error?: FaultBody;
}

export interface BulkAnswer {
  readonly errors: boolean;
  readonly items: readonly Readonly<Record<string, BulkItem>>[];
}

export type Outcome = "stored" | "exists" | "refused" | "later";

const UNMAPPABLE: ReadonlySet<string> = new Set([
  "mapper_parsing_exception",
  "document_parsing_exception",
  "strict_dynamic_mapping_exception",
  "illegal_argument_exception",
]);

/** `create`, so that what is there is never written over. */
export function createLines({ index, id, document }: DocumentWrite): string {
  return `${JSON.stringify({ create: { _index: index, _id: id } })}\n${JSON.stringify(document)}\n`;
}

export function outcomeOf({ status, error }: BulkItem): Outcome {
  if (status >= 200 && status < 300) return "stored";
  if (status === 409) return "exists";
  const isRefused = status === 400 && UNMAPPABLE.has(error?.type ?? "");
  return isRefused ? "refused" : "later";
}

/** One for each that was sent, in their order. */
export function itemsOf(answer: BulkAnswer, sent: number): readonly BulkItem[] {
  const { items } = answer;
  assert(items.length === sent, `${items.length} answers to ${sent} items of a bulk`);
  return items.map((item) => Object.values(item)[0] ?? { status: 0 });
}

/** Runs of `pieces` within the bounds; one that is larger alone goes alone. */
export function cutBulks<Piece extends { readonly lines: string }>(
  pieces: readonly Piece[],
  recordsMax: number,
  charsMax: number,
): readonly (readonly Piece[])[] {
  const bulks: Piece[][] = [];
  let chars = 0;
  for (const piece of pieces) {
    const last = bulks.at(-1);
    const fits = chars + piece.lines.length <= charsMax;
    if (last !== undefined && last.length < recordsMax && fits) {
      last.push(piece);
      chars += piece.lines.length;
    } else {
      bulks.push([piece]);
      chars = piece.lines.length;
    }
  }
  return bulks;
}
