/**
 * The channel port: hands texts to whatever brings them to customers, and says how that went.
 *
 * A channel answers one result for each notification and never decides about another attempt.
 * Sending the same id twice must be harmless as far as the medium allows. `sendWithin` holds every
 * channel to its time: what does not answer, answers too little or throws has failed, no more.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { ChannelKind, Notification } from "./notification.ts";

import { describeError } from "../../runtime/errors.ts";
import { GRACE_MS, REASON_LENGTH_MAX } from "./notification-policy.ts";

/** `rejected`: it can never succeed (no such recipient); `failed`: it may, later. */
export type SendResult =
  | { readonly kind: "sent" }
  | { readonly kind: "failed"; readonly error: string }
  | { readonly kind: "rejected"; readonly error: string };

export const SENT: SendResult = { kind: "sent" };

export interface Channel {
  /** For logs and health: `outbox`, `smtp`. */
  readonly name: string;
  readonly kind: ChannelKind;
  /**
   * `local`: answers at the speed of this machine, and is waited for before the commit. `remote`:
   * may take its time; it is asked after the commit, and nobody waits.
   */
  readonly reach: "local" | "remote";
  /** It can reach a customer by `customer:<id>`, without an address in the order. */
  readonly knowsCustomers: boolean;
  /** One result for each of `batch`, in order. Once `signal` is aborted it answers soon. */
  send(batch: readonly Notification[], signal: AbortSignal): Promise<readonly SendResult[]>;
  /** Some of what comes from now on may have been sent by another, who did not live to say so. */
  takeOver?(): void;
  close(): Promise<void>;
}

export interface SendLimits {
  readonly environment: Environment;
  readonly timeoutMs: number;
  /** Ends it early: the service is closing. */
  readonly signal?: AbortSignal;
}

/** Never rejects, and answers at most `GRACE_MS` after the timeout. */
export async function sendWithin(
  channel: Channel,
  batch: readonly Notification[],
  { environment, timeoutMs, signal }: SendLimits,
): Promise<readonly SendResult[]> {
  const controller = new AbortController();
  const cut = Promise.withResolvers<readonly SendResult[]>();
  const allFailed = (error: string) => batch.map(() => failedSend(error));
  const late = `no answer within ${timeoutMs} ms`;
  let timer = environment.startTimer(timeoutMs, stop);
  function stop(): void {
    if (controller.signal.aborted) return;
    timer.cancel();
    controller.abort();
    timer = environment.startTimer(GRACE_MS, () => cut.resolve(allFailed(late)));
  }
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted === true) stop();
  try {
    const results = await Promise.race([channel.send(batch, controller.signal), cut.promise]);
    return results.length === batch.length
      ? results
      : allFailed(`${channel.name} answered ${results.length} of ${batch.length}`);
  } catch (error) {
    return allFailed(describeError(error));
  } finally {
    timer.cancel();
    signal?.removeEventListener("abort", stop);
  }
}

export function failedSend(error: string): SendResult {
  return { kind: "failed", error: error.slice(0, REASON_LENGTH_MAX) };
}
