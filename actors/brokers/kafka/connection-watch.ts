/**
 * Whether the Kafka cluster can be reached, told from how exchanges with it end.
 *
 * Only changes are told. A refusal that comes from the server itself, such as a member that is out
 * of its group, shows that it is there.
 */

import type { ConnectionState } from "../broker.ts";

import { isShopError } from "../../../runtime/errors.ts";

/** What says something about the server's reach, not about the request. */
const UNREACHED = ["STORAGE_FAULT", "INDETERMINATE", "SERVER_UNUSABLE"] as const;

export class ConnectionWatch {
  readonly #onConnection: ((state: ConnectionState) => void) | undefined;
  #isUp = true;

  constructor(onConnection: ((state: ConnectionState) => void) | undefined) {
    this.#onConnection = onConnection;
  }

  /** `undefined`: it worked. */
  attempted(error: unknown): void {
    const isUp = !isShopError(error, ...UNREACHED);
    if (isUp === this.#isUp) return;
    this.#isUp = isUp;
    const detail = isShopError(error) && !isUp ? error.message : "";
    this.#onConnection?.({ isUp, detail });
  }
}
