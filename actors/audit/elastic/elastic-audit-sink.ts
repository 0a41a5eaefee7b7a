/**
 * The audit on Elasticsearch or OpenSearch, from the side that feeds it.
 *
 * Every record is a document with an id of its own, linked to the record before it in its
 * partition. It keeps no position: a record that comes again, from this process or another, changes
 * nothing. What charges a card or reaches a person is dropped before anything leaves the process.
 * Records of topics whose sequences mean nothing tomorrow are stored without a link. Refuses no
 * record: what the server does not take even in a reduced form is counted and passed by.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { FeedRecord } from "../../brokers/feed.ts";
import type { ViewSink } from "../../views/view-sink.ts";
import type { AuditEntry } from "../audit-entry.ts";
import type { AuditCounts } from "../audit-projection.ts";
import type { Retention } from "./audit-indices.ts";
import type { Placed } from "./audit-document.ts";
import type { Written } from "./document-writer.ts";
import type { ElasticHooks, ElasticLink } from "./elastic-link.ts";
import type { ElasticSettings } from "./elastic-settings.ts";
import type { EntryWrite } from "./entry-linker.ts";
import type { ChainState } from "./record-chain.ts";

import { describeError, ShopError } from "../../../runtime/errors.ts";
import { readEntry } from "../audit-entry.ts";
import { indexEndMs } from "./audit-document.ts";
import { prepareIndices, recordsPattern } from "./audit-indices.ts";
import { ChainStore, PLACED } from "./chain-store.ts";
import { writeDocuments } from "./document-writer.ts";
import { describeFault } from "./elastic-failure.ts";
import { openElasticLink } from "./elastic-link.ts";
import { inOrder, isSame, linkEntries, unchainedWrite } from "./entry-linker.ts";
import { chainName, follows } from "./record-chain.ts";
import { RecordFinder } from "./record-finder.ts";

const DAY_MS = 86_400_000;
/** Between two looks for what is too old. */
const RETENTION_REST_MS = 600_000;

/** What one `append` came to; all but repeats are among the recorded or lost. */
export interface ElasticAuditCounts extends AuditCounts {
  /** Stored outside of any chain. */
  readonly unchained: number;
  /** Stored without what it is found by, because the server could not map it. */
  readonly reduced: number;
  /** Not taken by the server in any form, and passed by. */
  readonly refused: number;
  /** Stood where another message stands, and stored outside of the chain. */
  readonly conflicts: number;
}

export interface ElasticSinkOptions extends ElasticHooks {
  readonly environment: Pick<Environment, "monotonicMs" | "startTimer" | "random">;
  /** False for a topic whose broker counts anew, as RabbitMQ does. Absent: all last. */
  readonly sequencesLast?: (topic: string) => boolean;
  /** Told after records were stored. */
  readonly onStored?: (counts: ElasticAuditCounts) => void;
}

/** Rejects with `SERVER_UNUSABLE`, naming `elasticsearch.url`, within ten seconds. */
export async function openElasticAuditSink(
  settings: ElasticSettings,
  options: ElasticSinkOptions,
): Promise<ViewSink> {
  const link = await openElasticLink(settings, options.environment, options);
  try {
    return new ElasticAuditSink(link, settings, await prepareIndices(link, settings), options);
  } catch (error) {
    await link.close();
    throw error;
  }
}

interface Planned {
  readonly writes: readonly EntryWrite[];
  /** Where the chains end once all is written. */
  readonly ends: ReadonlyMap<string, ChainState>;
  readonly repeats: number;
  readonly conflicts: number;
}

class ElasticAuditSink implements ViewSink {
  readonly #link: ElasticLink;
  readonly #settings: ElasticSettings;
  readonly #retention: Retention;
  readonly #options: ElasticSinkOptions;
  readonly #finder: RecordFinder;
  readonly #chains: ChainStore;
  /** Chains that this process feeds, as far as it knows. */
  readonly #states = new Map<string, ChainState>();
  /** Chains that have grown since they were sealed. */
  readonly #unsealed = new Map<string, ChainState>();
  #turn: Promise<void> = Promise.resolve();
  #sealedMs = Number.NEGATIVE_INFINITY;
  #restUntilMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;

  constructor(
    link: ElasticLink,
    settings: ElasticSettings,
    retention: Retention,
    options: ElasticSinkOptions,
  ) {
    this.#link = link;
    this.#settings = settings;
    this.#retention = retention;
    this.#options = options;
    this.#finder = new RecordFinder(link, settings);
    this.#chains = new ChainStore(link, this.#finder, settings);
  }

  async append(records: readonly FeedRecord[]): Promise<void> {
    if (records.length === 0) return;
    await this.#inTurn(async () => {
      const entries = records.map((record) => readEntry(record));
      const planned = await this.#plan(entries);
      try {
        await this.#store(planned);
      } catch (error) {
        // Some of it may be there: what is given again is looked for.
        for (const chain of planned.ends.keys()) this.#states.delete(chain);
        throw error;
      }
    });
  }

  async maintain(nowMs: number): Promise<void> {
    await this.#inTurn(async () => {
      await this.#seal();
      const { monotonicMs } = this.#options.environment;
      if (this.#settings.retentionDays === 0 || monotonicMs() < this.#restUntilMs) return;
      await this.#removeOld(nowMs);
      this.#restUntilMs = monotonicMs() + RETENTION_REST_MS;
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // Calls under way end with the link, at the latest when their time is over.
    const last = this.#turn;
    const sealed = last.then(() => this.#seal()).catch(() => undefined);
    await this.#within(sealed, this.#settings.connectTimeoutMs);
    await this.#link.close();
    await last;
  }

  async #within(work: Promise<void>, timeoutMs: number): Promise<void> {
    const { promise: timeout, resolve } = Promise.withResolvers<void>();
    const timer = this.#options.environment.startTimer(timeoutMs, resolve);
    await Promise.race([work, timeout]);
    timer.cancel();
  }

  async #plan(entries: readonly AuditEntry[]): Promise<Planned> {
    const { sequencesLast = () => true } = this.#options;
    const chained = entries.filter(({ topic }) => sequencesLast(topic));
    const loose = entries.filter(({ topic }) => !sequencesLast(topic));
    const given = new Map(
      [...Map.groupBy(chained, ({ topic, partition }) => chainName(topic, partition))].map(
        ([chain, ofChain]) => [chain, inOrder(ofChain)] as const,
      ),
    );
    const unknown = new Map(
      [...given].filter(
        ([chain, [first]]) => !follows(this.#states.get(chain), first?.sequence ?? 0),
      ),
    );
    const taken = await this.#chains.takeOn(unknown);
    const ends = new Map<string, ChainState>();
    const writes = loose.map((entry) => unchainedWrite(entry, this.#settings));
    let repeats = 0;
    let conflicts = 0;
    for (const [chain, ofChain] of given) {
      const previous = taken.get(chain)?.previous ?? this.#states.get(chain);
      if (previous === undefined) continue;
      const known = taken.get(chain)?.known ?? NOTHING_KNOWN;
      const linked = linkEntries(ofChain, previous, known, this.#settings);
      writes.push(...linked.writes);
      ends.set(chain, linked.end);
      repeats += linked.repeats;
      conflicts += linked.conflicts;
    }
    return { writes, ends, repeats, conflicts };
  }

  async #store(planned: Planned): Promise<void> {
    const written = await writeDocuments(this.#link, planned.writes, this.#settings);
    const { strangers, broken } = await this.#lookAtMet(written);
    const aside = strangers.map(({ entry }) => unchainedWrite(entry, this.#settings));
    const all = [...written, ...(await writeDocuments(this.#link, aside, this.#settings))];
    for (const [chain, end] of planned.ends) {
      // Where it really ends is looked for the next time.
      if (broken.has(chain)) this.#states.delete(chain);
      else {
        this.#states.set(chain, end);
        this.#unsealed.set(chain, end);
      }
    }
    this.#report(all, planned, strangers.length);
    const { monotonicMs } = this.#options.environment;
    if (monotonicMs() - this.#sealedMs >= this.#settings.sealMs) await this.#sealQuietly();
  }

  /**
   * Looks at what stands where something was to be written: most often the same, from another
   * member. Finds records whose place another message has, and chains that are not as was thought.
   */
  async #lookAtMet(written: readonly Written[]): Promise<{
    readonly strangers: readonly EntryWrite[];
    readonly broken: ReadonlySet<string>;
  }> {
    const broken = new Set<string>();
    const strangers: EntryWrite[] = [];
    for (const { write, outcome } of written) {
      if (outcome === "refused") broken.add(write.document.chain ?? "");
    }
    const met = written.filter(
      ({ write, outcome }) => outcome === "exists" && write.document.chain !== undefined,
    );
    const there = await this.#finder.documents<Placed>(
      met.map(({ write }) => write),
      PLACED,
    );
    for (const { write } of met) {
      const found = there.get(write.id);
      if (found?.hash === write.document.hash) continue;
      broken.add(write.document.chain ?? "");
      if (found !== undefined && !isSame(found, write.entry)) strangers.push(write);
    }
    return { strangers, broken };
  }

  #report(written: readonly Written[], { repeats, conflicts }: Planned, strangers: number): void {
    const of = (outcome: Written["outcome"]) =>
      written.filter((one) => one.outcome === outcome).length;
    const taken = written.filter(({ outcome }) => outcome === "stored" || outcome === "reduced");
    const counts: ElasticAuditCounts = {
      recorded: taken.length,
      repeats: repeats + of("exists") - strangers,
      faults: taken.filter(({ write }) => write.entry.fault !== null).length,
      unchained: taken.filter(({ write }) => write.document.chain === undefined).length,
      reduced: of("reduced"),
      refused: of("refused"),
      conflicts: conflicts + strangers,
    };
    this.#options.onStored?.(counts);
    if (counts.conflicts > 0) {
      const text = `audit: ${counts.conflicts} records stand where others stand; kept aside`;
      this.#options.onLog?.("warn", text);
    }
    const misfit = written.find(({ outcome }) => outcome === "refused" || outcome === "reduced");
    if (misfit === undefined) return;
    const fault = describeFault(misfit.fault ?? {});
    const text = `audit: ${counts.reduced} records reduced, ${counts.refused} not taken: ${fault}`;
    this.#options.onLog?.("warn", text);
  }

  async #seal(): Promise<void> {
    const heads = new Map(this.#unsealed);
    await this.#chains.seal(heads);
    for (const [chain, head] of heads) {
      if (this.#unsealed.get(chain) === head) this.#unsealed.delete(chain);
    }
    this.#sealedMs = this.#options.environment.monotonicMs();
  }

  /** The records are safe: a seal that fails is set the next time. */
  async #sealQuietly(): Promise<void> {
    try {
      await this.#seal();
    } catch (error) {
      const text = `audit: the heads are sealed later: ${describeError(error)}`;
      this.#options.onLog?.("info", text);
    }
  }

  async #removeOld(nowMs: number): Promise<void> {
    const { body } = await this.#link.ask<readonly { readonly index: string }[]>({
      method: "GET",
      path: `/_cat/indices/${recordsPattern(this.#settings)}`,
      query: { format: "json", h: "index" },
    });
    const keptMs = this.#settings.retentionDays * DAY_MS;
    for (const { index } of body) {
      const endMs = indexEndMs(this.#settings, index);
      if (endMs === undefined || endMs + keptMs > nowMs) continue;
      await this.#chains.noteFloors(index);
      if (this.#retention === "server") continue;
      await this.#link.ask({ method: "DELETE", path: `/${index}`, allowed: [404] });
      this.#options.onLog?.("info", `audit: ${index} is older than is kept and was deleted`);
    }
  }

  /** One after the other: a chain is linked by one at a time. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const result = this.#turn.then(async () => {
      if (this.#isClosed) throw closed();
      await work();
    });
    this.#turn = result.catch(() => undefined);
    return result;
  }
}

const NOTHING_KNOWN: ReadonlyMap<string, Placed> = new Map();

function closed(): ShopError {
  return new ShopError("CLOSED", "the audit on elasticsearch is closed", "never");
}
