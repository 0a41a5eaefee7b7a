/**
 * The reading side of the audit on Elasticsearch or OpenSearch, with the embedded audit's answers.
 *
 * What an index leads to is checked on the record itself, so that an index can lose a record but
 * never invent one. A message that was stored at several places is shown once, at the first; later
 * events of an order are filed under the customer that placed it. An index that cannot be brought
 * up to date is searched as it is, and the page says so: what is found is as true as ever, and who
 * looks into the past of an order need not wait until a shard is mended. A verdict over the chain
 * rests on what is missing as well, and is not given then. Refuses nothing that the bounds of a
 * query allow; what the server does wrong is a `STORAGE_FAULT`.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { AuditHead } from "../audit-chain.ts";
import type { AuditQuery } from "../audit-query.ts";
import type { AuditPage, AuditReads } from "../audit-reads.ts";
import type { AuditDocument } from "./audit-document.ts";
import type { ElasticHooks, ElasticLink } from "./elastic-link.ts";
import type { ElasticSettings } from "./elastic-settings.ts";

import { assert } from "../../../runtime/errors.ts";
import { readFrame } from "../audit-entry.ts";
import { SEARCH_PAGE_MAX } from "../audit-limits.ts";
import { matchesColumns, matchesTerms } from "../audit-query.ts";
import { textsOf } from "../audit-text.ts";
import { AUDIT_TYPES, viewOf } from "../audit-view.ts";
import { recordOf, unpacked } from "./audit-document.ts";
import { verifyChains } from "./chains-verify.ts";
import { ChainStore } from "./chain-store.ts";
import { openElasticLink } from "./elastic-link.ts";
import { headOf } from "./joint-head.ts";
import { RecordFinder } from "./record-finder.ts";
import {
  copiesBody,
  customerOrdersBody,
  cutPage,
  orderCustomersBody,
  pageBody,
  TIES_MAX,
} from "./search-body.ts";

export interface ElasticReadsOptions extends ElasticHooks {
  readonly environment: Pick<Environment, "monotonicMs" | "startTimer" | "random">;
}

/** What the embedded audit does not have: records outside of any chain. */
export interface ElasticAuditHead extends AuditHead {
  readonly unchained: number;
}

export interface ElasticAuditReads extends AuditReads {
  head(): Promise<ElasticAuditHead>;
}

const CREATED_TYPE = AUDIT_TYPES.get("order.created") ?? 0;

/** Rejects with `SERVER_UNUSABLE`, naming `elasticsearch.url`, within ten seconds. */
export async function openElasticAuditReads(
  settings: ElasticSettings,
  options: ElasticReadsOptions,
): Promise<ElasticAuditReads> {
  const link = await openElasticLink(settings, options.environment, options);
  return new ElasticReads(link, settings, options);
}

class ElasticReads implements ElasticAuditReads {
  readonly #link: ElasticLink;
  readonly #finder: RecordFinder;
  readonly #chains: ChainStore;
  readonly #options: ElasticReadsOptions;
  readonly #refreshMs: number;
  /** True: it worked. */
  #refreshing: Promise<boolean> = Promise.resolve(true);
  /** What was stored before is found. */
  #refreshedMs = Number.NEGATIVE_INFINITY;

  constructor(link: ElasticLink, settings: ElasticSettings, options: ElasticReadsOptions) {
    this.#link = link;
    this.#options = options;
    this.#refreshMs = settings.refreshMs;
    this.#finder = new RecordFinder(link, settings);
    this.#chains = new ChainStore(link, this.#finder, settings);
  }

  async head(): Promise<ElasticAuditHead> {
    const { heads } = await this.#chains.read();
    const unchained = await this.#finder.count(UNCHAINED);
    return { ...headOf(heads), unchained };
  }

  async search(query: AuditQuery): Promise<AuditPage> {
    assert(query.limit >= 1 && query.limit <= SEARCH_PAGE_MAX, `a page of ${query.limit}`);
    const isFresh = await this.#refresh();
    const orders = await this.#ordersOf(query.customerId);
    const { hits } = await this.#finder.search(pageBody(query, orders));
    const found = hits.hits.map(({ _source }) => unpacked(_source));
    const sizes = found.map(({ seq, frame }) => ({ seq, chars: frame.length }));
    const { taken, ...next } = cutPage(sizes, query.limit, query.limit + 1 + TIES_MAX);
    const page = found.slice(0, taken);
    const [first, customers] = await Promise.all([this.#copiesOf(page), this.#customersOf(page)]);
    const records = page.flatMap((document) => {
      const fault = first(document);
      if (fault === "COPY") return [];
      const customerId = document.customerId ?? customers.get(document.orderId ?? "");
      const filed = {
        ...document,
        ...(customerId === undefined ? {} : { customerId }),
        ...(fault === undefined ? {} : { fault }),
      };
      return matches(filed, query) ? [viewOf(recordOf(filed, filed.seq))] : [];
    });
    return { records, ...next, ...(isFresh ? {} : { isStale: true }) };
  }

  verify: AuditReads["verify"] = (range) =>
    verifyChains(this.#finder, this.#chains, range, this.#options.environment);

  close(): void {
    // How its sockets end concerns nobody.
    this.#link.close().catch(() => undefined);
  }

  /** Nobody else sees to it while nobody searches. Searches of one time share one. */
  async #refresh(): Promise<boolean> {
    const nowMs = this.#options.environment.monotonicMs();
    if (nowMs - this.#refreshedMs >= this.#refreshMs) {
      this.#refreshedMs = nowMs;
      this.#refreshing = this.#finder.tryRefresh();
    }
    try {
      return await this.#refreshing;
    } catch (error) {
      this.#refreshedMs = Number.NEGATIVE_INFINITY;
      throw error;
    }
  }

  async #ordersOf(customerId: string | undefined): Promise<readonly string[]> {
    if (customerId === undefined) return [];
    const { hits } = await this.#finder.search<Pick<AuditDocument, "orderId">>(
      customerOrdersBody(customerId, CREATED_TYPE),
    );
    return [...new Set(hits.hits.flatMap(({ _source: { orderId } }) => orderId ?? []))];
  }

  async #customersOf(page: readonly AuditDocument[]): Promise<ReadonlyMap<string, string>> {
    const asked = new Set(
      page.flatMap(({ orderId, customerId }) => (customerId === undefined ? (orderId ?? []) : [])),
    );
    const customers = new Map<string, string>();
    if (asked.size === 0) return customers;
    const { hits } = await this.#finder.search<Pick<AuditDocument, "orderId" | "customerId">>(
      orderCustomersBody([...asked], CREATED_TYPE),
    );
    for (const { _source: created } of hits.hits) {
      const { orderId, customerId } = created;
      if (orderId === undefined || customerId === undefined) continue;
      if (!customers.has(orderId)) customers.set(orderId, customerId);
    }
    return customers;
  }

  /** Tells of a document whether it is a copy of an earlier one, or has another's id. */
  async #copiesOf(page: readonly AuditDocument[]) {
    const messages = [...new Set(page.map(({ message }) => message))].filter((one) => one !== "");
    const firsts = new Map<string, ReadonlyMap<string, number>>();
    if (messages.length > 0) {
      const { aggregations } = await this.#finder.search<unknown, Copies>(copiesBody(messages));
      for (const { key, contents } of aggregations?.messages.buckets ?? []) {
        firsts.set(key, new Map(contents.buckets.map((one) => [one.key, one.first.value])));
      }
    }
    return ({ message, content, seq }: AuditDocument): "COPY" | "ID_REUSED" | undefined => {
      const contents = firsts.get(message);
      const first = contents?.get(content);
      if (contents === undefined || first === undefined) return undefined;
      if (first < seq) return "COPY";
      return Math.min(...contents.values()) < seq ? "ID_REUSED" : undefined;
    };
  }
}

interface Copies {
  readonly messages: {
    readonly buckets: readonly {
      readonly key: string;
      readonly contents: {
        readonly buckets: readonly {
          readonly key: string;
          readonly first: { readonly value: number };
        }[];
      };
    }[];
  };
}

const UNCHAINED = { bool: { must_not: [{ exists: { field: "chain" } }] } };

function matches(document: AuditDocument, query: AuditQuery): boolean {
  const record = recordOf(document, document.seq);
  if (!matchesColumns(record, query)) return false;
  if (query.terms === undefined) return true;
  const reading = readFrame(record.frame);
  return "event" in reading && matchesTerms(textsOf(reading.event), query.terms);
}
