/**
 * Questions to the indices of the audit, complete or not answered at all.
 *
 * No answer is taken of which a part is missing because a shard did not answer. Indices that are
 * not there yet hold nothing. Refuses nothing that the bounds of its callers allow.
 */

import type { StoredDocument } from "./audit-document.ts";
import type { FaultBody } from "./elastic-failure.ts";
import type { ElasticLink } from "./elastic-link.ts";
import type { ElasticSettings } from "./elastic-settings.ts";

import { recordsPattern } from "./audit-indices.ts";
import { answerFailure } from "./elastic-failure.ts";

/** Chains that one audit may have: topics times partitions. */
export const CHAINS_MAX = 10_000;

export interface Hit<Source> {
  readonly _id: string;
  readonly _index: string;
  readonly _source: Source;
}

export interface SearchAnswer<Source, Aggregations = unknown> {
  readonly hits: { readonly hits: readonly Hit<Source>[] };
  readonly aggregations?: Aggregations;
  readonly error?: FaultBody;
  readonly status?: number;
}

/** A server that cannot do this now may yet be able to search. */
const BUSY = [429, 500, 503];
const LENIENT = { ignore_unavailable: true, allow_no_indices: true };
const COMPLETE = { ...LENIENT, allow_partial_search_results: false };

export class RecordFinder {
  readonly #link: ElasticLink;
  readonly #pattern: string;

  constructor(link: ElasticLink, settings: ElasticSettings) {
    this.#link = link;
    this.#pattern = recordsPattern(settings);
  }

  async search<Source = StoredDocument, Aggregations = unknown>(
    body: object,
    index = this.#pattern,
  ): Promise<SearchAnswer<Source, Aggregations>> {
    const answer = await this.#link.ask<SearchAnswer<Source, Aggregations>>({
      method: "POST",
      path: `/${index}/_search`,
      query: COMPLETE,
      body: { track_total_hits: false, ...body },
    });
    return answer.body;
  }

  /** One answer for each of `bodies`. */
  async searchAll<Source>(bodies: readonly object[]): Promise<readonly SearchAnswer<Source>[]> {
    if (bodies.length === 0) return [];
    const header = JSON.stringify({ index: this.#pattern, ...COMPLETE });
    const { body } = await this.#link.ask<{ readonly responses: readonly SearchAnswer<Source>[] }>({
      method: "POST",
      path: "/_msearch",
      lines: bodies.map((one) => `${header}\n${JSON.stringify(one)}\n`).join(""),
    });
    for (const { error, status } of body.responses) {
      if (error !== undefined) throw answerFailure(status ?? 0, error);
    }
    return body.responses;
  }

  async count(query: object): Promise<number> {
    const { body } = await this.#link.ask<{ readonly count: number }>({
      method: "POST",
      path: `/${this.#pattern}/_count`,
      query: LENIENT,
      body: { query },
    });
    return body.count;
  }

  /** Everything that has been stored so far will be found. */
  async refresh(index = this.#pattern): Promise<void> {
    if (await this.tryRefresh(index)) return;
    throw answerFailure(503, { reason: "a shard did not refresh" });
  }

  /**
   * False: what was stored last may not be found, all else is. Rejects without an answer in time,
   * and with one that is neither a success nor of `BUSY`; a search may be answered even then.
   */
  async tryRefresh(index = this.#pattern): Promise<boolean> {
    const { body } = await this.#link.ask<{ readonly _shards?: { readonly failed: number } }>({
      method: "POST",
      path: `/${index}/_refresh`,
      query: LENIENT,
      allowed: BUSY,
    });
    const { _shards: shards } = body;
    return shards?.failed === 0;
  }

  /** The documents that are there, by id, whether they are found already or not. */
  async documents<Source>(
    keys: readonly { readonly index: string; readonly id: string }[],
    fields: readonly string[],
  ): Promise<ReadonlyMap<string, Source>> {
    const there = new Map<string, Source>();
    if (keys.length === 0) return there;
    const docs = keys.map(({ index, id }) => ({ _index: index, _id: id }));
    const { body } = await this.#link.ask<{ readonly docs: readonly GotDocument<Source>[] }>({
      method: "POST",
      path: "/_mget",
      query: { _source_includes: fields.join(",") },
      body: { docs },
    });
    for (const { _id, found, _source, error } of body.docs) {
      if (error !== undefined && error.type !== "index_not_found_exception") {
        throw answerFailure(503, error);
      }
      if (found === true && _source !== undefined) there.set(_id, _source);
    }
    return there;
  }
}

interface GotDocument<Source> {
  readonly _id: string;
  readonly found?: boolean;
  readonly _source?: Source;
  readonly error?: FaultBody;
}
