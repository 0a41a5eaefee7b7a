/**
 * When frames that were given to be published go out: at once, or together with what comes next.
 *
 * A server pays for every time it is woken, many times what a frame costs; so under traffic frames
 * leave at most once in `gatherMs`. Traffic is what the time before had, and it was eight frames or
 * more: who publishes one after the other is held up only when the server confirms that fast.
 * Decides by the times it is told; refuses nothing, and `gatherMs` of 0 holds nothing back.
 */

/** Fewer frames than these in one time are not worth a wait in the next. */
const TRAFFIC_FRAMES = 8;
/** As many as these are worth a call of their own. */
const FULL_FRAMES = 256;

export class FrameGather {
  readonly #gatherMs: number;
  #startMs = Number.NEGATIVE_INFINITY;
  #frames = 0;
  /** The time before this one had traffic. */
  #isBusy = false;

  constructor(gatherMs: number) {
    this.#gatherMs = gatherMs;
  }

  /** How long `waiting` frames stay, of which `added` are new; 0: they go now. */
  delayMs(nowMs: number, added: number, waiting: number): number {
    const elapsedMs = nowMs - this.#startMs;
    if (elapsedMs >= this.#gatherMs) {
      // A time without any frame lies between.
      const isNext = elapsedMs < 2 * this.#gatherMs;
      this.#isBusy = isNext && this.#frames >= TRAFFIC_FRAMES;
      this.#startMs = nowMs;
      this.#frames = 0;
    }
    this.#frames += added;
    if (!this.#isBusy || waiting >= FULL_FRAMES) return 0;
    return Math.max(0, this.#startMs + this.#gatherMs - nowMs);
  }
}
