/**
 * Reads of a store that this process need not have: opened when they are first asked for.
 *
 * What cannot be opened is told to whoever asks, with the setting and without an address, and is
 * tried again by whoever asks later: not at once, for a server that does not answer takes its time
 * each time. Refuses with `READS_UNAVAILABLE`, which nobody else uses: its text is for clients.
 */

import type { Environment } from "../runtime/environment.ts";
import type { AnalyticsReads } from "../actors/analytics/analytics-reads.ts";
import type { AuditReads } from "../actors/audit/audit-reads.ts";

import { describeError, ShopError } from "../runtime/errors.ts";

/** After a failure who asks is refused at once for so long. */
export const RETRY_AFTER_MS = 5_000;

export interface LateReadsOptions<Reads> {
  readonly environment: Pick<Environment, "monotonicMs">;
  /** "analytics" */
  readonly what: string;
  /** Where its store is set: "mongodb.url". */
  readonly setting: string;
  readonly open: () => Promise<Reads>;
  readonly onLog: (level: "warning", text: string) => void;
}

class LateReads<Reads extends { close(): void }> {
  readonly #options: LateReadsOptions<Reads>;
  #opening: Promise<Reads> | undefined;
  #refusedUntilMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;

  constructor(options: LateReadsOptions<Reads>) {
    this.#options = options;
  }

  async use<Result>(work: (reads: Reads) => Promise<Result>): Promise<Result> {
    const { environment, what } = this.#options;
    if (this.#isClosed) throw new ShopError("CLOSED", `the reads of ${what} are closed`, "never");
    if (environment.monotonicMs() < this.#refusedUntilMs) throw this.#refusal();
    // Who comes while it is being opened waits with whoever came first.
    this.#opening ??= this.#open();
    return await work(await this.#opening);
  }

  close(): void {
    this.#isClosed = true;
    // One that could not be opened has nothing to close.
    this.#opening?.then(
      (reads) => reads.close(),
      () => undefined,
    );
  }

  async #open(): Promise<Reads> {
    const { environment, what, open, onLog } = this.#options;
    try {
      return await open();
    } catch (error) {
      this.#opening = undefined;
      this.#refusedUntilMs = environment.monotonicMs() + RETRY_AFTER_MS;
      onLog("warning", `${what} cannot be read: ${describeError(error)}`);
      throw this.#refusal(error);
    }
  }

  #refusal(cause?: unknown): ShopError {
    const { what, setting } = this.#options;
    const problem = `this process cannot use the server that keeps ${what}, see ${setting}`;
    return new ShopError("READS_UNAVAILABLE", problem, "later", { cause });
  }
}

export function lateAudit(options: LateReadsOptions<AuditReads>): AuditReads {
  const late = new LateReads(options);
  return {
    head: () => late.use((reads) => reads.head()),
    search: (query) => late.use((reads) => reads.search(query)),
    verify: (range) => late.use((reads) => reads.verify(range)),
    close: () => late.close(),
  };
}

export function lateAnalytics(options: LateReadsOptions<AnalyticsReads>): AnalyticsReads {
  const late = new LateReads(options);
  return {
    query: (query) => late.use((reads) => reads.query(query)),
    realtime: (nowMs) => late.use((reads) => reads.realtime(nowMs)),
    close: () => late.close(),
  };
}

/**
 * Of a store that nobody can share, in a process that does not keep it: others may. `needed`:
 * "audit.store = elasticsearch".
 */
export function absentFrom(what: string, needed: string): () => Promise<never> {
  const problem = `this process has no ${what}: roles leave it out, and reading it needs ${needed}`;
  return () => Promise.reject(new ShopError("READS_UNAVAILABLE", problem, "never"));
}
