/**
 * Counts every message that was accepted by nobody, or accepted and then not handled to its end.
 *
 * Nothing inside the actor core disappears silently: each such message is counted under one reason
 * and handed to the hook of the host. Broker frames have dead letters of their own, with a store;
 * these are in memory and only counted.
 */

/**
 * `mailbox_full`, `dropped_newest`, `dropped_oldest`: the overflow policy. `stash_full`: the stash.
 * `stopped`: the actor has ended or ends with the message waiting. `failed`: its handler failed, or
 * was killed. `late_reply`: whoever asked has been answered or has given up.
 */
export type UndeliveredReason =
  | "mailbox_full"
  | "dropped_newest"
  | "dropped_oldest"
  | "stash_full"
  | "stopped"
  | "failed"
  | "late_reply";

export interface Undelivered {
  readonly reason: UndeliveredReason;
  /** Path of the actor it was for. */
  readonly path: string;
  readonly message: unknown;
}

export type UndeliveredCounts = Readonly<Record<UndeliveredReason, number>>;

export class UndeliveredLog {
  private readonly counters: Record<UndeliveredReason, number> = {
    mailbox_full: 0,
    dropped_newest: 0,
    dropped_oldest: 0,
    stash_full: 0,
    stopped: 0,
    failed: 0,
    late_reply: 0,
  };
  private readonly hook: ((undelivered: Undelivered) => void) | undefined;

  constructor(hook: ((undelivered: Undelivered) => void) | undefined) {
    this.hook = hook;
  }

  record(reason: UndeliveredReason, path: string, message: unknown): void {
    this.counters[reason]++;
    this.hook?.({ reason, path, message });
  }

  counts(): UndeliveredCounts {
    return { ...this.counters };
  }
}
