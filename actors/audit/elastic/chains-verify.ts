/**
 * Walks the chains of the audit on a server, all of them in one order, a slice at a time.
 *
 * It reads, `audit-chain.ts` judges. Only records up to the sealed heads are judged: those are all
 * to be seen, whatever is being stored meanwhile. A slice believes the records before its start,
 * and of records that went because they were old it believes that they were right.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { ChainProblem } from "../audit-chain.ts";
import type { AuditVerdict, VerifyRange } from "../audit-verify.ts";
import type { Placed, StoredDocument } from "./audit-document.ts";
import type { ChainStore } from "./chain-store.ts";
import type { ChainState } from "./record-chain.ts";
import type { Hit, RecordFinder } from "./record-finder.ts";

import { READ_CHUNK_RECORDS } from "../audit-limits.ts";
import { unpacked } from "./audit-document.ts";
import { stateOf } from "./entry-linker.ts";
import { headOf } from "./joint-head.ts";
import { judgeEnds, judgeLink } from "./link-judge.ts";
import { CHAINS_MAX } from "./record-finder.ts";

/** Verifies one slice. */
export async function verifyChains(
  finder: RecordFinder,
  chains: ChainStore,
  { fromSeq, recordsMax, budgetMs }: VerifyRange,
  { monotonicMs }: Pick<Environment, "monotonicMs">,
): Promise<AuditVerdict> {
  const endMs = monotonicMs() + budgetMs;
  const { heads, floors } = await chains.read();
  // What was sealed had been stored: from here on all of it is found.
  await finder.refresh();
  const states = new Map(await statesBefore(finder, fromSeq));
  const head = headOf(heads);
  let verified = 0;
  let upToSeq = 0;
  let after: readonly unknown[] | undefined;
  for (;;) {
    const hits = await nextHits(finder, fromSeq, after);
    for (const { _source } of hits) {
      const document = unpacked(_source);
      const isSpent = verified >= recordsMax || monotonicMs() >= endMs;
      // Records of one number are of one slice.
      if (isSpent && verified > 0 && document.seq > upToSeq) {
        return { verified, upToSeq, head, nextSeq: document.seq };
      }
      const { chain = "" } = document;
      if (document.place > (heads.get(chain)?.place ?? 0)) continue;
      const problem = judgeLink(states.get(chain), floors.get(chain) ?? 1, document);
      if (problem !== undefined) return { verified, upToSeq, head, problem };
      states.set(chain, stateOf(document));
      verified++;
      upToSeq = document.seq;
    }
    const last = hits.at(-1);
    if (last === undefined || hits.length < READ_CHUNK_RECORDS) break;
    after = last.sort;
  }
  const problem: ChainProblem | undefined = judgeEnds(states, heads, floors);
  return { verified, upToSeq, head, ...(problem === undefined ? {} : { problem }) };
}

type SortedHit = Hit<StoredDocument> & { readonly sort: readonly unknown[] };

async function nextHits(
  finder: RecordFinder,
  fromSeq: number,
  after: readonly unknown[] | undefined,
): Promise<readonly SortedHit[]> {
  const { hits } = await finder.search({
    size: READ_CHUNK_RECORDS,
    query: {
      bool: { filter: [{ exists: { field: "chain" } }, { range: { seq: { gte: fromSeq } } }] },
    },
    sort: [{ seq: "asc" }, { chain: "asc" }, { place: "asc" }],
    ...(after === undefined ? {} : { search_after: after }),
  });
  // A sorted search gives each hit its place.
  return hits.hits as readonly SortedHit[];
}

interface LastOfChains {
  readonly chains: {
    readonly buckets: readonly {
      readonly key: string;
      readonly last: { readonly hits: { readonly hits: readonly Hit<Placed>[] } };
    }[];
  };
}

/** The last record of each chain before `fromSeq`. */
async function statesBefore(
  finder: RecordFinder,
  fromSeq: number,
): Promise<readonly (readonly [string, ChainState])[]> {
  if (fromSeq <= 1) return [];
  const { aggregations } = await finder.search<unknown, LastOfChains>({
    size: 0,
    query: { range: { seq: { lt: fromSeq } } },
    aggs: {
      chains: {
        terms: { field: "chain", size: CHAINS_MAX },
        aggs: {
          last: {
            top_hits: {
              size: 1,
              sort: [{ seq: "desc" }],
              _source: ["seq", "chain", "place", "sequence", "hash"],
            },
          },
        },
      },
    },
  });
  return (aggregations?.chains.buckets ?? []).flatMap(({ key, last }) =>
    last.hits.hits.map(({ _source }) => [key, stateOf(_source)] as const),
  );
}
