/**
 * Whether the Kafka cluster can be reached, told from how exchanges with it end.
 *
 * Only changes are told. A refusal that comes from the server itself, such as a member that is out
 * of its group, shows that it is there; and what a group goes through at start and while it
 * assigns anew is no outage unless nothing else is heard for a while.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { ConnectionState } from "../broker.ts";

import { isShopError } from "../../../runtime/errors.ts";
import { PassingFault } from "./kafka-driver.ts";

/** What says something about the server's reach, not about the request. */
const UNREACHED = ["STORAGE_FAULT", "INDETERMINATE", "SERVER_UNUSABLE"] as const;
/** A passing state that does not pass within this is an outage. */
const PASSES_WITHIN_MS = 10_000;

export class ConnectionWatch {
  readonly #environment: Pick<Environment, "monotonicMs">;
  readonly #onConnection: ((state: ConnectionState) => void) | undefined;
  #isUp = true;
  /** Since when nothing but passing states is heard of. */
  #passingSinceMs: number | undefined;

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
    const isUp = !isShopError(error, ...UNREACHED);
    if (isUp === this.#isUp) return;
    this.#isUp = isUp;
    const detail = isShopError(error) && !isUp ? error.message : "";
    this.#onConnection?.({ isUp, detail });
  }

  #isPassing(error: unknown): boolean {
    if (!(error instanceof PassingFault)) {
      this.#passingSinceMs = undefined;
      return false;
    }
    const nowMs = this.#environment.monotonicMs();
    this.#passingSinceMs ??= nowMs;
    return nowMs - this.#passingSinceMs < PASSES_WITHIN_MS;
  }
}
