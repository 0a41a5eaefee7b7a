/**
 * What the journal's thread does by the clock: it fires durable timers, checks leases, prunes and
 * scrubs.
 *
 * Each step is bounded in rows or milliseconds, so that commits never wait long behind it. A step
 * that storage refuses is reported and tried again; it never ends the thread.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { ShopError } from "../../runtime/errors.ts";
import type {
  Journal,
  JournalOutcome,
  JournalUnit,
  LogHolder,
  LogRecord,
} from "./journal/journal-types.ts";

import { isShopError } from "../../runtime/errors.ts";
import { namedHolder } from "./journal/log-holders.ts";
import { EMPTY_UNIT } from "./unit-of-work.ts";

/** Timers due within the same grain share a transaction. */
const TIMER_GRAIN_MS = 5;
const TIMERS_PER_STEP = 1_024;
/** Due timers wait so long for a transaction that is made anyway, if there are many of them. */
const RIDE_WAIT_MS = 20;
const LEASE_CHECK_MS = 250;
const HOUSEKEEPING_MS = 250;
const PRUNE_ROWS_PER_STEP = 2_000;
const SCRUB_BUDGET_MS = 2;
const RETRY_MS = 250;
/** The event loop's timers hold 31 bits of milliseconds; a later one is armed again on the way. */
const DELAY_MAX_MS = 86_400_000;

const FIRING: JournalUnit = { unit: EMPTY_UNIT, acks: [], timersFiredMax: TIMERS_PER_STEP };

export type JournalEvent =
  | {
      readonly kind: "committed";
      readonly units: number;
      readonly refused: number;
      readonly durationMs: number;
    }
  | { readonly kind: "refused"; readonly error: ShopError }
  | { readonly kind: "damaged"; readonly detail: string }
  /** A group holds much of the log, or none does any more. */
  | { readonly kind: "holding"; readonly holder: LogHolder | undefined }
  | {
      readonly kind: "depth";
      readonly group: string;
      readonly inHand: number;
      readonly waiting: number;
    };

export interface ClockworkOptions {
  readonly journal: Pick<
    Journal,
    "fireTimers" | "nextTimerDueMs" | "prune" | "scrub" | "maintain" | "logHolders"
  >;
  readonly environment: Environment;
  /** When the last transaction was made, on the monotonic clock. */
  readonly lastCommitMs: () => number;
  /** Commits what is pending, so that a timer cancelled before it was due does not fire. */
  readonly beforeTimers: () => void;
  readonly onFired: (records: readonly LogRecord[]) => void;
  readonly onLeaseCheck: () => void;
  readonly onEvent?: (event: JournalEvent) => void;
}

export class JournalClockwork {
  readonly #options: ClockworkOptions;
  readonly #leases: Timer;
  readonly #housekeeping: Timer;
  #dueMs: number | undefined;
  #timer: Timer | undefined;
  /** The timers that are due have waited for another's transaction. */
  #hasWaited = false;
  #stopped = false;
  #holder: LogHolder | undefined;

  constructor(options: ClockworkOptions) {
    this.#options = options;
    this.#leases = every(options.environment, LEASE_CHECK_MS, options.onLeaseCheck);
    this.#housekeeping = every(options.environment, HOUSEKEEPING_MS, () => this.#keepHouse());
    this.#arm(options.journal.nextTimerDueMs());
  }

  /** Timers that are about to be committed: the clock must not sleep past the first. */
  noteTimers(started: readonly { readonly dueAtMs: number }[]): void {
    for (const { dueAtMs } of started) {
      if (this.#dueMs === undefined || dueAtMs < this.#dueMs) this.#arm(dueAtMs);
    }
  }

  /** The unit that takes the timers that are due along in a transaction; absent: none is due. */
  firing(): JournalUnit | undefined {
    const isDue = this.#dueMs !== undefined && this.#dueMs <= this.#options.environment.nowMs();
    return isDue ? FIRING : undefined;
  }

  /** What came of `firing`. What was refused is tried by itself, and then its error is told. */
  fired(outcome: JournalOutcome | undefined): void {
    if (outcome?.kind !== "committed" || outcome.appended.length === 0) return;
    this.#options.onFired(outcome.appended);
    this.#tellRefusal(() => this.#arm(this.#options.journal.nextTimerDueMs()));
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#leases.cancel();
    this.#housekeeping.cancel();
  }

  #arm(dueMs: number | undefined): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#dueMs = dueMs;
    this.#hasWaited = false;
    if (dueMs === undefined || this.#stopped) return;
    const { environment } = this.#options;
    const untilDueMs = Math.max(TIMER_GRAIN_MS, dueMs - environment.nowMs());
    const delayMs = Math.min(untilDueMs, DELAY_MAX_MS);
    this.#timer = environment.startTimer(delayMs, () => this.#fire());
  }

  #fire(): void {
    if (this.#stopped) return;
    const { journal, environment, lastCommitMs, beforeTimers, onFired } = this.#options;
    if (!this.#hasWaited && environment.monotonicMs() - lastCommitMs() < RIDE_WAIT_MS) {
      this.#hasWaited = true;
      this.#timer = environment.startTimer(RIDE_WAIT_MS, () => this.#fire());
      return;
    }
    beforeTimers();
    this.#tellRefusal(() => {
      onFired(journal.fireTimers(environment.nowMs(), TIMERS_PER_STEP));
      this.#arm(journal.nextTimerDueMs());
    });
  }

  /** What storage refuses `act` is told, and the timers are tried again later. */
  #tellRefusal(act: () => void): void {
    const { environment, onEvent } = this.#options;
    try {
      act();
    } catch (error) {
      if (!isShopError(error, "STORAGE_FULL", "STORAGE_FAULT")) throw error;
      if (error.retry === "never") throw error;
      onEvent?.({ kind: "refused", error });
      this.#arm(environment.nowMs() + RETRY_MS);
    }
  }

  #keepHouse(): void {
    const { journal, environment, onEvent } = this.#options;
    try {
      journal.prune(environment.nowMs(), PRUNE_ROWS_PER_STEP);
      for (const { what, reason, ...where } of journal.scrub(SCRUB_BUDGET_MS)) {
        onEvent?.({ kind: "damaged", detail: `${what} ${JSON.stringify(where)}: ${reason}` });
      }
      journal.maintain();
      this.#nameHolder(journal.logHolders().largest);
    } catch (error) {
      if (!isShopError(error) || error.retry === "never") throw error;
      onEvent?.({ kind: "refused", error });
    }
  }

  #nameHolder(found: LogHolder | undefined): void {
    const holder = namedHolder(this.#holder, found);
    if (holder === this.#holder) return;
    this.#holder = holder;
    this.#options.onEvent?.({ kind: "holding", holder });
  }
}

function every(environment: Environment, periodMs: number, callback: () => void): Timer {
  let isCancelled = false;
  let timer = environment.startTimer(periodMs, tick);
  function tick(): void {
    callback();
    if (!isCancelled) timer = environment.startTimer(periodMs, tick);
  }
  return {
    cancel() {
      isCancelled = true;
      timer.cancel();
    },
  };
}
