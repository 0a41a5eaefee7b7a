/**
 * Chance that can be repeated: every random choice of a load run comes from its printed seed.
 *
 * mulberry32 (Tommy Ettinger, public domain). Not for secrets.
 */

export interface SeededRandom {
  /** Uniform in [0, 1). */
  next(): number;
  /** A whole number, uniform in [low, high]. */
  between(low: number, high: number): number;
}

export function createSeededRandom(seed: number): SeededRandom {
  let state = seed >>> 0;
  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }
  return { next, between: (low, high) => low + Math.floor(next() * (high - low + 1)) };
}
