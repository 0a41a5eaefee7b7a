/**
 * Scores on a piscina pool of one thread, which starts with the first batch and ends when idle.
 *
 * A batch whose signal is aborted takes its thread with it, for that is the only way to stop a
 * thread that hangs; the next batch gets a new one. Whatever goes wrong in the pool is
 * `CHECK_UNAVAILABLE`. Refuses batches after `close`.
 */

import { Piscina } from "piscina";

import type { Environment } from "../../runtime/environment.ts";
import type { ScoredBatch, Scorer, ScoringTask } from "./score-batch.ts";
import type { FraudThresholds } from "./thresholds.ts";

import { describeError, ShopError } from "../../runtime/errors.ts";
import { checkThresholds } from "./thresholds.ts";

export interface PoolScorerOptions {
  readonly environment: Environment;
  readonly thresholds: FraudThresholds;
  /** A thread without work for so long ends. */
  readonly idleMs?: number;
  /** Module that exports `scoreBatch`; another one in tests. */
  readonly worker?: URL;
  /** A thread failed between two batches; for the log. Must not throw. */
  readonly onTrouble?: (detail: string) => void;
}

const IDLE_MS = 60_000;
/** The wait of `close` for a thread that has not said yet that it is there. */
const START_MS_MAX = 5_000;

export function createPoolScorer(options: PoolScorerOptions): Scorer {
  const { environment, thresholds, idleMs = IDLE_MS, onTrouble } = options;
  const worker = options.worker ?? new URL("scoring-worker.ts", import.meta.url);
  checkThresholds(thresholds);
  let isClosed = false;
  let ready = new Set<unknown>();
  const pool = new Piscina<ScoringTask, ScoredBatch>({
    filename: worker.href,
    name: "scoreBatch",
    minThreads: 0,
    maxThreads: 1,
    maxQueue: 1,
    idleTimeout: idleMs,
    // A thread that waits in `Atomics.wait` hears nothing else, its own failures included.
    atomics: "disabled",
    recordTiming: false,
    workerData: thresholds,
  });
  // Without a listener a failure of an idle thread would end the shard.
  pool.on("error", (error) => onTrouble?.(describeError(error)));
  pool.on("workerCreate", () => void (ready = new Set(pool.threads)));

  async function score(task: ScoringTask, signal: AbortSignal): Promise<ScoredBatch> {
    if (isClosed) throw new ShopError("CLOSED", "the fraud check is closed", "later");
    try {
      return await pool.run(task, { signal });
    } catch (error) {
      const why = signal.aborted ? "took too long" : describeError(error);
      throw new ShopError("CHECK_UNAVAILABLE", `scoring a batch: ${why}`, "later", {
        cause: error,
      });
    }
  }

  /** Bun may crash when a thread is terminated before it has started. */
  async function startedThreads(): Promise<void> {
    if (pool.threads.every((thread) => ready.has(thread))) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    pool.once("workerCreate", resolve);
    pool.once("workerDestroy", resolve);
    const timer = environment.startTimer(START_MS_MAX, resolve);
    await promise;
    timer.cancel();
  }

  return {
    score,
    async close() {
      if (isClosed) return;
      isClosed = true;
      await startedThreads();
      await pool.destroy();
    },
  };
}
