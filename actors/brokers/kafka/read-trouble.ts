/**
 * One partition or node that cannot be read: when it is asked again, and what is told of it.
 *
 * What is expected to end by itself is asked often and told only when it goes on for long;
 * everything else is told at once and asked ever less often. Each cause is told once until it can
 * be read again. Pure; refuses nothing.
 */

const PAUSE_MIN_MS = 200;
const PAUSE_MAX_MS = 5_000;
/** What ought to end by itself and does not within this is told. */
const PASSES_WITHIN_MS = 10_000;

export class ReadTrouble {
  /** Not to be asked before. */
  notBeforeMs = Number.NEGATIVE_INFINITY;
  #sinceMs: number | undefined;
  #pauseMs = PAUSE_MIN_MS;
  readonly #told = new Set<string>();

  /** It could not be read. Whether that is to be told. */
  noted(cause: string, isPassing: boolean, nowMs: number): boolean {
    this.#sinceMs ??= nowMs;
    this.notBeforeMs = nowMs + (isPassing ? PAUSE_MIN_MS : this.#pauseMs);
    if (!isPassing) this.#pauseMs = Math.min(2 * this.#pauseMs, PAUSE_MAX_MS);
    const isLong = nowMs - this.#sinceMs >= PASSES_WITHIN_MS;
    if (this.#told.has(cause) || (isPassing && !isLong)) return false;
    this.#told.add(cause);
    return true;
  }

  /** It can be read, or need not be. Whether that is to be told. */
  over(): boolean {
    if (this.#sinceMs === undefined) return false;
    const wasTold = this.#told.size > 0;
    this.#sinceMs = undefined;
    this.#pauseMs = PAUSE_MIN_MS;
    this.notBeforeMs = Number.NEGATIVE_INFINITY;
    this.#told.clear();
    return wasTold;
  }
}
