/**
 * The processes of a cluster: started, stopped, killed and paused one by one, found by name.
 *
 * A member that comes back keeps its name, its port and its data directory, as a machine does.
 * Whoever asks for a living member is given one that was neither stopped nor paused.
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { assert } from "../runtime/errors.ts";
import { findFreePort, startServer } from "./shop-process.ts";
import type { ServerProcess } from "./shop-process.ts";

export interface FleetMember {
  readonly name: string;
  readonly port: number;
  readonly logFile: string;
}

export interface Fleet {
  /** All there ever were, in the order in which they came. */
  readonly members: readonly FleetMember[];
  /** Starts `name`, for the first time or again; resolves when it is ready. */
  start(name: string): Promise<ServerProcess>;
  process(name: string): ServerProcess;
  /** Names of those that run and are not paused. */
  living(): readonly string[];
  pause(name: string): void;
  resume(name: string): void;
  kill(name: string): Promise<void>;
  /** In order; resolves with the exit code, `undefined` when it had to be killed. */
  stop(name: string): Promise<number | undefined>;
  killAll(): Promise<void>;
}

export interface FleetOptions {
  readonly directory: string;
  /** Program and arguments. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Told of each member before it starts for the first time. */
  readonly onMember: (member: FleetMember) => void;
}

const READY_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 30_000;

export function createFleet(options: FleetOptions): Fleet {
  const members = new Map<string, FleetMember>();
  const running = new Map<string, ServerProcess>();
  const paused = new Set<string>();

  function memberOf(name: string): FleetMember {
    const known = members.get(name);
    if (known !== undefined) return known;
    const logFile = join(options.directory, `${name}.log`);
    const member = { name, port: findFreePort(), logFile };
    members.set(name, member);
    options.onMember(member);
    return member;
  }

  function processOf(name: string): ServerProcess {
    const found = running.get(name);
    assert(found !== undefined, `${name} does not run`);
    return found;
  }

  return {
    get members() {
      return [...members.values()];
    },
    async start(name) {
      const { port, logFile } = memberOf(name);
      const data = join(options.directory, name);
      await mkdir(data, { recursive: true });
      const started = await startServer({
        command: options.command,
        port,
        environment: {
          ...options.environment,
          SHOPSTREAM_PORT: String(port),
          SHOPSTREAM_DATA: data,
          SHOPSTREAM_INSTANCE: name,
        },
        readyPath: "/ready",
        readyDeadlineMs: READY_DEADLINE_MS,
        logFile,
      });
      running.set(name, started);
      void started.exited.then(() => {
        if (running.get(name) === started) running.delete(name);
      });
      return started;
    },
    process: processOf,
    living: () => [...running.keys()].filter((name) => !paused.has(name)),
    pause(name) {
      processOf(name).pause();
      paused.add(name);
    },
    resume(name) {
      processOf(name).resume();
      paused.delete(name);
    },
    async kill(name) {
      const victim = processOf(name);
      running.delete(name);
      await victim.kill();
    },
    async stop(name) {
      const leaving = processOf(name);
      running.delete(name);
      return await leaving.stop(STOP_DEADLINE_MS);
    },
    async killAll() {
      await Promise.all([...running.values()].map((each) => each.kill()));
    },
  };
}
