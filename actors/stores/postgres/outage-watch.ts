/**
 * Whether the server can be reached, told when it changes.
 *
 * Everything that talks to the server reports here. Once it was not reached, it is probed with
 * growing pauses until it answers, so that the state turns good also when nobody dares to ask.
 */

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { ConnectionState } from "../../brokers/broker.ts";

import { failureText } from "./postgres-failure.ts";

export interface OutageWatchOptions {
  readonly environment: Environment;
  /** Resolves when the server answers. */
  readonly probe: () => Promise<unknown>;
  readonly onConnection?: ((state: ConnectionState) => void) | undefined;
}

const PROBE_FIRST_MS = 100;
const PROBE_MAX_MS = 5_000;

export class OutageWatch {
  readonly #options: OutageWatchOptions;
  #isUp = true;
  #delayMs = PROBE_FIRST_MS;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(options: OutageWatchOptions) {
    this.#options = options;
  }

  succeeded(): void {
    if (this.#isUp || this.#isClosed) return;
    this.#isUp = true;
    this.#timer?.cancel();
    this.#options.onConnection?.({ isUp: true, detail: "" });
  }

  failed(error: unknown): void {
    if (!this.#isUp || this.#isClosed) return;
    this.#isUp = false;
    this.#delayMs = PROBE_FIRST_MS;
    this.#options.onConnection?.({ isUp: false, detail: failureText(error) });
    this.#schedule();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #schedule(): void {
    const { environment } = this.#options;
    const delayMs = Math.min(PROBE_MAX_MS, this.#delayMs * (0.75 + environment.random() / 2));
    this.#delayMs *= 2;
    this.#timer = environment.startTimer(delayMs, () => void this.#probe());
  }

  async #probe(): Promise<void> {
    try {
      await this.#options.probe();
      this.succeeded();
    } catch {
      if (!this.#isUp && !this.#isClosed) this.#schedule();
    }
  }
}
