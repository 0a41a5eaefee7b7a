/**
 * The real clock, timers, random source and ids of this process.
 *
 * The only file of the runtime that may name them; the check command refuses them elsewhere.
 */

import type { Environment } from "./environment.ts";

export const systemEnvironment: Environment = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  random: () => Math.random(),
  newId: () => Bun.randomUUIDv7(),
  startTimer(delayMs, callback) {
    const handle = setTimeout(callback, Math.max(0, delayMs));
    return { cancel: () => clearTimeout(handle) };
  },
  defer(callback) {
    setImmediate(callback);
  },
};
