/**
 * Message ids that were seen a while ago, as many as fit: what deduplication remembers in memory.
 *
 * Both bounds hold: ids older than the window are forgotten, and so is the oldest when there is no
 * room. What it has forgotten it does not refuse.
 */

export interface IdWindow {
  has(id: string, nowMs: number): boolean;
  /** `nowMs` on a monotonic clock. */
  add(id: string, nowMs: number): void;
  count(): number;
}

export function createIdWindow(bounds: {
  readonly windowMs: number;
  readonly idsMax: number;
}): IdWindow {
  const seenAtMs = new Map<string, number>();

  function forgetOld(nowMs: number): void {
    for (const [id, atMs] of seenAtMs) {
      if (nowMs - atMs < bounds.windowMs && seenAtMs.size <= bounds.idsMax) return;
      seenAtMs.delete(id);
    }
  }

  return {
    has(id, nowMs) {
      const atMs = seenAtMs.get(id);
      return atMs !== undefined && nowMs - atMs < bounds.windowMs;
    },
    add(id, nowMs) {
      seenAtMs.delete(id);
      seenAtMs.set(id, nowMs);
      forgetOld(nowMs);
    },
    count: () => seenAtMs.size,
  };
}
