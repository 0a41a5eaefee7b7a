/**
 * Watches calls of a handler, and gives up those that do not come back.
 *
 * A call that hangs would hold its key, its place among the concurrent calls and in the end its
 * lease for ever. It is given up after a time; what it may still do is harmless, because effects
 * are guarded by inbox and versions. Nobody is blamed for a hang while nothing else comes back
 * either: then it is the store or the machine that hangs, not the message.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";

/** Looks at the calls so many times within the time that they have. */
const LOOKS = 4;

interface Watched<Call> {
  readonly call: Call;
  readonly startedMs: number;
}

export class CallWatch<Call> {
  readonly #environment: Environment;
  readonly #timeoutMs: number;
  readonly #onHung: (call: Call, durationMs: number) => void;
  readonly #running = new Set<Watched<Call>>();
  #returned = 0;
  #timer: Timer | undefined;

  constructor(
    environment: Environment,
    timeoutMs: number,
    onHung: (call: Call, durationMs: number) => void,
  ) {
    this.#environment = environment;
    this.#timeoutMs = timeoutMs;
    this.#onHung = onHung;
  }

  /** Calls in progress that have not been given up. */
  get running(): number {
    return this.#running.size;
  }

  /** Calls that have come back so far. */
  get returned(): number {
    return this.#returned;
  }

  begin(call: Call): Watched<Call> {
    const watched = { call, startedMs: this.#environment.monotonicMs() };
    this.#running.add(watched);
    this.#timer ??= this.#look();
    return watched;
  }

  /** How long it took; `undefined` when it had been given up. */
  end(watched: Watched<Call>): number | undefined {
    if (!this.#running.delete(watched)) return undefined;
    this.#returned++;
    return this.#environment.monotonicMs() - watched.startedMs;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #look(): Timer {
    return this.#environment.startTimer(this.#timeoutMs / LOOKS, () => {
      const nowMs = this.#environment.monotonicMs();
      for (const watched of this.#running) {
        const durationMs = nowMs - watched.startedMs;
        // In order of their start: those behind are younger.
        if (durationMs < this.#timeoutMs) break;
        this.#running.delete(watched);
        this.#onHung(watched.call, durationMs);
      }
      this.#timer = this.#running.size === 0 ? undefined : this.#look();
    });
  }
}
