/**
 * The first lines of every worker thread: say ready when started, beat while alive, stop when told.
 *
 * The thread says `ready` only once it can work, since a thread must not be terminated before; it
 * says `failed` with code and message when it cannot start, and `stopped` when everything it had
 * begun is finished. Anything thrown later ends the thread, and its supervisor decides.
 */

import type { Environment } from "../environment.ts";

import { parentPort } from "node:worker_threads";

import { assert, describeError, isShopError } from "../errors.ts";
import { startedWith } from "../supervision/start-failure.ts";
import { startHeartbeat } from "./heartbeat.ts";

/** What a thread tells its parent. `custom` is the application's own. */
export type FromThread =
  | { readonly kind: "ready" }
  | { readonly kind: "failed"; readonly code: string; readonly message: string }
  | { readonly kind: "stopped" }
  | { readonly kind: "custom"; readonly body: unknown };

/** What a parent tells its thread. */
export type ToThread =
  | { readonly kind: "stop"; readonly withinMs: number }
  | { readonly kind: "custom"; readonly body: unknown };

export interface StartedThread {
  /** Finishes what is in flight, within `withinMs`. */
  stop(withinMs: number): Promise<void>;
  onCustom?(body: unknown): void;
}

export interface ThreadOptions {
  readonly environment: Environment;
  readonly heartbeats: SharedArrayBuffer;
  readonly thread: number;
  /** Starts the thread's work. `tell` sends a `custom` message to the parent. */
  readonly start: (tell: (body: unknown) => void) => Promise<StartedThread> | StartedThread;
}

/** Runs until the parent says stop. Never rejects: a failed start is told to the parent. */
export async function runThread(options: ThreadOptions): Promise<void> {
  assert(parentPort !== null, "a worker's entry was run on the main thread");
  const port = parentPort;
  const say = (message: FromThread): void => port.postMessage(message);
  // From the start: a thread that takes long to start is not stalled as long as it turns.
  const heartbeat = startHeartbeat(options.heartbeats, options.thread, options.environment);
  let started: StartedThread;
  try {
    started = await options.start((body) => say({ kind: "custom", body }));
  } catch (error) {
    const cause = startedWith(error);
    const code = isShopError(cause) ? cause.code : "failed";
    const message = isShopError(cause) ? cause.message : describeError(cause);
    say({ kind: "failed", code, message });
    return;
  }
  port.on("message", (message: ToThread) => {
    if (message.kind === "custom") {
      started.onCustom?.(message.body);
      return;
    }
    void started.stop(message.withinMs).then(
      () => {
        heartbeat.cancel();
        say({ kind: "stopped" });
      },
      (error: unknown) => say({ kind: "failed", code: "failed", message: describeError(error) }),
    );
  });
  say({ kind: "ready" });
}
