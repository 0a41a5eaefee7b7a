/**
 * The one door to time, chance and identity.
 *
 * Everything in the house takes an `Environment`; only `system-environment.ts` may touch the real
 * clock, timers and random source. A simulation that supplies its own owns every cause of
 * nondeterminism in the process.
 */

export interface Timer {
  /** Idempotent. After it returns the callback will not run. */
  cancel(): void;
}

export interface Environment {
  /** Wall clock: whole milliseconds since the Unix epoch. May jump; never use it for durations. */
  nowMs(): number;
  /** Monotonic clock in fractional milliseconds, for durations and deadlines in this process. */
  monotonicMs(): number;
  /** Uniform in [0, 1). */
  random(): number;
  /** A new UUIDv7 in canonical text form; ids made later sort later. */
  newId(): string;
  /** Runs `callback` once, `delayMs` (>= 0) from now. Never in the caller's stack. */
  startTimer(delayMs: number, callback: () => void): Timer;
  /** Runs `callback` in a later turn of the event loop, after pending I/O had its chance. */
  defer(callback: () => void): void;
}
