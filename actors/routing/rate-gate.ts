/**
 * A token bucket that tells whoever comes too early when to come back, and keeps the place.
 *
 * The generic cell rate algorithm (ITU-T I.371): one number says when the bucket is next full.
 * Who has to wait is given a time of its own, so that a thousand waiting frames come back one after
 * the other and not together. Places are bounded and forgotten when nobody comes for them; without
 * a place one waits and asks anew.
 */

const PLACES_MAX = 16_384;
/** A frame that is not back this long after its time went another way. */
const PLACE_KEPT_MS = 60_000;

export interface RateGate {
  /** How long message `id` has to wait; 0: it may go now, and has taken its token. */
  waitMs(id: string, nowMs: number): number;
}

/** `perSecond` > 0 tokens come in, at most `burst` >= 1 are kept. Times are monotonic. */
export function createRateGate(rate: {
  readonly perSecond: number;
  readonly burst: number;
}): RateGate {
  const intervalMs = 1_000 / rate.perSecond;
  const toleranceMs = (rate.burst - 1) * intervalMs;
  const places = new Map<string, number>();
  let fullAtMs = 0;

  function dropStale(nowMs: number): void {
    // Places were given in order of their time.
    for (const [id, atMs] of places) {
      if (atMs + PLACE_KEPT_MS > nowMs) return;
      places.delete(id);
    }
  }

  return {
    waitMs(id, nowMs) {
      const place = places.get(id);
      if (place !== undefined) {
        if (nowMs >= place) places.delete(id);
        return Math.max(0, place - nowMs);
      }
      const goAtMs = fullAtMs - toleranceMs;
      if (goAtMs > nowMs) {
        dropStale(nowMs);
        if (places.size >= PLACES_MAX) return goAtMs - nowMs;
        places.set(id, goAtMs);
      }
      fullAtMs = Math.max(fullAtMs, nowMs) + intervalMs;
      return Math.max(0, goAtMs - nowMs);
    },
  };
}
