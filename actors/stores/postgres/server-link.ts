/**
 * Connections to a server that may stop answering: what waits too long is cut off and made anew.
 *
 * The client library waits for ever, and sends what it still has on a connection of its own choice
 * at a time of its own. Here everything ends with the connections it was sent on, and whoever
 * writes asks what became of it. Refuses nothing; says to the watch how it goes.
 */

import type { Sql } from "postgres";

import type { Environment } from "../../../runtime/environment.ts";
import type { OutageWatch } from "./outage-watch.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { postgresFailure } from "./postgres-failure.ts";

export interface ServerLinkOptions {
  readonly environment: Environment;
  readonly watch: Pick<OutageWatch, "succeeded" | "failed">;
  /** A client that is not connected yet. */
  readonly connect: () => Sql;
  /** After which a server without an answer counts as lost. */
  readonly answerMs: number;
}

const PAUSE_FIRST_MS = 20;
const PAUSE_MAX_MS = 1_000;
const CLOSE_SECONDS = 2;

export class ServerLink {
  readonly #options: ServerLinkOptions;
  #sql: Sql | undefined;
  #pauseMs = PAUSE_FIRST_MS;
  #isClosed = false;

  constructor(options: ServerLinkOptions) {
    this.#options = options;
  }

  /** Does `work`; rejects as it does, and when there is no answer in time as if it was cut off. */
  async within<Result>(work: (sql: Sql) => Promise<Result>): Promise<Result> {
    if (this.#isClosed) throw closed();
    const { environment, answerMs, watch, connect } = this.#options;
    const sql = (this.#sql ??= connect());
    // What is in flight on connections that are ended rejects.
    const timer = environment.startTimer(answerMs, () => this.#end(sql));
    try {
      const result = await work(sql);
      this.#pauseMs = PAUSE_FIRST_MS;
      watch.succeeded();
      return result;
    } catch (error) {
      const kind = postgresFailure(error);
      if (kind === "lost" || kind === "unreached") watch.failed(error);
      throw error;
    } finally {
      timer.cancel();
    }
  }

  /** Ends the connections with all that is in flight. The next `within` makes others. */
  drop(): void {
    if (this.#sql !== undefined) this.#end(this.#sql);
  }

  /** Waits, longer each time until something succeeds; false once `deadlineMs` has come. */
  async pause(deadlineMs: number): Promise<boolean> {
    const { environment } = this.#options;
    const leftMs = deadlineMs - environment.monotonicMs();
    if (leftMs <= 0 || this.#isClosed) return false;
    const delayMs = Math.min(leftMs, this.#pauseMs * (0.5 + environment.random()));
    this.#pauseMs = Math.min(PAUSE_MAX_MS, this.#pauseMs * 2);
    await new Promise<void>((resolve) => void environment.startTimer(delayMs, resolve));
    return true;
  }

  /** Idempotent. What is in flight has two seconds to end by itself. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#sql?.end({ timeout: CLOSE_SECONDS });
  }

  #end(sql: Sql): void {
    if (this.#sql === sql) this.#sql = undefined;
    void sql.end({ timeout: 0 });
  }
}

function closed(): ShopError {
  return new ShopError("CLOSED", "the connection to PostgreSQL is closed", "never");
}
