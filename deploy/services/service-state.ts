/**
 * What `services up` has started: ports and processes of each server, in a file beside its data.
 *
 * A process counts as ours only with the time it was started at: a process id alone may belong to
 * somebody else by now. A file that cannot be read is no record, and its processes are left alone.
 */

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { readStat } from "./process-family.ts";

import type { ServiceName } from "./recipe.ts";

export interface StartedProcess {
  readonly pid: number;
  /** As `readIdentity` gave it. */
  readonly identity: string;
}

export interface ServiceState {
  readonly ports: readonly number[];
  readonly processes: readonly StartedProcess[];
}

const BOOT_PATH = "/proc/sys/kernel/random/boot_id";

export function serviceDirectory(root: string, name: ServiceName): string {
  return join(root, name);
}

function statePath(root: string, name: ServiceName): string {
  return join(serviceDirectory(root, name), "started.json");
}

export function readState(root: string, name: ServiceName): ServiceState | undefined {
  try {
    return parseState(JSON.parse(readFileSync(statePath(root, name), "utf8")));
  } catch {
    return undefined;
  }
}

/** Replaces the record as a whole. */
export function writeState(root: string, name: ServiceName, state: ServiceState): void {
  mkdirSync(serviceDirectory(root, name), { recursive: true });
  const path = statePath(root, name);
  writeFileSync(`${path}.new`, `${JSON.stringify(state, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}

export function parseState(value: unknown): ServiceState | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (!("ports" in value) || !("processes" in value)) return undefined;
  const { ports, processes } = value;
  if (!Array.isArray(ports) || !Array.isArray(processes)) return undefined;
  if (!ports.every(isPositive)) return undefined;
  return processes.every(isProcess) ? { ports, processes } : undefined;
}

function isPositive(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}

function isProcess(value: unknown): value is StartedProcess {
  if (typeof value !== "object" || value === null) return false;
  if (!("pid" in value) || !("identity" in value)) return false;
  return isPositive(value.pid) && typeof value.identity === "string";
}

/** True when the process that was recorded still runs. */
export function isOurs(recorded: StartedProcess): boolean {
  return readIdentity(recorded.pid) === recorded.identity;
}

/** Tells this process from every other that ever had its id; undefined when there is none. */
export function readIdentity(pid: number): string | undefined {
  if (existsSync(BOOT_PATH)) {
    const stat = readStat(pid);
    if (stat === undefined || stat.state === "Z") return undefined;
    return `${readFileSync(BOOT_PATH, "utf8").trim()} ${stat.startTicks}`;
  }
  const { stdout } = Bun.spawnSync(["ps", "-o", "lstart=", "-p", String(pid)]);
  const started = stdout.toString().trim();
  return started === "" ? undefined : started;
}
