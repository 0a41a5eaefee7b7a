/**
 * Servers started natively, to stay: `services up`, `down` and `status` where no engine is.
 *
 * Idempotent: what runs is left alone, what died is started again on its data. Stops only what it
 * started itself, and never touches a server that it found.
 */

import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { ShopError } from "../../runtime/errors.ts";
import { findFreePorts, isFree } from "./free-ports.ts";
import { killFamily, signalProcess } from "./process-family.ts";
import { RECIPES } from "./recipes.ts";
import { isOurs, readIdentity, readState, serviceDirectory, writeState } from "./service-state.ts";
import { untilReady } from "./until-ready.ts";

import type { Command, Recipe, ServiceName, Site } from "./recipe.ts";
import type { StartedProcess } from "./service-state.ts";

const STOP_TIMEOUT_MS = 20_000;
/** Who died a moment ago may still be on its ports. */
const RELEASED_WITHIN_MS = 2_000;
const LOOK_EVERY_MS = 50;

export type ServiceCondition = "ready" | "starting" | "stopped";

/** How one server is, for people and for scripts. */
export interface ServiceReport {
  readonly name: ServiceName;
  readonly title: string;
  readonly condition: ServiceCondition;
  readonly url: string | undefined;
  readonly directory: string;
  readonly pids: readonly number[];
  readonly variables: Readonly<Record<string, string>>;
}

/** Ready when it resolves, whether it ran before or not. */
export async function bringUp(root: string, name: ServiceName): Promise<ServiceReport> {
  const recipe = RECIPES[name];
  const directory = serviceDirectory(root, name);
  mkdirSync(directory, { recursive: true });
  const unlock = lock(directory, name);
  try {
    const state = readState(root, name);
    const running = state?.processes.filter(isOurs) ?? [];
    const isWhole = running.length > 0 && running.length === state?.processes.length;
    if (state !== undefined && isWhole) {
      const site = siteOf(root, name, state.ports);
      await untilReady(recipe, site, watch(site, running));
      return await report(root, name);
    }
    for (const each of running) await end(recipe, each);
    const site = siteOf(root, name, await choosePorts(recipe, state?.ports));
    await recipe.prepare(site);
    const processes = recipe.commands(site).map((command, index) => spawn(site, command, index));
    writeState(root, name, { ports: site.ports, processes });
    try {
      await untilReady(recipe, site, watch(site, processes));
    } catch (error) {
      await Promise.all(processes.map((each) => killFamily(each.pid)));
      throw error;
    }
    return await report(root, name);
  } finally {
    unlock();
  }
}

/** Stopped when it resolves; `false` when there was nothing of ours to stop. */
export async function bringDown(root: string, name: ServiceName): Promise<boolean> {
  const state = readState(root, name);
  if (state === undefined) return false;
  const running = state.processes.filter(isOurs);
  await Promise.all(running.map((each) => end(RECIPES[name], each)));
  // The ports are kept: the next start takes them again when they are free.
  writeState(root, name, { ports: state.ports, processes: [] });
  return running.length > 0;
}

export async function report(root: string, name: ServiceName): Promise<ServiceReport> {
  const recipe = RECIPES[name];
  const state = readState(root, name);
  const running = state?.processes.filter(isOurs) ?? [];
  const directory = serviceDirectory(root, name);
  const head = { name, title: recipe.title, directory, pids: running.map((each) => each.pid) };
  if (state === undefined || running.length === 0) {
    return { ...head, condition: "stopped", url: undefined, variables: {} };
  }
  const site = siteOf(root, name, state.ports);
  const condition = (await recipe.isReady(site)) ? "ready" : "starting";
  return { ...head, condition, url: recipe.url(site), variables: recipe.variables(site) };
}

function siteOf(root: string, name: ServiceName, ports: readonly number[]): Site {
  return { directory: serviceDirectory(root, name), ports, options: {} };
}

/** Those of the last time, else the usual ones, else any: whichever are free. */
async function choosePorts(
  recipe: Recipe,
  last: readonly number[] | undefined,
): Promise<readonly number[]> {
  const byMs = performance.now() + RELEASED_WITHIN_MS;
  for (const ports of [last, recipe.usualPorts]) {
    if (ports?.length !== recipe.portsPerProcess) continue;
    do {
      if ((await Promise.all(ports.map(isFree))).every(Boolean)) return ports;
      await Bun.sleep(LOOK_EVERY_MS);
    } while (ports === last && performance.now() < byMs);
  }
  return await findFreePorts(recipe.portsPerProcess);
}

/** Starts a process that stays when this one ends. */
function spawn(site: Site, command: Command, index: number): StartedProcess {
  const log = openSync(logPath(site, index), "a");
  const child = Bun.spawn([...command.argv], {
    detached: true,
    stdin: "ignore",
    stdout: log,
    stderr: log,
    env: { ...Bun.env, ...command.env },
  });
  child.unref();
  closeSync(log);
  // One that is gone already is found out while waiting for it.
  return { pid: child.pid, identity: readIdentity(child.pid) ?? "gone" };
}

function logPath(site: Site, index: number): string {
  return join(site.directory, `process-${index + 1}.log`);
}

function watch(
  site: Site,
  processes: readonly StartedProcess[],
): { readonly logPaths: readonly string[]; hasEnded(): boolean } {
  return {
    logPaths: processes.map((_, index) => logPath(site, index)),
    hasEnded: () => !processes.every(isOurs),
  };
}

async function end(recipe: Recipe, started: StartedProcess): Promise<void> {
  signalProcess(started.pid, recipe.stopSignal);
  const deadlineMs = performance.now() + STOP_TIMEOUT_MS;
  while (isOurs(started) && performance.now() < deadlineMs) await Bun.sleep(LOOK_EVERY_MS);
  // Also what it left behind in its process group.
  await killFamily(started.pid);
}

/** One `up` of a server at a time; a lock whose holder is gone is taken over. */
function lock(directory: string, name: ServiceName): () => void {
  const path = join(directory, "up.lock");
  for (let attempt = 0; ; attempt++) {
    try {
      writeFileSync(path, `${process.pid}\n${readIdentity(process.pid) ?? ""}`, { flag: "wx" });
      return () => rmSync(path, { force: true });
    } catch (error) {
      if (!isTaken(error)) throw error;
      const holder = readHolder(path);
      if (attempt > 0 || (holder !== undefined && isOurs(holder))) {
        const message = `${name}: process ${holder?.pid ?? "?"} is starting it; try again`;
        throw new ShopError("SERVER_UNUSABLE", message, "later");
      }
      rmSync(path, { force: true });
    }
  }
}

function isTaken(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EEXIST";
}

function readHolder(path: string): StartedProcess | undefined {
  try {
    const [pid, identity = ""] = readFileSync(path, "utf8").split("\n");
    return { pid: Number(pid), identity };
  } catch {
    return undefined;
  }
}
