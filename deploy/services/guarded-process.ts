/**
 * A server's process that does not outlive this one, not even when this one is killed.
 *
 * A guard (`guard.sh`) holds the other end of a pipe; when the pipe ends it kills the server and
 * removes its data. The guard itself is not protected from anyone.
 */

import { join } from "node:path";

import { ShopError } from "../../runtime/errors.ts";
import { hasFamily, killFamily, signalFamily, signalProcess } from "./process-family.ts";

import type { Command } from "./recipe.ts";

const GUARD = join(import.meta.dir, "guard.sh");
const STOP_TIMEOUT_MS = 20_000;
const GONE_EVERY_MS = 20;

export interface GuardedProcess {
  isRunning(): boolean;
  /** SIGKILL to it and all its children; resolves when they are gone. */
  kill(): Promise<void>;
  /** Asks it to stop, and kills it after 20 s. Rejects when it may not be killed. */
  stop(signal: "SIGTERM" | "SIGINT"): Promise<void>;
  signal(signal: "SIGSTOP" | "SIGCONT"): void;
}

/** `directory` is removed when this process dies first. */
export async function startGuarded(
  command: Command,
  logPath: string,
  directory: string,
): Promise<GuardedProcess> {
  const guard = Bun.spawn(["bash", GUARD, logPath, directory, ...command.argv], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "ignore",
    env: { ...Bun.env, ...command.env },
  });
  const leader = await readLeader(guard.stdout);
  const isRunning = (): boolean => guard.exitCode === null && guard.signalCode === null;
  const gone = async (): Promise<void> => {
    await guard.exited;
    while (hasFamily(leader)) await Bun.sleep(GONE_EVERY_MS);
  };
  const kill = async (): Promise<void> => {
    if (isRunning()) await killFamily(leader);
    await gone();
  };
  return {
    isRunning,
    kill,
    async stop(signal) {
      if (!isRunning()) return;
      signalFamily(leader, "SIGCONT");
      signalProcess(leader, signal);
      await goneWithin(gone(), STOP_TIMEOUT_MS, () => killFamily(leader));
    },
    signal: (signal) => signalFamily(leader, signal),
  };
}

/** Resolves as `gone` does, after `limitMs` with the help of `kill`; rejects as that does. */
export async function goneWithin(
  gone: Promise<void>,
  limitMs: number,
  kill: () => Promise<void>,
): Promise<void> {
  const failure = Promise.withResolvers<never>();
  const timer = setTimeout(() => void kill().catch(failure.reject), limitMs);
  try {
    await Promise.race([gone, failure.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** The first line of the guard: the process id of the server, which leads its group. */
async function readLeader(stdout: ReadableStream<Uint8Array>): Promise<number> {
  const reader = stdout.getReader();
  const decoder = new TextDecoder();
  let text = "";
  while (!text.includes("\n")) {
    const { value, done } = await reader.read();
    if (done)
      throw new ShopError("SERVER_UNUSABLE", "the guard of a server did not start", "never");
    text += decoder.decode(value, { stream: true });
  }
  reader.releaseLock();
  return Number.parseInt(text, 10);
}
