/**
 * Whether a thread's event loop still turns: each thread counts up a word of shared memory, and a
 * monitor looks whether it moved.
 *
 * A process that is starved of CPU delays the monitor as well as the thread, and must not be taken
 * for a stalled thread: only checks that came on time count.
 */

import type { Environment, Timer } from "../environment.ts";

const BEAT_MS = 40;
const CHECK_MS = 50;
/** A check later than this says more about the monitor's own thread than about the other. */
const CHECK_LATE_MS = 100;

/** Memory for the beats of `threads` threads. */
export function createHeartbeats(threads: number): SharedArrayBuffer {
  return new SharedArrayBuffer(threads * Int32Array.BYTES_PER_ELEMENT);
}

/** Counts up the word of `thread` until cancelled. */
export function startHeartbeat(
  memory: SharedArrayBuffer,
  thread: number,
  environment: Environment,
): Timer {
  const beats = new Int32Array(memory);
  let isCancelled = false;
  let timer = environment.startTimer(BEAT_MS, beat);
  function beat(): void {
    // The monitor runs in another thread.
    Atomics.add(beats, thread, 1);
    if (!isCancelled) timer = environment.startTimer(BEAT_MS, beat);
  }
  return {
    cancel() {
      isCancelled = true;
      timer.cancel();
    },
  };
}

/**
 * Calls `onStall` once when the word of `thread` has not moved for `stallMs` of checks that came on
 * time.
 */
export function monitorHeartbeat(
  memory: SharedArrayBuffer,
  thread: number,
  environment: Environment,
  stallMs: number,
  onStall: () => void,
): Timer {
  const beats = new Int32Array(memory);
  let seen = Atomics.load(beats, thread);
  let stillMs = 0;
  let checkedMs = environment.monotonicMs();
  let isCancelled = false;
  let timer = environment.startTimer(CHECK_MS, check);
  function check(): void {
    if (isCancelled) return;
    const nowMs = environment.monotonicMs();
    const sinceMs = nowMs - checkedMs;
    checkedMs = nowMs;
    // Written by the other thread.
    const found = Atomics.load(beats, thread);
    if (found !== seen) {
      seen = found;
      stillMs = 0;
    } else if (sinceMs <= CHECK_LATE_MS) {
      stillMs += sinceMs;
    }
    if (stillMs >= stallMs) {
      isCancelled = true;
      onStall();
      return;
    }
    timer = environment.startTimer(CHECK_MS, check);
  }
  return {
    cancel() {
      isCancelled = true;
      timer.cancel();
    },
  };
}
