/**
 * Waiting for something that may never come, for so long and no longer.
 *
 * What comes too late is not heard any more, a rejection included. Refuses nothing.
 */

import type { Environment } from "../../../runtime/environment.ts";

/** True when `work` settled in time, however. Never rejects. */
export function settledWithin(
  environment: Pick<Environment, "startTimer">,
  waitMs: number,
  work: Promise<unknown>,
): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = environment.startTimer(waitMs, () => resolve(false));
    const done = (): void => {
      timer.cancel();
      resolve(true);
    };
    work.then(done, done);
  });
}
