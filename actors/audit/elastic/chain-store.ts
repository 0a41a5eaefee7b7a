/**
 * Where the chains stand, as the server knows it: to go on with one, to seal it, to note what goes.
 *
 * A head is sealed only with records that are stored, and never set back, whoever seals it. A floor
 * says up to which place records may be gone because they were old. Refuses to go on with a chain
 * of which not all shards have answered.
 */

import type { AuditEntry } from "../audit-entry.ts";
import type { Placed } from "./audit-document.ts";
import type { BulkAnswer } from "./bulk-body.ts";
import type { ElasticLink } from "./elastic-link.ts";
import type { ElasticSettings } from "./elastic-settings.ts";
import type { RecordFinder, SearchAnswer } from "./record-finder.ts";
import type { ChainState } from "./record-chain.ts";

import { bytes, chainedId, indexOf } from "./audit-document.ts";
import { stateIndex } from "./audit-indices.ts";
import { itemsOf, outcomeOf } from "./bulk-body.ts";
import { answerFailure } from "./elastic-failure.ts";
import { stateOf } from "./entry-linker.ts";
import { CHAIN_START } from "./record-chain.ts";
import { CHAINS_MAX } from "./record-finder.ts";

const HEAD_FIELDS = ["seq", "chain", "place", "sequence", "hash"];
export const PLACED = [...HEAD_FIELDS, "identity", "content"];

/** A sealed head or a floor; of a floor the place is the first that must be there. */
export interface StateDocument {
  readonly kind: "head" | "floor";
  readonly chain: string;
  readonly place: number;
  readonly sequence?: number;
  readonly seq?: number;
  readonly hash?: string;
}

export interface TakenChain {
  readonly previous: ChainState;
  /** Documents of the given records that are there already, by id. */
  readonly known: ReadonlyMap<string, Placed>;
}

export class ChainStore {
  readonly #link: ElasticLink;
  readonly #finder: RecordFinder;
  readonly #settings: ElasticSettings;
  readonly #index: string;

  constructor(link: ElasticLink, finder: RecordFinder, settings: ElasticSettings) {
    this.#link = link;
    this.#finder = finder;
    this.#settings = settings;
    this.#index = stateIndex(settings);
  }

  /** What comes before the given records of each chain, in order, and what of them is there. */
  async takeOn(
    given: ReadonlyMap<string, readonly AuditEntry[]>,
  ): Promise<ReadonlyMap<string, TakenChain>> {
    const taken = new Map<string, TakenChain>();
    if (given.size === 0) return taken;
    await this.#finder.refresh();
    const chains = [...given];
    const answers = await this.#finder.searchAll<Placed>(
      chains.map(([chain, entries]) => lastBefore(chain, entries[0]?.sequence ?? 0)),
    );
    const heads = await this.#heads(chains.map(([chain]) => chain));
    const keys = chains.flatMap(([, entries]) =>
      entries.map((entry) => ({
        index: indexOf(this.#settings, entry.storedAtMs),
        id: chainedId(entry),
      })),
    );
    const known = await this.#finder.documents<Placed>(keys, PLACED);
    for (const [index, [chain, entries]] of chains.entries()) {
      const last = sourceOf(answers[index]);
      const head = heads.get(chain);
      const first = entries[0]?.sequence ?? 0;
      taken.set(chain, { previous: latest(last, head, first), known });
    }
    return taken;
  }

  async seal(heads: ReadonlyMap<string, ChainState>): Promise<void> {
    await this.#keep(
      [...heads].map(([chain, { place, sequence, seq, hash }]) => ({
        kind: "head",
        chain,
        place,
        sequence,
        seq,
        hash: Buffer.from(hash).toString("base64"),
      })),
    );
  }

  /** `index` is about to go. */
  async noteFloors(index: string): Promise<void> {
    await this.#finder.refresh(index);
    const { aggregations } = await this.#finder.search<unknown, ByChain>(
      {
        size: 0,
        aggs: {
          chains: {
            terms: { field: "chain", size: CHAINS_MAX },
            aggs: { last: { max: { field: "place" } } },
          },
        },
      },
      index,
    );
    const buckets = aggregations?.chains.buckets ?? [];
    await this.#keep(
      buckets.map(({ key, last }) => ({ kind: "floor", chain: key, place: last.value + 1 })),
    );
  }

  /** All that were sealed, and the floors that were noted, by chain. */
  async read(): Promise<{
    readonly heads: ReadonlyMap<string, ChainState>;
    readonly floors: ReadonlyMap<string, number>;
  }> {
    await this.#finder.refresh(this.#index);
    const heads = new Map<string, ChainState>();
    const floors = new Map<string, number>();
    for (const kind of ["head", "floor"] as const) {
      const query = { term: { kind } };
      const { hits } = await this.#finder.search<StateDocument>(
        { size: CHAINS_MAX, query },
        this.#index,
      );
      for (const { _source: found } of hits.hits) {
        if (kind === "head") heads.set(found.chain, headState(found));
        else floors.set(found.chain, found.place);
      }
    }
    return { heads, floors };
  }

  async #heads(chains: readonly string[]): Promise<ReadonlyMap<string, ChainState>> {
    const keys = chains.map((chain) => ({ index: this.#index, id: `head:${chain}` }));
    const found = await this.#finder.documents<StateDocument>(keys, HEAD_FIELDS);
    return new Map([...found.values()].map((head) => [head.chain, headState(head)]));
  }

  /** The place is the version: what is there and further on stays. */
  async #keep(documents: readonly StateDocument[]): Promise<void> {
    if (documents.length === 0) return;
    const lines = documents.map((document) => {
      const id = `${document.kind}:${document.chain}`;
      const version = { version: document.place, version_type: "external_gte" };
      const action = { index: { _index: this.#index, _id: id, ...version } };
      return `${JSON.stringify(action)}\n${JSON.stringify(document)}\n`;
    });
    const path = "/_bulk";
    const { body } = await this.#link.ask<BulkAnswer>({
      method: "POST",
      path,
      lines: lines.join(""),
    });
    for (const item of itemsOf(body, documents.length)) {
      if (["stored", "exists"].includes(outcomeOf(item))) continue;
      throw answerFailure(item.status, item.error ?? {});
    }
  }
}

interface ByChain {
  readonly chains: {
    readonly buckets: readonly {
      readonly key: string;
      readonly last: { readonly value: number };
    }[];
  };
}

function lastBefore(chain: string, sequence: number): object {
  return {
    size: 1,
    track_total_hits: false,
    query: { bool: { filter: [{ term: { chain } }, { range: { sequence: { lt: sequence } } }] } },
    sort: [{ sequence: "desc" }],
    _source: PLACED,
  };
}

function sourceOf(answer: SearchAnswer<Placed> | undefined): Placed | undefined {
  const [hit] = answer?.hits.hits ?? [];
  const { _source: source } = hit ?? {};
  return source;
}

/** Of what is found and what was sealed, whichever is further on and still before `sequence`. */
export function latest(
  last: Placed | undefined,
  head: ChainState | undefined,
  sequence: number,
): ChainState {
  const found = last === undefined ? CHAIN_START : stateOf(last);
  const isHeadLater = head !== undefined && head.sequence < sequence && head.place > found.place;
  return isHeadLater ? head : found;
}

function headState({ place, sequence = 0, seq = 0, hash = "" }: StateDocument): ChainState {
  return { place, sequence, seq, hash: bytes(hash) };
}
