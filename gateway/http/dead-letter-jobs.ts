/**
 * Acts on many dead letters: chunk by chunk, at a rate, until what fits the filter is through.
 *
 * A job handles what was buried before it began, oldest first, so that a letter which fails again
 * is not put back for ever. Each chunk is one command and atomic: a job that is cut off is simply
 * started again. Jobs live in memory; how many run and how many are remembered is bounded, and
 * one more than may run is refused.
 */

import type { LetterResult } from "../../actors/contracts/order-state.ts";
import type { DeadLetterReads, LetterFilter } from "../../actors/dead-letters/letter-port.ts";
import type { LetterCommand } from "../../actors/dead-letters/letter-unit.ts";
import type { Environment, Timer } from "../../runtime/environment.ts";
import { assert, isShopError, ShopError } from "../../runtime/errors.ts";
import { SAMPLE_MAX } from "./dead-letter-schemas.ts";
import type { CommandPort } from "./command-port.ts";

const RUNNING_MAX = 4;
const REMEMBERED_MAX = 100;
/** The contract takes no more in one command. */
const CHUNK_MAX = 100;
/** Chunks that a second's worth of letters is cut into. */
const CHUNKS_PER_SECOND = 4;
/** Times a chunk is sent again after it came to nothing. */
const RETRIES_MAX = 5;
const RETRY_DELAY_MS = 1_000;

export interface LetterJobRequest {
  readonly act: { readonly kind: "redrive" } | { readonly kind: "discard"; readonly why: string };
  readonly filter: LetterFilter;
  readonly limit: number;
  readonly ratePerSecond: number;
  readonly correlationId: string;
}

export interface LetterJob {
  readonly id: string;
  readonly act: "redrive" | "discard";
  readonly state: "running" | "done" | "failed" | "stopped";
  readonly tally: Readonly<Record<LetterResult["result"], number>>;
  /** The first of them. */
  readonly refusedIds: readonly number[];
  readonly startedAtMs: number;
  readonly endedAtMs?: number;
  /** Why it failed. */
  readonly detail?: string;
}

export interface LetterJobsOptions {
  readonly environment: Environment;
  readonly commands: CommandPort;
  readonly letters: Pick<DeadLetterReads, "extent" | "ids">;
  /** How long a shard may take for one chunk. */
  readonly commandTimeoutMs: number;
  readonly onFailure?: (error: unknown, correlationId: string) => void;
}

export interface LetterJobs {
  /** `undefined`: as many are running as may. */
  start(request: LetterJobRequest): LetterJob | undefined;
  get(id: string): LetterJob | undefined;
  /** The job `id` once it has ended, or as it is after `withinMs`. */
  settled(id: string, withinMs: number): Promise<LetterJob | undefined>;
  /** Stops every job after the chunk it is at, and starts none any more. Idempotent. */
  close(): void;
}

interface Running {
  readonly request: LetterJobRequest;
  job: LetterJob;
  ended: Promise<void>;
}

export function createLetterJobs(options: LetterJobsOptions): LetterJobs {
  const { environment, letters } = options;
  const jobs = new Map<string, Running>();
  const naps = new Map<() => void, Timer>();
  let isClosed = false;

  function nap(durationMs: number): Promise<void> {
    if (isClosed) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        naps.get(wake)?.cancel();
        naps.delete(wake);
        resolve();
      };
      naps.set(wake, environment.startTimer(durationMs, wake));
    });
  }

  async function run(running: Running): Promise<void> {
    try {
      const isComplete = await work(running);
      end(running, isComplete ? "done" : "stopped");
    } catch (error) {
      if (!isShopError(error)) options.onFailure?.(error, running.request.correlationId);
      const what = isShopError(error) ? error.code : "a bug of ours, see the log";
      end(running, "failed", `the shards did not carry it out: ${what}`);
    }
  }

  function end(running: Running, state: LetterJob["state"], detail?: string): void {
    const endedAtMs = environment.nowMs();
    const why = detail === undefined ? {} : { detail };
    running.job = { ...running.job, state, endedAtMs, ...why };
  }

  /** False when it was stopped before it was through. */
  async function work(running: Running): Promise<boolean> {
    const { filter, limit, ratePerSecond } = running.request;
    const startMs = environment.monotonicMs();
    const { lastId: throughId } = await letters.extent(filter);
    const share = Math.ceil(ratePerSecond / CHUNKS_PER_SECOND);
    for (let afterId = 0, taken = 0; taken < limit;) {
      const chunk = Math.min(share, CHUNK_MAX, limit - taken);
      const ids = await letters.ids(filter, { afterId, throughId, limit: chunk });
      const lastId = ids.at(-1);
      if (lastId === undefined) return true;
      if (isClosed || !(await send(running, ids))) return false;
      if (ids.length < chunk) return true;
      taken += ids.length;
      afterId = lastId;
      const dueMs = startMs + (taken * 1_000) / ratePerSecond;
      const waitMs = dueMs - environment.monotonicMs();
      if (waitMs > 0 && taken < limit) await nap(waitMs);
    }
    return true;
  }

  /** Sends `ids` until each has a result; false when it was stopped first. */
  async function send(running: Running, ids: readonly number[]): Promise<boolean> {
    let rest = ids;
    for (let retries = 0; ; retries++) {
      const { results, error } = await attempt(running.request, rest);
      running.job = count(running.job, results);
      const reached = new Set(results.map(({ id }) => id));
      rest = rest.filter((id) => !reached.has(id));
      if (rest.length === 0) return true;
      if (isClosed) return false;
      if (results.length > 0) retries = 0;
      if (retries >= RETRIES_MAX) throw error ?? new ShopError("SATURATED", "no answer", "later");
      await nap(RETRY_DELAY_MS);
    }
  }

  /** One command. An error that another attempt may mend is returned, any other thrown. */
  async function attempt(
    { act, correlationId }: LetterJobRequest,
    ids: readonly number[],
  ): Promise<{ readonly results: readonly LetterResult[]; readonly error?: ShopError }> {
    try {
      const sent = { deadlineMs: options.commandTimeoutMs, correlationId };
      const reply = await options.commands.send(commandFor(act, ids), sent);
      if (reply.kind === "letters") return { results: reply.results };
      assert(reply.kind === "refused", `letters were answered with ${reply.kind}`);
      const isLater = reply.code === "storage_unavailable" || reply.code === "expired";
      const error = new ShopError("STORAGE_FAULT", reply.detail, isLater ? "later" : "never");
      if (!isLater) throw error;
      return { results: [], error };
    } catch (error) {
      if (!isShopError(error) || error.retry === "never") throw error;
      return { results: [], error };
    }
  }

  function makeRoom(): void {
    for (const [id, { job }] of jobs) {
      if (jobs.size < REMEMBERED_MAX) return;
      if (job.state !== "running") jobs.delete(id);
    }
  }

  return {
    start(request) {
      const runningCount = [...jobs.values()].filter(({ job }) => job.state === "running").length;
      if (isClosed || runningCount >= RUNNING_MAX) return undefined;
      makeRoom();
      const job: LetterJob = {
        id: environment.newId(),
        act: request.act.kind,
        state: "running",
        tally: { redriven: 0, discarded: 0, missing: 0, refused: 0 },
        refusedIds: [],
        startedAtMs: environment.nowMs(),
      };
      const running: Running = { request, job, ended: Promise.resolve() };
      jobs.set(job.id, running);
      running.ended = run(running);
      return job;
    },
    get: (id) => jobs.get(id)?.job,
    async settled(id, withinMs) {
      const running = jobs.get(id);
      if (running === undefined) return undefined;
      let timer: Timer | undefined;
      const late = new Promise<void>((resolve) => {
        timer = environment.startTimer(withinMs, resolve);
      });
      await Promise.race([running.ended, late]);
      timer?.cancel();
      return running.job;
    },
    close() {
      isClosed = true;
      for (const wake of naps.keys()) wake();
    },
  };
}

/** `letterKey` spreads the chunks over the shards, and means nothing else. */
export function commandFor(act: LetterJobRequest["act"], ids: readonly number[]): LetterCommand {
  const fields = { letterKey: String(ids[0]), ids: [...ids] };
  return act.kind === "redrive"
    ? { type: "deadletter.redrive", ...fields }
    : { type: "deadletter.discard", ...fields, why: act.why };
}

function count(job: LetterJob, results: readonly LetterResult[]): LetterJob {
  const tally = { ...job.tally };
  const refusedIds = [...job.refusedIds];
  for (const { id, result } of results) {
    tally[result]++;
    if (result === "refused" && refusedIds.length < SAMPLE_MAX) refusedIds.push(id);
  }
  return { ...job, tally, refusedIds };
}
