/**
 * Doing again what fails for a while, with growing pauses, up to a limit.
 *
 * Only what says of itself that later may help is done again; everything else is refused at once.
 */

import type { Environment } from "../../../runtime/environment.ts";

import { isShopError } from "../../../runtime/errors.ts";

const PAUSE_MIN_MS = 50;
const PAUSE_MAX_MS = 1_000;

/** What `act` answers; rejects with its last error when it has failed for `limitMs`. */
export async function patiently<Answer>(
  environment: Environment,
  limitMs: number,
  act: () => Promise<Answer>,
): Promise<Answer> {
  const endMs = environment.monotonicMs() + limitMs;
  for (let pauseMs = PAUSE_MIN_MS; ; pauseMs = Math.min(PAUSE_MAX_MS, pauseMs * 2)) {
    try {
      return await act();
    } catch (error) {
      const mayHeal = isShopError(error) && error.retry === "later";
      if (!mayHeal || environment.monotonicMs() + pauseMs > endMs) throw error;
    }
    await new Promise<void>((resolve) => void environment.startTimer(pauseMs, resolve));
  }
}
