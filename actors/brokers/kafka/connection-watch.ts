/**
 * Whether the Kafka cluster can be reached, told from how exchanges with it end.
 *
 * Only changes are told. A refusal that comes from the server itself, such as a member that is out
 * of its group, shows that it is there; and what a group goes through at start and while it
 * assigns anew is no outage unless it is all that is heard, again and again, for a while. What
 * cannot be read of a cluster that is there counts as well.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { ConnectionState } from "../broker.ts";

import { isShopError } from "../../../runtime/errors.ts";
import { PassingFault } from "./kafka-driver.ts";

/** What says something about the server's reach, not about the request. */
const UNREACHED = ["STORAGE_FAULT", "INDETERMINATE", "SERVER_UNUSABLE"] as const;
/** A passing state that does not pass within this is an outage. */
const PASSES_WITHIN_MS = 10_000;
/** Twice the longest pause before another attempt: who is silent for longer is not in trouble. */
const SILENCE_MS = 10_000;

export class ConnectionWatch {
  readonly #environment: Pick<Environment, "monotonicMs">;
  readonly #onConnection: ((state: ConnectionState) => void) | undefined;
  /** Why the cluster cannot be reached; absent: it can. */
  #outage: string | undefined;
  /** By what it is: why it cannot be read. */
  readonly #unreadable = new Map<string, string>();
  #told: ConnectionState = { isUp: true, detail: "" };
  /** A run of nothing but passing states: since when, and its last. */
  #passing: { readonly sinceMs: number; readonly lastMs: number } | undefined;

  constructor(
    environment: Pick<Environment, "monotonicMs">,
    onConnection: ((state: ConnectionState) => void) | undefined,
  ) {
    this.#environment = environment;
    this.#onConnection = onConnection;
  }

  /** `undefined`: it worked. */
  attempted(error: unknown): void {
    if (this.#isPassing(error)) return;
    if (!isShopError(error, ...UNREACHED)) this.#outage = undefined;
    else this.#outage ??= error.message;
    this.#tell();
  }

  /** Something of a cluster that is there; `undefined`: it can be read again, or need not be. */
  unreadable(what: string, why: string | undefined): void {
    if (why === undefined) this.#unreadable.delete(what);
    else this.#unreadable.set(what, why);
    this.#tell();
  }

  #tell(): void {
    const [why] = this.#unreadable.values();
    const detail = this.#outage ?? why;
    const state = { isUp: detail === undefined, detail: detail ?? "" };
    if (state.isUp === this.#told.isUp && state.detail === this.#told.detail) return;
    this.#told = state;
    this.#onConnection?.(state);
  }

  #isPassing(error: unknown): boolean {
    if (!(error instanceof PassingFault)) {
      this.#passing = undefined;
      return false;
    }
    const nowMs = this.#environment.monotonicMs();
    const before = this.#passing;
    const isRun = before !== undefined && nowMs - before.lastMs <= SILENCE_MS;
    const sinceMs = isRun ? before.sinceMs : nowMs;
    this.#passing = { sinceMs, lastMs: nowMs };
    return nowMs - sinceMs < PASSES_WITHIN_MS;
  }
}
