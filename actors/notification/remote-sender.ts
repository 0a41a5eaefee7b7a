/**
 * The queue of one remote channel: sends behind the handler's back, a batch at a time.
 *
 * Bounded: what finds no place is not taken, and is due again by its timer. It keeps nothing that
 * must not be lost; whatever it holds when the process dies is pending in the ledger, with a timer
 * of its own.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Cause } from "../delivery/decode-message.ts";
import type { Channel, SendResult } from "./channel.ts";
import type { LedgerEntry, Notification } from "./notification.ts";

import { sendWithin } from "./channel.ts";

/** A notification whose attempt has been committed as begun. */
export interface SendJob {
  readonly notification: Notification;
  readonly entry: LedgerEntry;
  readonly cause: Cause;
}

export interface FinishedJob {
  readonly job: SendJob;
  readonly result: SendResult;
}

export interface RemoteSenderOptions {
  readonly channel: Channel;
  readonly environment: Environment;
  readonly timeoutMs: number;
  readonly batchMax: number;
  readonly queueMax: number;
  /** Records what became of a batch. Must not reject. */
  readonly onFinished: (finished: readonly FinishedJob[]) => Promise<void>;
}

export interface RemoteSender {
  /** Places that are free. */
  room(): number;
  /** It is queued, on its way, or being recorded. */
  holds(id: string): boolean;
  /** At most `room()` of them. */
  add(jobs: readonly SendJob[]): void;
  /** Cuts off what is on its way, records what is known of it, forgets the rest. Idempotent. */
  close(): Promise<void>;
}

export function createRemoteSender(options: RemoteSenderOptions): RemoteSender {
  const { channel, environment, timeoutMs, batchMax, queueMax } = options;
  const held = new Set<string>();
  const closing = new AbortController();
  let queue: SendJob[] = [];
  let running: Promise<void> | undefined;

  async function run(): Promise<void> {
    while (queue.length > 0 && !closing.signal.aborted) {
      const batch = queue.slice(0, batchMax);
      queue = queue.slice(batchMax);
      const notifications = batch.map(({ notification }) => notification);
      const limits = { environment, timeoutMs, signal: closing.signal };
      const results = await sendWithin(channel, notifications, limits);
      const finished: FinishedJob[] = [];
      for (const [at, job] of batch.entries()) {
        const result = results[at];
        // Cut off by our own close is no failure of the channel: the timer begins again.
        if (result === undefined || (closing.signal.aborted && result.kind === "failed")) continue;
        finished.push({ job, result });
      }
      if (finished.length > 0) await options.onFinished(finished);
      for (const { notification } of batch) held.delete(notification.id);
    }
    running = undefined;
  }

  return {
    room: () => (closing.signal.aborted ? 0 : queueMax - held.size),
    holds: (id) => held.has(id),
    add(jobs) {
      if (closing.signal.aborted) return;
      for (const job of jobs) {
        held.add(job.notification.id);
        queue.push(job);
      }
      if (queue.length > 0) running ??= run();
    },
    async close() {
      closing.abort();
      queue = [];
      await running;
    },
  };
}
