/**
 * Watches calls of a handler, and gives up those that do not come back.
 *
 * A call that hangs would hold its key, its place among the concurrent calls and in the end its
 * lease for ever. Its place is free once it is slow, for a bounded number of them, so that a group
 * that works one batch at a time does not stand still; it is given up after a longer time. What it
 * may still do is harmless, because effects are guarded by inbox and versions. Nobody is blamed
 * for a hang while nothing else comes back either: then it is the store or the machine that hangs,
 * not the message.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";

import { Roster } from "./roster.ts";

/** Looks at the calls at least so many times within the time that they have. */
const LOOKS = 4;
/** A call that takes longer is slow; one that waits for somebody else may well be. */
const SLOW_MS = 1_000;
/** Slow calls that take up no place. */
export const SLOW_MAX = 64;

interface Watched<Call> {
  readonly call: Call;
  readonly startedMs: number;
  isRunning: boolean;
  isSlow: boolean;
  /** Somebody waits for it to come back. */
  back?: PromiseWithResolvers<void>;
}

export interface CallWatchEvents<Call> {
  /** A call has become slow: there may be a free place. */
  readonly slow: () => void;
  /** A call was given up. */
  readonly hung: (call: Call, durationMs: number) => void;
}

export class CallWatch<Call> {
  readonly #environment: Environment;
  readonly #timeoutMs: number;
  readonly #lookMs: number;
  readonly #events: CallWatchEvents<Call>;
  readonly #watched = new Roster<Watched<Call>>(({ isRunning }) => isRunning);
  #running = 0;
  #slow = 0;
  #returned = 0;
  /** Of those that were: not back yet. */
  readonly #givenUp = new Set<Watched<Call>>();
  #timer: Timer | undefined;

  constructor(environment: Environment, timeoutMs: number, events: CallWatchEvents<Call>) {
    this.#environment = environment;
    this.#timeoutMs = timeoutMs;
    this.#lookMs = Math.min(SLOW_MS, timeoutMs / LOOKS);
    this.#events = events;
  }

  /** Calls in progress that have not been given up. */
  get running(): number {
    return this.#running;
  }

  /** Of those: the ones that take up a place. */
  get occupying(): number {
    return this.#running - Math.min(this.#slow, SLOW_MAX);
  }

  /**
   * Each such call that has begun and not come back, given up or not, until it has. One that never
   * does resolves nothing.
   */
  whenBack(which: (call: Call) => boolean): readonly Promise<void>[] {
    const out = [...this.#watched, ...this.#givenUp].filter(({ call }) => which(call));
    return out.map((watched) => (watched.back ??= Promise.withResolvers()).promise);
  }

  /** Calls that have come back in time so far. */
  get returned(): number {
    return this.#returned;
  }

  begin(call: Call): Watched<Call> {
    const startedMs = this.#environment.monotonicMs();
    const watched: Watched<Call> = { call, startedMs, isRunning: true, isSlow: false };
    this.#watched.add(watched);
    this.#running++;
    this.#timer ??= this.#look();
    return watched;
  }

  /** How long it took; `undefined` when it had been given up. */
  end(watched: Watched<Call>): number | undefined {
    watched.back?.resolve();
    if (!this.#remove(watched)) {
      this.#givenUp.delete(watched);
      return undefined;
    }
    this.#returned++;
    return this.#environment.monotonicMs() - watched.startedMs;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #remove(watched: Watched<Call>): boolean {
    if (!watched.isRunning) return false;
    watched.isRunning = false;
    this.#running--;
    this.#watched.droppedOut();
    if (watched.isSlow) this.#slow--;
    return true;
  }

  #look(): Timer {
    return this.#environment.startTimer(this.#lookMs, () => {
      const nowMs = this.#environment.monotonicMs();
      const slowBefore = this.#slow;
      for (const watched of this.#watched) {
        const durationMs = nowMs - watched.startedMs;
        // In order of their start: those behind are younger.
        if (durationMs < this.#lookMs) break;
        if (durationMs >= this.#timeoutMs) {
          this.#remove(watched);
          this.#givenUp.add(watched);
          this.#events.hung(watched.call, durationMs);
        } else if (!watched.isSlow) {
          watched.isSlow = true;
          this.#slow++;
        }
      }
      if (this.#slow > slowBefore) this.#events.slow();
      this.#timer = this.#running === 0 ? undefined : this.#look();
    });
  }
}
