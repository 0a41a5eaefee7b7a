/**
 * Stores documents by bulk requests, and answers for each what became of it.
 *
 * What the server cannot map is stored once more in its reduced form; what it does not take even so
 * is passed by, unless it takes nothing at all: then it is the server's fault, and everything is
 * given again. Refuses to resolve for a document whose fate is not known.
 */

import type { BulkAnswer, BulkItem, DocumentWrite, Outcome } from "./bulk-body.ts";
import type { FaultBody } from "./elastic-failure.ts";
import type { ElasticLink } from "./elastic-link.ts";
import type { EntryWrite } from "./entry-linker.ts";
import type { ElasticSettings } from "./elastic-settings.ts";

import { reduced } from "./audit-document.ts";
import { createLines, cutBulks, itemsOf, outcomeOf } from "./bulk-body.ts";
import { answerFailure } from "./elastic-failure.ts";

export interface Written {
  readonly write: EntryWrite;
  readonly outcome: Exclude<Outcome, "later"> | "reduced";
  /** Why not as it was. */
  readonly fault?: FaultBody;
}

interface Piece<Write extends DocumentWrite> {
  readonly write: Write;
  readonly lines: string;
}

/** Rejects with `STORAGE_FAULT` or `STORAGE_FULL` when any of `writes` must be given again. */
export async function writeDocuments(
  link: ElasticLink,
  writes: readonly EntryWrite[],
  { bulkRecordsMax, bulkBytesMax }: ElasticSettings,
): Promise<readonly Written[]> {
  const pieces = writes.map((write) => ({ write, lines: createLines(write) }));
  const written: Written[] = [];
  for (const bulk of cutBulks(pieces, bulkRecordsMax, bulkBytesMax)) {
    written.push(...(await writeBulk(link, bulk)));
  }
  return written;
}

async function writeBulk(
  link: ElasticLink,
  bulk: readonly Piece<EntryWrite>[],
): Promise<readonly Written[]> {
  const judged = await send(link, bulk);
  const refused = judged.filter(({ outcome }) => outcome === "refused");
  if (refused.length === 0) return judged;
  const again = refused.map(({ write }) => {
    const document = reduced(write.document);
    return { write, lines: createLines({ ...write, document }) };
  });
  const second = await send(link, again);
  const isAll = refused.length === bulk.length && bulk.length > 1;
  const [first] = second;
  if (isAll && first !== undefined && second.every(({ outcome }) => outcome === "refused")) {
    throw answerFailure(400, first.fault ?? {});
  }
  const outcomes = new Map(second.map((one) => [one.write, one]));
  return judged.map((one) => {
    const reducedOne = outcomes.get(one.write);
    if (reducedOne === undefined) return one;
    return reducedOne.outcome === "stored"
      ? { ...one, outcome: "reduced" }
      : { ...one, outcome: reducedOne.outcome };
  });
}

async function send(
  link: ElasticLink,
  bulk: readonly Piece<EntryWrite>[],
): Promise<readonly Written[]> {
  const lines = bulk.map((piece) => piece.lines).join("");
  const { body } = await link.ask<BulkAnswer>({ method: "POST", path: "/_bulk", lines });
  const items = itemsOf(body, bulk.length);
  return bulk.map(({ write }, index) => judge(write, items[index] ?? { status: 0 }));
}

function judge(write: EntryWrite, item: BulkItem): Written {
  const outcome = outcomeOf(item);
  if (outcome === "later") throw answerFailure(item.status, item.error ?? {});
  return { write, outcome, ...(item.error === undefined ? {} : { fault: item.error }) };
}
