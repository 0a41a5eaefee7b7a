/**
 * The relay's periodic look at the outbox: one at a time, however slow the database is.
 *
 * A look that fails is made again at the next beat, and told in the log; a bug is told as one.
 */

import { describeError, InvariantError } from "../../../runtime/errors.ts";

export interface OutboxLookOptions {
  readonly check: () => Promise<void>;
  /** A bug. */
  readonly onFailure: (error: unknown) => void;
  readonly onLog?: ((level: "debug", text: string) => void) | undefined;
}

/** To be called at each beat; does nothing while the look before is under way. */
export function createOutboxLook({ check, onFailure, onLog }: OutboxLookOptions): () => void {
  let isLooking = false;

  async function look(): Promise<void> {
    isLooking = true;
    try {
      await check();
    } catch (error) {
      if (error instanceof InvariantError) onFailure(error);
      else onLog?.("debug", `outbox: ${describeError(error)}`);
    } finally {
      isLooking = false;
    }
  }

  return () => {
    if (!isLooking) void look();
  };
}
