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
  /** Asks it to stop, kills it when it takes longer than 20 s. */
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
      const timer = setTimeout(() => void killFamily(leader), STOP_TIMEOUT_MS);
      await gone();
      clearTimeout(timer);
    },
    signal: (signal) => signalFamily(leader, signal),
  };
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
