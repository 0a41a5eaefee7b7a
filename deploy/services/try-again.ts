/**
 * Tries again what failed for a reason that may pass: a registry that is out of reach for a moment.
 *
 * Each failure but the last is told. What fails for good is not tried again, nor is what is no
 * error of this project: that is a bug.
 */

import { isShopError } from "../../runtime/errors.ts";

const TRIES_MAX = 3;
const PAUSE_MS = 10_000;

export interface TryAgainOptions {
  /** Shown to people. */
  readonly tell: (line: string) => void;
  readonly pauseMs?: number;
}

/** Rejects as the last try did. */
export async function tryAgain<Result>(
  work: () => Promise<Result>,
  { tell, pauseMs = PAUSE_MS }: TryAgainOptions,
): Promise<Result> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (tries === TRIES_MAX || !isShopError(error) || error.retry === "never") throw error;
      tell(`${error.message}\nagain in ${pauseMs / 1000} s`);
      await Bun.sleep(pauseMs);
    }
  }
}
