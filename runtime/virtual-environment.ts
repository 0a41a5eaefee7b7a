/**
 * A clock that moves only when told, and a seeded random source: tests of time run in no time.
 *
 * Timers fire in order of due time, then of creation. Random numbers are mulberry32
 * (Tommy Ettinger, public domain). Ids are UUIDv7-shaped, made of the virtual clock and a counter,
 * so the same seed gives the same ids.
 */

import { assert } from "./errors.ts";
import type { Environment, Timer } from "./environment.ts";

export interface VirtualEnvironment extends Environment {
  /**
   * Moves the clock by `durationMs`, running every timer and deferred callback that falls due,
   * and lets promise reactions settle between them.
   */
  advance(durationMs: number): Promise<void>;
  /** Runs deferred callbacks and promise reactions without moving the clock. */
  settle(): Promise<void>;
  /** Timers that have neither fired nor been cancelled. */
  pendingTimers(): number;
  /** Moves only the wall clock (a clock jump); timers and the monotonic clock do not notice. */
  jumpWallClock(byMs: number): void;
}

interface Entry {
  readonly dueMs: number;
  readonly order: number;
  readonly callback: () => void;
}

const START_MS = 1_700_000_000_000;
const SETTLE_TURNS_MAX = 10_000;

export function createVirtualEnvironment(seed = 1): VirtualEnvironment {
  let elapsedMs = 0;
  let wallOffsetMs = 0;
  let order = 0;
  let ids = 0;
  let state = seed >>> 0;
  const timers = new Set<Entry>();
  let deferred: (() => void)[] = [];

  function random(): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  function newId(): string {
    const time = Math.floor(START_MS + elapsedMs)
      .toString(16)
      .padStart(12, "0");
    const count = (ids++).toString(16).padStart(12, "0");
    const seeded = (seed & 0xfff).toString(16).padStart(3, "0");
    return `${time.slice(0, 8)}-${time.slice(8)}-7000-8${seeded}-${count}`;
  }

  function startTimer(delayMs: number, callback: () => void): Timer {
    assert(delayMs >= 0, `a timer's delay must be >= 0 ms, got ${delayMs}`);
    const entry: Entry = { dueMs: elapsedMs + delayMs, order: order++, callback };
    timers.add(entry);
    return { cancel: () => void timers.delete(entry) };
  }

  function nextDue(limitMs: number): Entry | undefined {
    let next: Entry | undefined;
    for (const entry of timers) {
      if (entry.dueMs > limitMs) continue;
      if (
        next === undefined ||
        entry.dueMs < next.dueMs ||
        (entry.dueMs === next.dueMs && entry.order < next.order)
      ) {
        next = entry;
      }
    }
    return next;
  }

  async function settle(): Promise<void> {
    let quietTurns = 0;
    for (let turn = 0; quietTurns < 3; turn++) {
      assert(turn < SETTLE_TURNS_MAX, "deferred work never came to rest");
      await new Promise<void>((resolve) => setImmediate(resolve));
      const batch = deferred;
      deferred = [];
      for (const callback of batch) callback();
      quietTurns = batch.length === 0 ? quietTurns + 1 : 0;
    }
  }

  async function advance(durationMs: number): Promise<void> {
    const targetMs = elapsedMs + durationMs;
    await settle();
    for (let entry = nextDue(targetMs); entry !== undefined; entry = nextDue(targetMs)) {
      timers.delete(entry);
      elapsedMs = Math.max(elapsedMs, entry.dueMs);
      entry.callback();
      await settle();
    }
    elapsedMs = targetMs;
  }

  return {
    nowMs: () => Math.floor(START_MS + wallOffsetMs + elapsedMs),
    monotonicMs: () => elapsedMs,
    random,
    newId,
    startTimer,
    defer: (callback) => void deferred.push(callback),
    advance,
    settle,
    pendingTimers: () => timers.size,
    jumpWallClock: (byMs) => void (wallOffsetMs += byMs),
  };
}
