/**
 * Starts, watches, kills and stops a program that serves HTTP: the shop, or its payment provider.
 *
 * The port is chosen here, below the range from which the system takes ports for outgoing
 * connections: a client that keeps knocking on a closed port inside that range can be given that
 * very port as its own and end up talking to itself. Output goes to a file, of which the end is
 * shown when the program fails. Settings of the caller's own shop are not inherited unless asked
 * for.
 */

import { closeSync, openSync } from "node:fs";
import { join } from "node:path";

import { ShopError } from "../runtime/errors.ts";

export interface ServerProcess {
  readonly pid: number;
  readonly url: string;
  readonly port: number;
  /** From the start of the process to the first 200 of its ready path. */
  readonly readyMs: number;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves with the exit code, or `undefined` when it had to be killed. */
  stop(deadlineMs: number): Promise<number | undefined>;
  /** SIGSTOP and SIGCONT: its connections stay open and nobody answers. */
  pause(): void;
  resume(): void;
  /** Resolves with the exit code, however it came about. */
  readonly exited: Promise<number>;
  /** The last lines of its output, and how it ended if it has. */
  logTail(): Promise<string>;
}

export interface ServerOptions {
  readonly command: readonly string[];
  readonly port: number;
  readonly environment: Readonly<Record<string, string>>;
  readonly readyPath: string;
  readonly readyDeadlineMs: number;
  /** Appended to. */
  readonly logFile: string;
  /** With the `SHOPSTREAM_…` of this process, those of `environment` before them. */
  readonly inheritsSettings?: boolean;
  /** Kills it this long after its start, ready or not. */
  readonly killAfterMs?: number;
}

export const REPOSITORY = join(import.meta.dir, "..");

const PORT_FIRST = 20_000;
const PORT_LAST = 29_999;
const PORT_TRIES_MAX = 100;
const READY_POLL_MS = 10;
const LOG_TAIL_CHARS = 4_000;

/** Starts the program and waits until it is ready. Rejects with the end of its output if not. */
export async function startServer(options: ServerOptions): Promise<ServerProcess> {
  const startMs = performance.now();
  const child = spawnServer(options);
  const url = `http://127.0.0.1:${options.port}`;
  const logTail = async () => `${await tailOf(options.logFile)}\n${describeEnd(child)}`;
  // A load script that is interrupted must not leave its servers behind.
  const orphanGuard = (): void => child.kill("SIGKILL");
  process.once("exit", orphanGuard);
  void child.exited.then(() => process.off("exit", orphanGuard));
  if (options.killAfterMs !== undefined) setTimeout(orphanGuard, options.killAfterMs);

  while (!(await isReady(`${url}${options.readyPath}`))) {
    const late = performance.now() - startMs > options.readyDeadlineMs;
    if (child.exitCode === null && child.signalCode === null && !late) {
      await Bun.sleep(READY_POLL_MS);
      continue;
    }
    const why = late ? `not ready in ${options.readyDeadlineMs} ms` : `exit ${child.exitCode}`;
    child.kill("SIGKILL");
    const text = `${options.command.join(" ")}: ${why}\n${await logTail()}`;
    throw new ShopError("CLOSED", text, "never");
  }
  return {
    pid: child.pid,
    url,
    port: options.port,
    readyMs: performance.now() - startMs,
    exited: child.exited,
    logTail,
    pause: () => child.kill("SIGSTOP"),
    resume: () => child.kill("SIGCONT"),
    async kill() {
      child.kill("SIGKILL");
      await child.exited;
    },
    async stop(deadlineMs) {
      let late = false;
      const deadline = setTimeout(() => {
        late = true;
        child.kill("SIGKILL");
      }, deadlineMs);
      child.kill("SIGTERM");
      const code = await child.exited;
      clearTimeout(deadline);
      return late ? undefined : code;
    },
  };
}

/** A port of the loopback address that nothing listens on. */
export function findFreePort(): number {
  for (let tries = 0; tries < PORT_TRIES_MAX; tries++) {
    const port = PORT_FIRST + Math.floor(Math.random() * (PORT_LAST - PORT_FIRST + 1));
    try {
      Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => undefined } }).stop(true);
      return port;
    } catch {
      // Taken by someone else: the next one may not be.
      continue;
    }
  }
  throw new ShopError("CLOSED", `no free port in ${PORT_TRIES_MAX} tries`, "later");
}

function spawnServer(options: ServerOptions): Bun.Subprocess {
  const inherited = Object.entries(Bun.env).filter(
    ([name]) => options.inheritsSettings === true || !name.startsWith("SHOPSTREAM_"),
  );
  const log = openSync(options.logFile, "a");
  try {
    return Bun.spawn([...options.command], {
      cwd: REPOSITORY,
      env: { ...Object.fromEntries(inherited), ...options.environment },
      stdin: "ignore",
      stdout: log,
      stderr: log,
    });
  } finally {
    closeSync(log);
  }
}

async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(1_000) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    // Not listening yet; the caller's deadline bounds how often this happens.
    return false;
  }
}

function describeEnd(child: Bun.Subprocess): string {
  if (child.signalCode !== null) return `(ended by ${child.signalCode})`;
  return child.exitCode === null ? "(still running)" : `(ended with code ${child.exitCode})`;
}

async function tailOf(logFile: string): Promise<string> {
  const log = Bun.file(logFile);
  return (await log.exists()) ? (await log.text()).slice(-LOG_TAIL_CHARS) : "";
}
