/**
 * Writes batches of units, one after the other, and finds out what became of each.
 *
 * The first attempt assumes that the database is as the units expect, and takes one round trip.
 * When something is not so, the batch is planned again from what is read under locks. A batch
 * whose answer was lost is decided by its number: either the database has it, or the number is
 * used up, after which a late copy of the batch can no longer be written. Only when the server
 * does not answer for `commitWaitMs` is the outcome left open, as `INDETERMINATE`; then nothing
 * more is written before it is known.
 */

import type { Sql } from "postgres";

import type { Environment } from "../../../runtime/environment.ts";
import type { ShopError } from "../../../runtime/errors.ts";
import type { CommitResult, UnitOfWork } from "../unit-of-work.ts";
import type { BatchPlan } from "./batch-plan.ts";
import type { ServerLink } from "./server-link.ts";

import { assert, isShopError } from "../../../runtime/errors.ts";
import { frameSlot } from "../../../runtime/frames/frame.ts";
import { parseNumbers } from "./array-literals.ts";
import { batchParameters, COMMIT_UNITS } from "./batch-parameters.ts";
import { planBatch, reachOf } from "./batch-plan.ts";
import { readKnownState, run } from "./batch-state.ts";
import { postgresFailure, storageFailure } from "./postgres-failure.ts";

/** A frame that was committed to the outbox. */
export interface OutgoingRow {
  readonly id: number;
  readonly topic: string;
  readonly slot: number;
  readonly frame: Uint8Array;
}

export type UnitResult = CommitResult | ShopError;

export interface WrittenBatch {
  /** One for each unit. */
  readonly results: readonly UnitResult[];
  /** In the order of commit; `unknown`: there may be some, and only the table knows them. */
  readonly outgoing: readonly OutgoingRow[] | "unknown";
  /** Why nothing else can be written now either: the server does not answer. */
  readonly outage?: ShopError;
}

export interface BatchWriterOptions {
  readonly environment: Environment;
  readonly link: Pick<ServerLink, "within" | "drop" | "pause">;
  /** Names this writer in the database; of one incarnation. */
  readonly writerId: string;
  /** The row of `relays` without which nothing is written; absent: nobody fences this writer. */
  readonly relayId?: string | undefined;
  readonly commitWaitMs: number;
}

/** Attempts of one batch against rows that moved each time. */
const ATTEMPTS_MAX = 8;
/** Batches that are read first after one that had assumed wrongly. */
const CAREFUL_BATCHES = 8;

const NOTHING: WrittenBatch = { results: [], outgoing: [] };

/** Says where this writer stands, also when nobody has heard of it. */
const REGISTER = `INSERT INTO writers (id, batch, at) VALUES ($1::uuid, $2::bigint, $3::bigint)
  ON CONFLICT (id) DO NOTHING`;
/** Waits for a transaction that still runs, and leaves no place for one that comes later. */
const GIVE_UP = `UPDATE writers SET batch = $2::bigint + 1 WHERE id = $1::uuid
  AND batch = $2::bigint - 1`;
const SELECT_BATCH = "SELECT batch FROM writers WHERE id = $1::uuid";

export class BatchWriter {
  readonly #options: BatchWriterOptions;
  /** Number of the last batch that is decided: written or given up. */
  #batch = 0;
  /** Whether the database is known to stand at `#batch`. */
  #isDecided = false;
  /** Whether a batch may be on its way that nobody waits for any more. */
  #mayHang = false;
  #carefulLeft = 0;
  /** Of the attempt in hand, once there is one. */
  #plan: BatchPlan | undefined;

  constructor(options: BatchWriterOptions) {
    this.#options = options;
  }

  /** Whether it is open what became of a batch, be it the one in hand. */
  get isInDoubt(): boolean {
    return this.#mayHang && !this.#isDecided;
  }

  /**
   * What the server cannot do is said in the results; rejects only with bugs. Of no units: ends
   * the doubt about earlier batches, if there is any.
   */
  async write(units: readonly UnitOfWork[]): Promise<WrittenBatch> {
    const deadlineMs = this.#options.environment.monotonicMs() + this.#options.commitWaitMs;
    // An earlier batch may have been written after all, and its frames be in the table.
    const isUnknown = this.isInDoubt;
    const outage = await this.#decide(deadlineMs);
    if (outage !== undefined) return { ...refused(units, outage), outage };
    const written = units.length === 0 ? NOTHING : await this.#writeUntil(units, deadlineMs);
    return isUnknown ? { ...written, outgoing: "unknown" } : written;
  }

  async #writeUntil(units: readonly UnitOfWork[], deadlineMs: number): Promise<WrittenBatch> {
    const { environment } = this.#options;
    for (let moves = 0; ;) {
      try {
        return await this.#attempt(units, moves > 0);
      } catch (error) {
        const kind = postgresFailure(error);
        if (kind === undefined) {
          this.#isDecided = false;
          throw error;
        }
        if (kind === "moved") {
          this.#carefulLeft = CAREFUL_BATCHES;
          if (++moves === ATTEMPTS_MAX) return refused(units, storageFailure(kind, error));
        } else if (kind === "lost" || kind === "decided" || kind === "unreached") {
          const found = await this.#settle(deadlineMs);
          if (found === "written") return { results: this.#outcomes(), outgoing: "unknown" };
          if (found !== "not_written") {
            // What was never sent is not in doubt.
            const failure = kind === "lost" ? storageFailure(kind, error) : found;
            return { ...refused(units, failure), outage: found };
          }
          if (environment.monotonicMs() >= deadlineMs) {
            return refused(units, storageFailure("unreached", error));
          }
        } else if (kind === "refused" && units.length > 1) {
          return await this.#oneByOne(units);
        } else {
          return refused(units, storageFailure(kind, error));
        }
      }
    }
  }

  async #attempt(units: readonly UnitOfWork[], isAgain: boolean): Promise<WrittenBatch> {
    const { link } = this.#options;
    this.#plan = undefined;
    const isCareful = isAgain || this.#carefulLeft > 0;
    const ids = await link.within((sql) =>
      isCareful ? this.#writeRead(sql, units) : this.#writeAssumed(sql, units),
    );
    if (!isAgain && isCareful) this.#carefulLeft--;
    const outgoing = this.#rows(ids);
    return { results: this.#outcomes(), outgoing };
  }

  async #writeAssumed(sql: Sql, units: readonly UnitOfWork[]): Promise<readonly number[]> {
    this.#plan = planBatch(units);
    const [row] = await run<{ ids: string }>(sql, COMMIT_UNITS, this.#parameters(this.#plan));
    this.#batch++;
    return parseNumbers(row?.ids ?? "");
  }

  async #writeRead(sql: Sql, units: readonly UnitOfWork[]): Promise<readonly number[]> {
    const ids = await sql.begin(async (tx) => {
      const plan = planBatch(units, await readKnownState(tx, reachOf(units)));
      this.#plan = plan;
      if (!plan.outcomes.some(({ kind }) => kind === "committed")) return undefined;
      const [row] = await run<{ ids: string }>(tx, COMMIT_UNITS, this.#parameters(plan));
      return parseNumbers(row?.ids ?? "");
    });
    if (ids !== undefined) this.#batch++;
    return ids ?? [];
  }

  #parameters(plan: BatchPlan): (string | null)[] {
    const { writerId, relayId, environment } = this.#options;
    const nowMs = environment.nowMs();
    return batchParameters(plan, { writerId, relayId, nowMs, batch: this.#batch + 1 });
  }

  #outcomes(): readonly CommitResult[] {
    assert(this.#plan !== undefined, "what was written had a plan");
    return this.#plan.outcomes;
  }

  #rows(ids: readonly number[]): readonly OutgoingRow[] {
    const frames = this.#plan?.outgoing ?? [];
    assert(ids.length === frames.length, `${frames.length} frames with ${ids.length} numbers`);
    return frames.map(({ topic, frame }, index) => {
      const id = ids[index];
      assert(id !== undefined, "every frame has a number in the outbox");
      return { id, topic, slot: frameSlot(frame), frame };
    });
  }

  /** After data that the server refuses: alone, each unit answers for itself. */
  async #oneByOne(units: readonly UnitOfWork[]): Promise<WrittenBatch> {
    const results: UnitResult[] = [];
    const outgoing: OutgoingRow[] = [];
    let isUnknown = false;
    for (const unit of units) {
      const written = await this.write([unit]);
      results.push(...written.results);
      if (written.outgoing === "unknown") isUnknown = true;
      else outgoing.push(...written.outgoing);
    }
    return { results, outgoing: isUnknown ? "unknown" : outgoing };
  }

  /** What became of the batch in hand, or why it cannot be found out. */
  async #settle(deadlineMs: number): Promise<"written" | "not_written" | ShopError> {
    const before = this.#batch;
    this.#isDecided = false;
    this.#options.link.drop();
    const outage = await this.#decide(deadlineMs);
    if (outage !== undefined) return outage;
    return this.#batch === before + 1 ? "written" : "not_written";
  }

  /**
   * Brings `#batch` to where the database stands, and makes sure that nothing older is written
   * after. Answers why it could not, once `deadlineMs` has passed.
   */
  async #decide(deadlineMs: number): Promise<ShopError | undefined> {
    const { link } = this.#options;
    while (!this.#isDecided) {
      try {
        await link.within((sql) => this.#askWhereItStands(sql));
      } catch (error) {
        if (isShopError(error, "CLOSED")) return error;
        const kind = postgresFailure(error);
        if (kind === undefined) throw error;
        link.drop();
        const isInTime = await link.pause(deadlineMs);
        if (!isInTime) return storageFailure(kind === "lost" ? "fault" : kind, error);
      }
    }
    return undefined;
  }

  async #askWhereItStands(sql: Sql): Promise<void> {
    const { environment, writerId } = this.#options;
    await run(sql, REGISTER, [writerId, `${this.#batch}`, `${environment.nowMs()}`]);
    const next = this.#batch + 1;
    if (this.#mayHang) await run(sql, GIVE_UP, [writerId, `${next}`]);
    const [row] = await run<{ batch: string }>(sql, SELECT_BATCH, [writerId]);
    const stands = Number(row?.batch);
    assert(stands >= next - 1 && stands <= next + 1, `batch ${next}, but it stands at ${stands}`);
    this.#batch = stands;
    this.#isDecided = true;
    this.#mayHang = true;
  }
}

function refused(units: readonly UnitOfWork[], failure: ShopError): WrittenBatch {
  return { results: units.map(() => failure), outgoing: [] };
}
