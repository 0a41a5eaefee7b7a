/**
 * What was given up on, as lines of a log that a flood of burials cannot fill.
 *
 * Of each group and reason one line is said at once; what follows within the period is only
 * counted, and the count is said at its end. Reasons beyond a number share one count. It loses no
 * burial: each is in the dead letters, this is for people.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { ConsumerEvent } from "./consumer-event.ts";

import { burialText } from "./consumer-event.ts";

/** Between two lines about the same group and reason. */
const PERIOD_MS = 5_000;
/** Groups and reasons that are told apart; far more than there are. */
const KINDS_MAX = 256;

type Buried = Extract<ConsumerEvent, { readonly kind: "buried" }>;

export interface BurialLog {
  buried(group: string, event: Buried): void;
  /** Says what is left to say. */
  close(): void;
}

interface Quiet {
  readonly timer: Timer;
  leftOut: number;
}

export function createBurialLog(
  environment: Pick<Environment, "startTimer">,
  say: (text: string) => void,
): BurialLog {
  const quiet = new Map<string, Quiet>();

  function startPeriod(kind: string): void {
    const timer = environment.startTimer(PERIOD_MS, () => endPeriod(kind));
    quiet.set(kind, { timer, leftOut: 0 });
  }

  function endPeriod(kind: string): void {
    const leftOut = quiet.get(kind)?.leftOut ?? 0;
    quiet.delete(kind);
    if (leftOut === 0) return;
    startPeriod(kind);
    say(`${kind}: ${leftOut} more were left out of this log`);
  }

  return {
    buried(group, event) {
      const { reason } = event.burial;
      const own = `${group} buried, ${reason}`;
      const kind = quiet.has(own) || quiet.size < KINDS_MAX ? own : "buried, all others";
      const period = quiet.get(kind);
      if (period !== undefined) {
        period.leftOut++;
        return;
      }
      startPeriod(kind);
      say(burialText(group, event));
    },
    close() {
      for (const [kind, { timer, leftOut }] of quiet) {
        timer.cancel();
        if (leftOut > 0) say(`${kind}: ${leftOut} more were left out of this log`);
      }
      quiet.clear();
    },
  };
}
